"""The recent baselines of a timeline: closed panes are summed in slices, and due slices enter the baselines.

A slice waits until every window (of up to a week) that covers it was judged. For a version whose measure has an open
alert, or hits that may lead to one, the slice is left out: otherwise a change would become normal by itself. There are
two exceptions: the alert has been open for `baseline.accept_after`, or the history of that hour of the week (rolling:
the whole history) is still being built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from stream_monitor.baselines.baseline import Baseline, Baselines, category_counts
from stream_monitor.baselines.recent import BaselineSlice, MergedBaseline, SliceHistory, SlicePlan
from stream_monitor.config.durations import HOUR, WEEK, WindowSpec
from stream_monitor.judge.baselines.recent_rows import BUILT, Alarmed, RecentRowBaselines, RecentRowsState
from stream_monitor.judge.panes.pane import IdRegistry, Pane
from stream_monitor.judge.panes.windows import Window
from stream_monitor.profiles.bins import BinEdges
from stream_monitor.profiles.measures import base_of, kind_of
from stream_monitor.types import F64

Key = tuple[str, str]
"""(segment, measure)."""


class RecentState(msgspec.Struct):
    """The state of a timeline's recent baselines; a snapshot writes exactly this."""

    plan: SlicePlan | None = None
    filling: Window | None = None
    """The slice that has not ended yet."""
    waiting: list[tuple[int, list[BaselineSlice]]] = []
    """(start, slices) that have ended and wait until the windows that cover them were judged."""
    histories: dict[Key, SliceHistory] = {}
    samples: RecentRowsState = msgspec.field(default_factory=RecentRowsState)


@dataclass(frozen=True, slots=True)
class Names:
    """The names, first baselines and edges of a timeline."""

    ids: IdRegistry
    baselines: Baselines
    edges: Mapping[str, BinEdges]


class RecentBaselines:
    """Collects slices and merges the recent baseline for a span. The data lies in `RecentState`."""

    def __init__(self, state: RecentState, plan: SlicePlan | None, names: Names, windows: Sequence[WindowSpec]) -> None:
        if state.plan != plan:
            state.plan, state.filling, state.waiting, state.histories = plan, None, [], {}
            state.samples = RecentRowsState()
        self.state, self.plan, self.names = state, plan, names
        self.rows = RecentRowBaselines(state.samples, plan)
        self._judged = [spec for spec in windows if spec.size <= WEEK]
        self._cache: dict[tuple[Key, int, int], MergedBaseline | None] = {}

    # --- filling ---

    def add(self, pane: Pane) -> None:
        """Add the data of a closed pane that bypasses the merge queue, see `Window.add`."""
        if self.plan is None:
            return
        if self.state.filling is None:
            self.state.filling = Window(self.plan.slice, pane.start - pane.start % self.plan.slice)
        self.state.filling.add(pane)
        self.state.filling.values.clear()  # a measure's history begins with the first slice that has edges

    def ends(self, until: int) -> bool:
        """Whether the slice that is being filled ends by `until`."""
        return self.state.filling is not None and self.state.filling.end <= until

    def has_due_slices(self, until: int, rows: Callable[[int], bool]) -> bool:
        """Close the slice that ends by `until`, and return whether any slice is due.

        `rows` returns whether a baseline of rows was active at a time (epoch ms).
        """
        if self.plan is None:
            return False
        filling = self.state.filling
        if filling is not None and self.ends(until):
            self.state.waiting.append((filling.start, list(self._slices(filling))))
            if rows(filling.start):
                self.rows.close(filling.start, filling.sampled, list(self.names.ids.groups))
            self.state.filling = None
        return any(self._absorbable_from(start) <= until for start, _ in self.state.waiting)

    def _absorbable_from(self, start: int) -> int:
        """The event time at which all windows that cover a slice were judged, rounded up to the end of a slice.

        The rounding makes all panes of one slice see the same recent baselines.
        """
        assert self.plan is not None
        end, size = start + self.plan.slice, self.plan.slice
        last = [(end + spec.size - 1) // spec.slide * spec.slide for spec in self._judged]
        """Ends of the last windows that begin before the slice ends."""
        return -(-max(last, default=end) // size) * size

    def absorb_due_slices(self, until: int, alarmed: Alarmed) -> None:
        """Add the due slices to the histories, except those that an alert covers."""
        waiting = self.state.waiting
        self.state.waiting = [(start, slices) for start, slices in waiting if self._absorbable_from(start) > until]
        for start, slices in waiting:
            if self._absorbable_from(start) <= until:
                self._add_to_histories(start, [piece for piece in slices if not self._left_out(piece, start, alarmed)])
        self.rows.absorb_due_slices(lambda start: self._absorbable_from(start) <= until, alarmed)
        self._cache.clear()

    def _add_to_histories(self, start: int, slices: Sequence[BaselineSlice]) -> None:
        assert self.plan is not None
        for piece in slices:
            history = self._history((piece.segment, piece.measure))
            if history is not None:
                history.add(self.plan, start, piece)

    def _left_out(self, piece: BaselineSlice, start: int, alarmed: Alarmed) -> bool:
        plan, key = self.plan, (piece.segment, piece.measure)
        if plan is None or not alarmed((piece.version, *key), (start, start + plan.slice)):
            return False
        history, first = self.state.histories.get(key), self.names.baselines.shared.get(key)
        if history is None or first is None:
            return False
        if plan.kind == "rolling":
            return history.baseline_for(plan, first, start + plan.gap, 0) is not None
        return history.slice_count(plan, start) >= BUILT

    def _history(self, key: Key) -> SliceHistory | None:
        """The history of a measure; None without a first baseline or with a pinned one."""
        first = self.names.baselines.shared.get(key)
        if first is None or first.pinned or self.plan is None:
            return None
        history = self.state.histories.get(key)
        if history is None:
            history = self.state.histories[key] = SliceHistory.of(self.plan, first)
        return history

    def _slices(self, window: Window) -> Iterator[BaselineSlice]:
        """The slices of the measures that had a baseline when the closed slice began."""
        groups, measures = list(self.names.ids.groups), list(self.names.ids.measures)
        numbers = window.numbers
        for group, measure in np.argwhere(numbers.n > 0).tolist() if numbers.n.size else []:
            name = measures[measure]
            first = self._first(groups[group][1], name, window.start)
            if first is not None and first.counts is not None and name in self.names.edges:
                row = group, measure
                moments = float(numbers.mean[row]), float(numbers.m2[row])
                ends = float(numbers.low[row]), float(numbers.high[row])
                yield self._slice(window, groups[group], (group, name), numbers.counts[row], moments, ends)
        for (group, name), (n, counts) in sorted(window.categories.items()):
            first = self._first(groups[group][1], name, window.start)
            if first is not None and first.categories is not None:
                now = category_counts(first, counts, n)[1]
                yield self._slice(window, groups[group], (group, name), now, (0.0, 0.0), (0.0, 0.0))

    def _first(self, segment: str, measure: str, start: int) -> Baseline | None:
        first = self.names.baselines.shared.get((segment, measure))
        return first if first is not None and first.since <= start and not first.pinned else None

    def _slice(
        self,
        window: Window,
        owner: tuple[str, str],
        key: tuple[int, str],
        counts: np.ndarray,
        moments: tuple[float, float],
        ends: tuple[float, float],
    ) -> BaselineSlice:
        version, segment = owner
        group, name = key
        events = int(window.counts[group, 0]) if group < len(window.counts) else 0
        first = self.names.baselines.shared[segment, name]
        other = 0 if base_of(name) else other_values(window, key, first.counts is not None, self.names.ids.measures)
        bins = np.flatnonzero(counts)
        packed = bins.astype(np.uint8), np.minimum(counts[bins], 2**32 - 1).astype(np.uint32)
        return BaselineSlice(version, segment, name, *packed, *moments, ends, events, other)

    # --- judging ---

    def baseline_for(self, group: tuple[str, str], measure: str, span: tuple[int, int]) -> MergedBaseline | None:
        """The recent baseline of a (version, segment) and measure for a span (start, size).

        None: use the first or the pinned baseline.
        """
        key, (start, size) = (group[1], measure), span
        history = self.state.histories.get(key)
        if self.plan is None or history is None or (*group, measure) in self.names.baselines.by_version:
            return None
        first = self.names.baselines.active_at(group, measure, start)
        if first is None or first.pinned:
            return None
        cache_key = (key, start // HOUR, -(-(start + size) // HOUR)) if self.hourly else (key, start, size)
        if cache_key not in self._cache:  # with seasons only the hours of a span matter
            if len(self._cache) > 4 * len(self.state.histories):
                self._cache.clear()
            self._cache[cache_key] = history.baseline_for(self.plan, first, start, size)
        return self._cache[cache_key]

    @property
    def hourly(self) -> bool:
        """Whether measures are compared with the same hours of earlier weeks."""
        return self.plan is not None and self.plan.kind == "hour_of_week"

    def expected_score(self, key: Key, merged: MergedBaseline, scores: F64) -> float:
        """Mean score of a value under the baseline `merged`; `scores` (BINS,) holds the score of each bin."""
        return self.state.histories[key].expected_score(merged, scores)

    def forget(self, key: Key) -> None:
        """Drop the history of a measure whose baseline or edges were forgotten."""
        self.state.histories.pop(key, None)
        for _, slices in self.state.waiting:
            slices[:] = [piece for piece in slices if (piece.segment, piece.measure) != key]
        self._cache.clear()


def other_values(window: Window, key: tuple[int, str], numeric: bool, numbers: Mapping[str, int]) -> int:
    """The number of values of a (group, measure) whose kind is not that of its baseline."""
    group, name = key
    n = window.categories.get((group, kind_of(name)), (0, {}))[0]
    if numeric:
        return n + window.categories.get(key, (0, {}))[0]
    measure = numbers.get(name)
    if measure is None or group >= window.numbers.n.shape[0] or measure >= window.numbers.n.shape[1]:
        return n
    return n + int(window.numbers.n[group, measure])
