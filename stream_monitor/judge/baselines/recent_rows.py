"""The recent past of a lane's rows: samples by slices, and which of them become part of normal.

They wait for their windows with the slices of single measures, see `recent`, and are left out for the versions whose
rows are in alert, by the same rules.
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
"""Slices of an hour of the week that are taken in as they come."""

Owner = tuple[str, str, str]
"""(version, segment, measure)."""
Alarmed = Callable[[Owner, tuple[int, int]], bool]
"""Whether a measure was in alert in a time (start, end)."""


class RecentRowsState(msgspec.Struct):
    """What a lane remembers of its rows lately."""

    waiting: list[tuple[int, dict[str, Rows]]] = []
    """(start, rows by version) of slices that are over and wait for the windows above them."""
    history: RowsHistory = msgspec.field(default_factory=RowsHistory)


class RecentRowBaselines:
    """Behaviour around a `RecentRowsState`; it does nothing where no rows come."""

    def __init__(self, state: RecentRowsState, plan: SlicePlan | None) -> None:
        self.state, self.plan = state, plan

    def close(self, start: int, sampled: Mapping[int, Sequence[Rows]], groups: Sequence[tuple[str, str]]) -> None:
        """Keep the rows of a slice that is over, by group."""
        if self.plan is not None and sampled:
            most = SLICE_ROWS[self.plan.kind]
            rows = {groups[group][0]: merge(parts, most) for group, parts in sorted(sampled.items()) if parts}
            self.state.waiting.append((start, rows))

    def absorb_due_slices(self, settled: Callable[[int], bool], alarmed: Alarmed) -> None:
        """Take in the slices (by start) that are `settled`, but those that are in alert."""
        waiting, plan = self.state.waiting, self.plan
        if plan is None or not waiting:
            return
        self.state.waiting = [(start, rows) for start, rows in waiting if not settled(start)]
        for start, rows in waiting:
            if settled(start):
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
        """Whether there is a recent baseline already, which what rings could spoil."""
        if plan.kind == "rolling":
            return self.state.history.baseline_for(plan, (start + plan.gap, 0)) is not None
        return self.state.history.slice_count(plan, start) >= BUILT

    def baseline_for(self, span: tuple[int, int]) -> MergedRows | None:
        """What judges a window (start, size) in place of the first rows; None: they do."""
        return None if self.plan is None else self.state.history.baseline_for(self.plan, span)

    def forget(self) -> None:
        """What was normal is no more."""
        self.state.waiting, self.state.history = [], RowsHistory()
