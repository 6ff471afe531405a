"""Quiet hours: until when a message waits. Days and times are those of a zone, summer time included."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from stream_monitor.config.notify import QuietSettings

CHAINED = 10
"""Quiet hours that follow each other without a gap, such as those of a weekend, at most."""


def quiet_until(quiet: QuietSettings, now: int) -> int | None:
    """When the quiet hours end that hold at a time (both epoch ms); None: they do not hold."""
    until = _end_at(quiet, now)
    for _ in range(CHAINED):
        if until is None or (later := _end_at(quiet, until)) is None:
            break
        until = later
    return until


def _end_at(quiet: QuietSettings, now: int) -> int | None:
    """The end of the period that holds at a time; the later one where two do."""
    zone, (begin, end) = ZoneInfo(quiet.zone), quiet.minutes()
    today = datetime.fromtimestamp(now / 1000, zone).date()
    ends = list[int]()
    for back in (0, 1, 2):  # a period ends at most on the second day after its begin
        day = today - timedelta(days=back)
        if day.weekday() in quiet.weekdays():
            first, last = _epoch(day, begin, zone), _epoch(day, end, zone)
            if first <= now < last:
                ends.append(last)
    return max(ends, default=None)


def _epoch(day: date, minutes: int, zone: ZoneInfo) -> int:
    """Epoch ms of so many minutes after midnight on the clocks of a zone.

    A time that clocks skip is as far after midnight as clocks would show had they not been put forward; of a time that
    they show twice the first holds.
    """
    local = datetime.combine(day + timedelta(days=minutes // 1_440), time(minutes % 1_440 // 60, minutes % 60), zone)
    return round(local.astimezone(UTC).timestamp() * 1000)
