"""What came since a change that a sequential detector found, from the slices of event time that a lane retains.

These are the windows that are being filled, the parts of sliding ones, and the shortest tumbling one that finished
last. Each chain of them ends with the pane that closed last, so the longer of two holds all that the shorter one does.
Taken is the longest one that begins with the change or after it, and where there is none the shortest. Values of before
would only hide the change: of n values of which k came since, it stands out by k / √n, which is largest for n = k.
"""

from __future__ import annotations

import numpy as np

from stream_monitor.judge.detection.window_evaluation import EvaluationContext, MeasureComparison, by_recent
from stream_monitor.judge.panes.windows import Window
from stream_monitor.judge.timelines.timeline import Timeline
from stream_monitor.profiles.bins import BINS
from stream_monitor.types import I64


def measure_since(
    timeline: Timeline, context: EvaluationContext, at: tuple[int, str], times: tuple[int, int]
) -> tuple[MeasureComparison, list[Window]] | None:
    """A (group, measure) since a change, and the windows that hold it; None where it is not counted on edges.

    `times` are when the change began and the start of the pane that closed last (epoch ms). The measure is held against
    what the detectors are: the first baseline, or the same hours of earlier weeks.
    """
    (group, name), (began, pane) = at, times
    baseline = context.baselines.active_at(context.groups[group], name, pane)
    if baseline is None or baseline.counts is None or name not in context.edges:
        return None
    place = group, context.measures.index(name)
    windows = _closest_stretch(timeline.retained(), began)
    now = np.asarray(np.sum([_counts(window, place) for window in windows], axis=0))
    comparison = MeasureComparison(group, name, baseline, baseline.counts, now, context.edges[name].edges)
    comparison.ends = _ends(windows, place)
    if not timeline.recent.hourly:
        return comparison, windows
    start = windows[0].start
    return by_recent(comparison, context, (start, pane + timeline.rules.pane_ms - start)), windows


def _closest_stretch(chains: list[list[Window]], began: int) -> list[Window]:
    found = sorted(
        (chain[at:] for chain in chains for at in range(len(chain))),
        key=lambda windows: (windows[0].start, len(windows)),
    )
    return next((windows for windows in found if windows[0].start >= began), found[-1])


def _ends(windows: list[Window], place: tuple[int, int]) -> tuple[float, float]:
    """The least and the largest value of a (group, measure) in windows."""
    group, measure = place
    tables = [w.numbers for w in windows if group < w.numbers.n.shape[0] and measure < w.numbers.n.shape[1]]
    least = min((float(table.low[place]) for table in tables), default=np.inf)
    return least, max((float(table.high[place]) for table in tables), default=-np.inf)


def _counts(window: Window, place: tuple[int, int]) -> I64:
    """(BINS,) values of a (group, measure) in a window."""
    group, measure = place
    table = window.numbers.counts
    there = group < table.shape[0] and measure < table.shape[1]
    return np.asarray(table[group, measure]) if there else np.zeros(BINS, np.int64)
