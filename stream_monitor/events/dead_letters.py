"""Dead letters: events that could not be counted, kept with the reason and the raw bytes."""

from __future__ import annotations

import base64
import hashlib

import msgspec

from stream_monitor.events.contracts import DeadLetter
from stream_monitor.events.decode import Reject

KEPT_BYTES = 65_536


def dead_letter(reject: Reject, raw: bytes | None, topic: str, partition: int, offset: int) -> bytes:
    """The JSON of a dead letter: the first 64 KB of the raw bytes, their whole length and hash."""
    value = raw or b""
    letter = DeadLetter(
        topic=topic,
        partition=partition,
        offset=offset,
        reason=reject.reason,
        error=reject.error[:1_000],
        length=len(value),
        sha256=hashlib.sha256(value).hexdigest(),
        bytes=base64.b64encode(value[:KEPT_BYTES]).decode(),
    )
    return msgspec.json.encode(letter)
