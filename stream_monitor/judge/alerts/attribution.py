"""Where a drift comes from: the bins or categories that moved most, and the segments that explain it.

The parts of segments are those of `segment_parts`. They sum to 1 exactly if the segments are of the same fields and
hold all events, and if all baselines are of the same events. The difference from 1 comes from events in no segment, and
from events that entered a segment's baseline after the baseline of all events was complete.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from stream_monitor.baselines.baseline import Baseline, category_counts
from stream_monitor.detect.windows.binned import GROUPS, groups_of
from stream_monitor.events.contracts import Attribution, Moved, SegmentPart
from stream_monitor.judge.alerts.segment_parts import Movement, Sample, parts_of
from stream_monitor.judge.detection.segment_shares import shares_in
from stream_monitor.judge.detection.window_evaluation import EvaluationContext, MeasureComparison
from stream_monitor.judge.panes.windows import Window
from stream_monitor.profiles.bins import BINS
from stream_monitor.profiles.integers import are_whole, name_of, name_of_atom
from stream_monitor.profiles.names import ALL_SEGMENTS
from stream_monitor.types import F64, I64

NAMED = 5
"""How many bins or categories, and how many segments, an alert names."""
LEAST_PART = 0.01


def attribution_of(
    comparison: MeasureComparison, evidence: dict[str, Any], context: EvaluationContext, windows: Sequence[Window]
) -> Attribution:
    """The attribution of the drift of a measure. `evidence` is that of its first finding.

    `windows` are adjacent; their counts are summed.
    """
    p, q, place = _shares(comparison)
    moved = _bins(evidence["bins"]) if "bins" in evidence else _categories(comparison)
    distance = float(np.abs(q - p).sum()) / 2
    return Attribution(
        distance=round(distance, 6),
        moved=_named(_largest(moved), comparison),
        segments=_segments(comparison, context, windows, (p, q, place)) if distance else [],
    )


def _largest(moved: list[Moved]) -> list[Moved]:
    total = sum(abs(item.now - item.baseline) for item in moved)
    for item in moved:
        item.part = round(abs(item.now - item.baseline) / total, 6) if total else 0.0
        item.baseline, item.now = round(item.baseline, 6), round(item.now, 6)
    order = sorted(range(len(moved)), key=lambda i: (-moved[i].part, moved[i].name or "", i))
    return [moved[i] for i in order[:NAMED] if moved[i].part > 0]


def _named(moved: list[Moved], comparison: MeasureComparison) -> list[Moved]:
    """Name the bins of whole numbers, and those of atoms, by the numbers that they hold: 1, not "above 0"."""
    baseline, borders = comparison.baseline, comparison.borders
    if borders is None:
        return moved
    ends = min(baseline.low, comparison.extent.low), max(baseline.high, comparison.extent.high)
    is_whole = are_whole(borders, ends)
    for item in moved:
        item.name = name_of(item.above, item.to, ends) if is_whole else name_of_atom(borders, item.above, item.to)
    return moved


def _bins(bins: dict[str, Any]) -> list[Moved]:
    ends = [None, *bins["to"], None]
    pairs = zip(bins["baseline"], bins["now"], strict=True)
    return [Moved(above=ends[i], to=ends[i + 1], baseline=p, now=q) for i, (p, q) in enumerate(pairs)]


def _categories(comparison: MeasureComparison) -> list[Moved]:
    """Every category of the baseline, and its rest. If the baseline has no rest, every new category instead."""
    baseline, counts = comparison.baseline, comparison.categories or {}
    n, m = max(int(comparison.now.sum()), 1), max(int(comparison.base.sum()), 1)
    names = baseline.categories or {}
    moved = [Moved(name=name, baseline=n_before / m, now=counts.get(name, 0) / n) for name, n_before in names.items()]
    if baseline.rest:
        return [*moved, Moved(name="(rest)", baseline=baseline.rest / m, now=int(comparison.now[BINS - 2]) / n)]
    return moved + [
        Moved(name=name, baseline=0.0, now=count / n) for name, count in counts.items() if name not in names
    ]


# --- segments ---


def _shares(comparison: MeasureComparison) -> tuple[F64, F64, I64]:
    """(shares of the baseline, shares of the window, group of each bin). Groups have about equal baseline mass."""
    n, m = int(comparison.now.sum()), int(comparison.base.sum())
    wanted = np.array([min(max(min(n, m) // 10, 2), GROUPS)])
    place = groups_of(comparison.base[None], wanted, comparison.order[None])[0]
    return _lumped(comparison.base, place), _lumped(comparison.now, place), place


def _lumped(counts: I64 | F64, place: I64) -> F64:
    return np.asarray(np.bincount(place, counts, GROUPS) / max(int(counts.sum()), 1))


def _segments(
    comparison: MeasureComparison, context: EvaluationContext, windows: Sequence[Window], whole: tuple[F64, F64, I64]
) -> list[SegmentPart]:
    p, q, place = whole
    n, m = int(comparison.now.sum()), int(comparison.base.sum())
    segments = []
    for segment, now, baseline in _of_version(comparison, context, windows):
        base = None if baseline is None else _base_counts(comparison, baseline)
        before = Sample(p, m) if base is None else Sample(_lumped(base, place), int(base.sum()))
        weight = comparison.baseline.weights.get(segment, 0) / max(m, 1)
        segments.append((segment, Movement(before, Sample(_lumped(now, place), int(now.sum())), weight)))
    parts = parts_of(Movement(Sample(p, m), Sample(q, n)), segments, comparison.factor)
    return _told(parts)


def _told(parts: list[SegmentPart]) -> list[SegmentPart]:
    """The largest parts; the one that is named is among them."""
    return [part for i, part in enumerate(parts) if (i < NAMED and part.part >= LEAST_PART) or part.named]


def quality_attribution_of(
    comparison: MeasureComparison, test: str, context: EvaluationContext, window: Window
) -> Attribution | None:
    """The segments that a rise of missing values, new categories or other types comes from; None without segments."""
    version, segment = context.groups[comparison.group]
    weights = comparison.baseline.weights
    if test not in comparison.shares or segment != ALL_SEGMENTS or not weights:
        return None
    whole = _movement(comparison.shares[test], 1.0)
    numbers = {name: number for number, name in enumerate(context.measures)}
    segments = []
    for group, (group_version, name) in enumerate(context.groups):
        if group_version == version and name != ALL_SEGMENTS:
            baseline = context.baselines.active_at((version, name), comparison.measure, window.start)
            shares = shares_in(window, comparison, (group, baseline), numbers, test)
            weight = weights.get(name, 0) / max(comparison.baseline.n, 1)
            segments.append((name, _movement(shares, weight)))
    parts = parts_of(whole, segments)
    distance = float(np.abs(whole.now.shares - whole.before.shares).sum()) / 2
    return Attribution(distance=round(distance, 6), segments=_told(parts))


def _movement(shares: tuple[int, int, int, int], weight: float) -> Movement:
    """Hits and other values, before and now."""
    hits_before, of_before, hits, of = shares
    before, now = hits_before / max(of_before, 1), hits / max(of, 1)
    return Movement(Sample(np.array([before, 1 - before]), of_before), Sample(np.array([now, 1 - now]), of), weight)


def _of_version(
    comparison: MeasureComparison, context: EvaluationContext, windows: Sequence[Window]
) -> Iterator[tuple[str, I64, Baseline | None]]:
    """(segment, its counts on the bins of all events, its baseline) for each segment of the comparison's version."""
    version, segment = context.groups[comparison.group]
    if segment != ALL_SEGMENTS or not comparison.baseline.weights:
        return
    start = max(windows[0].start, comparison.baseline.since)  # a change may be found soon after the baseline was built
    for group, (group_version, name) in enumerate(context.groups):
        if group_version == version and name != ALL_SEGMENTS:
            baseline = context.baselines.active_at((version, name), comparison.measure, start)
            now = [_now_counts(comparison, context, window, group) for window in windows]
            yield name, np.asarray(np.sum(now, axis=0)), baseline


def _now_counts(comparison: MeasureComparison, context: EvaluationContext, window: Window, group: int) -> I64:
    if comparison.borders is None:
        n, counts = window.categories.get((group, comparison.measure), (0, {}))
        return category_counts(comparison.baseline, counts, n)[1]
    table, measure = window.numbers.counts, context.measures.index(comparison.measure)
    return np.asarray(table[group, measure]) if group < len(table) else np.zeros(BINS, np.int64)


def _base_counts(comparison: MeasureComparison, baseline: Baseline) -> I64 | None:
    """A segment's baseline on the bins of all events; None when it is of another kind."""
    if comparison.borders is not None:
        return baseline.counts
    if baseline.categories is None:
        return None
    return category_counts(comparison.baseline, baseline.categories, baseline.n)[1]
