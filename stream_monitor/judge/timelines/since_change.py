"""The values of a measure since a change that a sequential detector found, from the windows that a timeline retains.

A timeline retains the windows that are being filled, the parts of sliding windows, and the last finished tumbling
window of the shortest size. We build several overlapping spans from them that all end at the newest closed pane. Use
the longest that starts at or after the change; if none does, use the shortest. Values from before the change would only
hide it: if k of n values came since the change, it stands out by k / √n, which is largest for n = k.
"""

from __future__ import annotations

from functools import reduce

import numpy as np

from stream_monitor.judge.detection.window_evaluation import EvaluationContext, MeasureComparison, by_recent
from stream_monitor.judge.panes.windows import Window
from stream_monitor.judge.timelines.timeline import Timeline
from stream_monitor.profiles.bins import BINS
from stream_monitor.profiles.numeric_table import merge_moments
from stream_monitor.profiles.quantiles import Extent
from stream_monitor.profiles.tails import NO_TAIL, Tail
from stream_monitor.types import I64


def measure_since(
    timeline: Timeline, context: EvaluationContext, key: tuple[int, str], times: tuple[int, int]
) -> tuple[MeasureComparison, list[Window]] | None:
    """Compare a measure since a change with its baseline; also return the windows that hold the values.

    `key` is (group, measure). `times` is (begin of the change, start of the newest closed pane), epoch ms. The baseline
    is the one that the detectors use: the first baseline, or the same hours of earlier weeks. The result is None when
    the measure has no baseline or is not counted on edges.
    """
    (group, name), (began, pane) = key, times
    baseline = context.baselines.active_at(context.groups[group], name, pane)
    if baseline is None or baseline.counts is None or name not in context.edges:
        return None
    place = group, context.measures.index(name)
    windows = _closest_span(timeline.retained(), began)
    now = np.asarray(np.sum([_counts(window, place) for window in windows], axis=0))
    comparison = MeasureComparison(group, name, baseline, baseline.counts, now, context.edges[name].edges)
    comparison.extent = _extent(windows, place, context.edges[name].tail)
    if not timeline.recent.hourly:
        return comparison, windows
    start = windows[0].start
    return by_recent(comparison, context, (start, pane + timeline.rules.pane_ms - start)), windows


def _closest_span(chains: list[list[Window]], began: int) -> list[Window]:
    spans = sorted(
        (chain[first:] for chain in chains for first in range(len(chain))),
        key=lambda windows: (windows[0].start, len(windows)),
    )
    return next((windows for windows in spans if windows[0].start >= began), spans[-1])


def _extent(windows: list[Window], place: tuple[int, int], tail: float) -> Extent:
    """The ends, moments and tail of a (group, measure) in these windows together."""
    group, measure = place
    tables = [w.numbers for w in windows if group < w.numbers.n.shape[0] and measure < w.numbers.n.shape[1]]
    least = min((float(table.low[place]) for table in tables), default=np.inf)
    most = max((float(table.high[place]) for table in tables), default=-np.inf)
    parts = [(table.n[place], table.mean[place], table.m2[place]) for table in tables if table.n[place]]
    _, mean, m2 = reduce(merge_moments, parts) if parts else (0, 0.0, 0.0)
    counts = np.asarray(np.sum([window.tails.of(*place) for window in windows], axis=0))
    return Extent(least, most, float(mean), float(m2), None if tail == NO_TAIL else Tail(tail, counts))


def _counts(window: Window, place: tuple[int, int]) -> I64:
    """(BINS,) bin counts of a (group, measure) in a window."""
    group, measure = place
    table = window.numbers.counts
    known = group < table.shape[0] and measure < table.shape[1]
    return np.asarray(table[group, measure]) if known else np.zeros(BINS, np.int64)
