"""What a sequential detector should expect of a pane when a measure's hours of the week differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from stream_monitor.baselines.baseline import Baseline, Baselines
from stream_monitor.baselines.recent import weight_of
from stream_monitor.config.durations import HOUR
from stream_monitor.judge.baselines.recent import RecentBaselines
from stream_monitor.types import F64

Of = tuple[tuple[str, str], str]
"""((version, segment), measure)."""


class Season(NamedTuple):
    """`mean`: expected score of a value; `weight`: as how many values one counts, 0 for one that is left out."""

    mean: float
    weight: float


PLAIN, UNKNOWN = Season(0.0, 1.0), Season(0.0, 0.0)


class Seasons:
    """The seasons of a lane's measures, looked up once an hour. Nothing here is remembered beyond a restart."""

    def __init__(self) -> None:
        self._hour = -1
        self._found: dict[tuple[int, str], Season] = {}

    def clear(self) -> None:
        """Baselines have changed."""
        self._found.clear()

    def of(
        self,
        at: tuple[int, str],
        start: int,
        row: tuple[Of, Baselines],
        recent: RecentBaselines,
        scores: Callable[[], F64],
    ) -> Season:
        """That of a (group, measure) for a pane which begins at `start`."""
        if start // HOUR != self._hour:
            self._hour = start // HOUR
            self._found.clear()
        found = self._found.get(at)
        if found is None:
            found = self._found[at] = _season(row, start, recent, scores)
        return found


def _season(row: tuple[Of, Baselines], start: int, recent: RecentBaselines, scores: Callable[[], F64]) -> Season:
    (group, measure), baselines = row
    if not waits(baselines, group, measure, start):
        return PLAIN
    merged = recent.baseline_for(group, measure, (start, 1))
    if merged is None:
        return UNKNOWN
    return Season(recent.expected_score((group[1], measure), merged, scores()), weight_of(merged))


def waits(baselines: Baselines, group: tuple[str, str], measure: str, start: int) -> bool:
    """Whether a measure has a season, or will have one: not where somebody pinned what is normal."""
    if (*group, measure) in baselines.by_version:
        return False
    first = baselines.active_at(group, measure, start)
    return first is not None and not first.pinned


def standard(of: Of, start: int, baselines: Baselines, recent: RecentBaselines) -> Baseline | None:
    """What values of a pane are standardised by; None while there is nothing to go by."""
    group, measure = of
    first = baselines.active_at(group, measure, start)
    if first is None or not recent.hourly or not waits(baselines, group, measure, start):
        return first
    merged = recent.baseline_for(group, measure, (start, 1))
    return None if merged is None else merged.baseline
