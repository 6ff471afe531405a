"""Dead letters: events that could not be counted, kept with the reason and as much of the raw bytes as may be."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Literal

import msgspec

from stream_monitor.events.contracts import DeadLetter
from stream_monitor.events.decode import Reject
from stream_monitor.events.privacy import Privacy

KEPT_BYTES = 65_536
NOT_ACCEPTED = "notify"
"""The reason of a letter about no event: a message that no receiver accepted."""
Kept = Literal["full", "redacted", "none"]


@dataclass(frozen=True, slots=True)
class DeadLetterEncoder:
    """Writes dead letters; `kept` is what of the raw bytes goes into them."""

    kept: Kept
    privacy: Privacy

    def write(self, reject: Reject, raw: bytes | None, topic: str, partition: int, offset: int) -> bytes:
        """The JSON of a dead letter: the first 64 KB of what is kept, the length and hash of the whole."""
        value = raw or b""
        letter = DeadLetter(
            topic=topic,
            partition=partition,
            offset=offset,
            reason=reject.reason,
            error=reject.error[:1_000],
            length=len(value),
            sha256=self.privacy.fingerprint(value),
            bytes=base64.b64encode(self._keep(value)[:KEPT_BYTES]).decode(),
        )
        return msgspec.json.encode(letter)

    def _keep(self, value: bytes) -> bytes:
        match self.kept:
            case "full":
                return value
            case "redacted":
                return self.privacy.redacted(value)
            case "none":
                return b""
