"""The shares that quality tests compare, within the segments of a measure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from stream_monitor.baselines.baseline import Baseline
from stream_monitor.judge.detection.window_evaluation import MeasureComparison, Shares, shares_of
from stream_monitor.judge.panes.windows import Window


def shares_in(
    window: Window, whole: MeasureComparison, of: tuple[int, Baseline | None], numbers: Mapping[str, int], test: str
) -> Shares:
    """The shares that a quality test compares, within a segment: `of` is (group, its baseline).

    A segment without a baseline of its own is compared with that of all events; so is each in new categories.
    """
    group, baseline = of
    hits_before, of_before, _, _ = whole.shares[test]
    n, counts = window.categories.get((group, whole.measure), (0, {}))
    if test == "new_categories":
        names = whole.baseline.categories or {}
        unnamed = {name: count for name, count in (whole.categories or {}).items() if name not in names}
        chosen = (
            [max(unnamed, key=lambda name: (unnamed[name], name))] if whole.baseline.rest and unnamed else [*unnamed]
        )
        return hits_before, of_before, sum(counts.get(name, 0) for name in chosen), n
    used = whole.baseline if baseline is None else baseline
    now = window.bins_of(group, [*numbers], whole.measure)
    if whole.borders is None:
        now = np.array([n])
    comparison = MeasureComparison(group, whole.measure, used, whole.base, now, whole.borders, counts, few=True)
    found = dict(shares_of(window, comparison, numbers))
    return found.get(test, (hits_before, of_before, 0, 0))
