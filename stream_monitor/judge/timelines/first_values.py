"""Measures of predictions whose first values came late: until then every event was without one.

Such a measure was null or left out in so many events that a baseline would have been complete. That is what it is
compared with until it has a baseline of its own: a share of missing values of 1.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from stream_monitor.baselines.baseline import Baseline, BaselineBuilder
from stream_monitor.judge.detection.window_evaluation import MeasureComparison
from stream_monitor.judge.panes.windows import Window
from stream_monitor.judge.timelines.state import TimelineRules, TimelineState
from stream_monitor.profiles.bins import BINS
from stream_monitor.profiles.measures import base_of


def never_before(builder: BaselineBuilder, first: int) -> bool:
    """Whether a measure had no value in at least `first` events before its first one."""
    return builder.events_before >= first


def first_values(
    state: TimelineState, rules: TimelineRules, window: Window, minimum: int
) -> Iterator[MeasureComparison]:
    """Compare the measures that had never a value, and get some, in groups with `minimum` events in the window.

    With recent baselines nothing is yielded: a recent baseline does not know hours without values.
    """
    if state.name != "input" or rules.recent is not None:
        return
    for (segment, name), builder in sorted(state.builders.by_key.items()):
        if base_of(name) is not None or not never_before(builder, rules.first):
            continue
        events = builder.events_before
        for group, (version, of) in enumerate(state.ids.groups):
            pinned = (version, segment, name) in state.baselines.by_version
            if of == segment and not pinned and group < len(window.counts) and window.counts[group, 0] >= minimum:
                now = np.zeros(BINS, np.int64)
                now[0] = window.categories.get((group, name), (0, {}))[0]
                baseline = Baseline(f"missing-{events}", window.start, events, {})
                yield MeasureComparison(group, name, baseline, np.zeros(BINS, np.int64), now, None, few=True)
