"""Recent ranges of event counts: of the last days, or of the same hour of the last weeks."""

from __future__ import annotations

import math

import msgspec

from stream_monitor.config.detection import BaselineSettings
from stream_monitor.config.durations import DAY, HOUR, WEEK
from stream_monitor.events.contracts import Finding

HOURS = WEEK // HOUR
WEEKS = 4
"""Weeks that are kept of each hour of the week."""
LEAST_WEEKS = 2
LEAST_WINDOWS = 7
CHANCE = 3.0
"""Standard deviations of a Poisson count that lie beyond a bound, which matters where hours have few events."""


class VolumePlan(msgspec.Struct, frozen=True):
    """How counts are kept: by `lines`, each with ranges of `period` ms."""

    lines: int
    period: int
    keep: int
    """Periods that make a range."""
    gap: int
    """How long before a window its range ends (ms)."""
    least: int
    """Periods from which on a line judges."""

    def line(self, start: int) -> int:
        """The line of a window."""
        return start // HOUR % self.lines


def volume_plan(settings: BaselineSettings) -> VolumePlan | None:
    """The plan of these settings; None: the first day judges for ever."""
    if settings.kind == "rolling":
        return VolumePlan(1, DAY, max(round(settings.span / DAY), 1), settings.gap, 1)
    if settings.kind == "hour_of_week":
        return VolumePlan(HOURS, WEEK, WEEKS, 0, LEAST_WEEKS)
    return None


class PeriodRange(msgspec.Struct, array_like=True):
    """The counts of the windows of one line in one period (its number)."""

    period: int
    windows: int = 0
    total: int = 0
    least: int = 0
    most: int = 0

    def add(self, count: int) -> None:
        """Take in a window."""
        self.least = min(self.least, count) if self.windows else count
        self.most, self.windows, self.total = max(self.most, count), self.windows + 1, self.total + count


class VolumeHistory(msgspec.Struct):
    """The recent counts of the windows of one size, of one version.

    Two weeks in which the hour has 100 events, but 10 in the first hour of the week; then 10 in another hour.

    >>> plan, history = VolumePlan(HOURS, WEEK, WEEKS, 0, LEAST_WEEKS), VolumeHistory()
    >>> for hour in range(2 * HOURS):
    ...     history.learn(plan, hour * HOUR, 100 if hour % HOURS else 10)
    >>> history.check(plan, 2 * HOURS * HOUR, 10, 2.0) is None
    True
    >>> history.check(plan, (2 * HOURS + 1) * HOUR, 10, 2.0).direction
    'down'
    """

    lines: dict[int, list[PeriodRange]] = {}

    def known(self, plan: VolumePlan, start: int) -> list[PeriodRange]:
        """The ranges that judge a window which begins at `start` (epoch ms); none while there are too few."""
        ranges = self.lines.get(plan.line(start), [])
        before = [one for one in ranges if (one.period + 1) * plan.period <= start - plan.gap][-plan.keep :]
        enough = len(before) >= plan.least and (plan.lines > 1 or sum(r.windows for r in before) >= LEAST_WINDOWS)
        return before if enough else []

    def learn(self, plan: VolumePlan, start: int, count: int) -> None:
        """Take in a window."""
        line, period = self.lines.setdefault(plan.line(start), []), start // plan.period
        if not line or line[-1].period < period:
            line.append(PeriodRange(period))
            del line[: -(plan.keep + 2 + plan.gap // plan.period)]
        line[-1].add(count)

    def check(self, plan: VolumePlan, start: int, count: int, tolerance: float) -> Finding | None:
        """A finding if a window lies outside the known range by more than the tolerated factor, and by chance."""
        ranges = self.known(plan, start)
        if not ranges:
            return None
        least, most = min(r.least for r in ranges), max(r.most for r in ranges)
        low, high = least / tolerance, most * tolerance
        low, high = low - CHANCE * math.sqrt(low), high + CHANCE * math.sqrt(high) + CHANCE
        if low <= count <= high:
            return None
        n, up = sum(r.windows for r in ranges), count > most
        evidence = {"baseline": {"n": n, "mean": sum(r.total for r in ranges) / n, "min": least, "max": most}}
        return Finding(
            detector="volume", score=float(count), threshold=high if up else low, direction="up" if up else "down",
            evidence=evidence,
        )  # fmt: skip
