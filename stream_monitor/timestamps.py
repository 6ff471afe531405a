"""Event times as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

MINUTE = 60_000


def when(ts: int) -> str:
    """Event time for people, with seconds where there are any."""
    return to_the_second(ts) if ts % MINUTE else datetime.fromtimestamp(ts / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def to_the_second(ts: int) -> str:
    """Event time, where windows may be of seconds."""
    return datetime.fromtimestamp(ts / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
