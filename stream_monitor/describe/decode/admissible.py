"""Decodes one record, and refuses events whose time cannot be right."""

from __future__ import annotations

from stream_monitor.events.decode import EARLIEST, Event, Reject
from stream_monitor.formats.contract import Format
from stream_monitor.stages.contract import Message


def decode_admissible(form: Format, role: str, message: Message, max_skew: int) -> Event | Reject:
    """The event of a record, or why it is a dead letter.

    An event's `ts` must lie after 2000-01-01, and at most `max_skew` ms after the record's own time.
    """
    event = form.decode(role, message.value(), message.headers() or ())
    if isinstance(event, Reject) or event.ts is None:
        return event
    if event.ts < EARLIEST:
        return Reject("before_2000", f"ts {event.ts} is before the year 2000: epoch milliseconds are expected")
    arrived = message.timestamp()[1]
    if event.ts > arrived + max_skew:
        return Reject("future", f"ts {event.ts} is more than max_skew after the record's own time {arrived}")
    return event
