"""The contract of an input format.

`describe` calls both functions for every batch, on the thread that reads Kafka. Neither blocks, keeps anything or
raises: what is no event is a `Reject`, which becomes a dead letter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from stream_monitor.events.decode import Event, Reject
from stream_monitor.stages.contract import Headers, Message


class Format(NamedTuple):
    """How the records of a topic hold events."""

    name: str
    text: Callable[[bytes | None, Headers], bytes | Reject | None]
    """The JSON of the event of a record, from its value and headers; None where it has none (a tombstone)."""
    decode: Callable[[str, bytes | None, Headers], Event | Reject]
    """The event of a record of a topic role: always right, one by one."""
    texts: Callable[[Sequence[Message], Sequence[bytes]], Sequence[bytes]] | None
    """The fast way, from messages and their values: JSON that the scanner may read, or empty where only `decode` knows.

    The scanner and `decode` must say the same of it. None: the format has no fast way.
    """


def text_of(form: Format, message: Message) -> bytes:
    """The JSON of the event of a record; empty where it has none."""
    text = form.text(message.value(), message.headers() or ())
    return text if isinstance(text, bytes) else b""
