"""Recent baselines of a timeline's sampled rows, made of slices.

The slices become due with those of single measures, see `recent`. For a version whose rows have an alert they are left
out by the same rules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from stream_monitor.baselines.recent import SlicePlan
from stream_monitor.baselines.recent_rows import SLICE_ROWS, MergedRows, RowsHistory
from stream_monitor.baselines.sampled_rows import Rows, merge
from stream_monitor.profiles.measures import JOINT
from stream_monitor.profiles.names import ALL_SEGMENTS

BUILT = 2
"""The first slices of each hour of the week enter the history even if an alert covers them."""

Owner = tuple[str, str, str]
"""(version, segment, measure)."""
Alarmed = Callable[[Owner, tuple[int, int]], bool]
"""Whether an alert covers an owner's measure in a span (start, end)."""


class RecentRowsState(msgspec.Struct):
    """The state of a timeline's recent baselines of rows."""

    waiting: list[tuple[int, dict[str, Rows]]] = []
    """(start, rows by version) of slices that have ended and wait until the windows that cover them were judged."""
    history: RowsHistory = msgspec.field(default_factory=RowsHistory)


class RecentRowBaselines:
    """Collects slices of sampled rows and merges the recent rows for a span. The data lies in `RecentRowsState`."""

    def __init__(self, state: RecentRowsState, plan: SlicePlan | None) -> None:
        self.state, self.plan = state, plan

    def close(self, start: int, sampled: Mapping[int, Sequence[Rows]], groups: Sequence[tuple[str, str]]) -> None:
        """Keep the sampled rows, by group, of a slice that has ended."""
        if self.plan is not None and sampled:
            most = SLICE_ROWS[self.plan.kind]
            rows = {groups[group][0]: merge(parts, most) for group, parts in sorted(sampled.items()) if parts}
            self.state.waiting.append((start, rows))

    def absorb_due_slices(self, is_due: Callable[[int], bool], alarmed: Alarmed) -> None:
        """Add the due slices to the history, except those that an alert covers. `is_due(start)`: whether it is due."""
        waiting, plan = self.state.waiting, self.plan
        if plan is None or not waiting:
            return
        self.state.waiting = [(start, rows) for start, rows in waiting if not is_due(start)]
        for start, rows in waiting:
            if is_due(start):
                span = start, start + plan.slice
                built = self._built(plan, start)
                kept = [
                    part
                    for version, part in rows.items()
                    if not (built and alarmed((version, ALL_SEGMENTS, JOINT), span))
                ]
                if kept:
                    self.state.history.add(plan, start, kept)

    def _built(self, plan: SlicePlan, start: int) -> bool:
        """Whether the recent baseline is complete. From then on slices with an alert are left out."""
        if plan.kind == "rolling":
            return self.state.history.baseline_for(plan, (start + plan.gap, 0)) is not None
        return self.state.history.slice_count(plan, start) >= BUILT

    def baseline_for(self, span: tuple[int, int]) -> MergedRows | None:
        """The recent rows for a window (start, size); None: use the first rows."""
        return None if self.plan is None else self.state.history.baseline_for(self.plan, span)

    def forget(self) -> None:
        """Drop the slices and the history."""
        self.state.waiting, self.state.history = [], RowsHistory()
