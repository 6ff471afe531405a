"""The expectation of a sequential detector for a pane, when a measure differs between the hours of the week."""

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
    """`mean`: expected score of a value. `weight`: the factor with which a value counts, 0 if it is left out."""

    mean: float
    weight: float


PLAIN, UNKNOWN = Season(0.0, 1.0), Season(0.0, 0.0)


class Seasons:
    """A cache of the seasons of a timeline's measures, filled once per hour of event time. Snapshots do not hold it."""

    def __init__(self) -> None:
        self._hour = -1
        self._cache: dict[tuple[int, str], Season] = {}

    def clear(self) -> None:
        """Empty the cache, because baselines have changed."""
        self._cache.clear()

    def of(
        self,
        key: tuple[int, str],
        start: int,
        row: tuple[Of, Baselines],
        recent: RecentBaselines,
        scores: Callable[[], F64],
    ) -> Season:
        """The season of a (group, measure) for a pane that begins at `start`."""
        if start // HOUR != self._hour:
            self._hour = start // HOUR
            self._cache.clear()
        season = self._cache.get(key)
        if season is None:
            season = self._cache[key] = _season(row, start, recent, scores)
        return season


def _season(row: tuple[Of, Baselines], start: int, recent: RecentBaselines, scores: Callable[[], F64]) -> Season:
    (group, measure), baselines = row
    if not waits(baselines, group, measure, start):
        return PLAIN
    merged = recent.baseline_for(group, measure, (start, 1))
    if merged is None:
        return UNKNOWN
    return Season(recent.expected_score((group[1], measure), merged, scores()), weight_of(merged))


def waits(baselines: Baselines, group: tuple[str, str], measure: str, start: int) -> bool:
    """Whether a measure has a season or will have one. A measure with a pinned baseline has none."""
    if (*group, measure) in baselines.by_version:
        return False
    first = baselines.active_at(group, measure, start)
    return first is not None and not first.pinned


def standard(owner: Of, start: int, baselines: Baselines, recent: RecentBaselines) -> Baseline | None:
    """The baseline that standardises the values of a pane; None while there is none."""
    group, measure = owner
    first = baselines.active_at(group, measure, start)
    if first is None or not recent.hourly or not waits(baselines, group, measure, start):
        return first
    merged = recent.baseline_for(group, measure, (start, 1))
    return None if merged is None else merged.baseline
