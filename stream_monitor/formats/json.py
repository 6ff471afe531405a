"""`json`: the value of a record is the JSON of an event. The default."""

from __future__ import annotations

from collections.abc import Sequence

from stream_monitor.events.decode import Event, Reject
from stream_monitor.events.decode import decode as decode_event
from stream_monitor.formats.contract import Format
from stream_monitor.stages.contract import Headers, Message


def _text(value: bytes | None, headers: Headers) -> bytes | None:
    return value


def _decode(role: str, value: bytes | None, headers: Headers) -> Event | Reject:
    return decode_event(role, value)


def _texts(messages: Sequence[Message], values: Sequence[bytes]) -> Sequence[bytes]:
    return values


JSON = Format("json", _text, _decode, _texts)
