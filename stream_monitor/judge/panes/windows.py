"""The windows of one timeline: each merges the closed panes that lie in it.

A sliding window is kept as parts, each as long as the slide. The assembler merges the parts when the window ends. A
tumbling window slides by its size, so it is a single part and needs no merge and no copy.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from stream_monitor.baselines.baseline import keep_categories
from stream_monitor.baselines.sampled_rows import WINDOW_ROWS, Rows, collect
from stream_monitor.config.durations import WindowSpec
from stream_monitor.judge.panes.category_counts import add_counts
from stream_monitor.judge.panes.merge_queue import MergeBatch
from stream_monitor.judge.panes.pane import Pane
from stream_monitor.profiles.bins import BINS, BinEdges, bin_values
from stream_monitor.profiles.names import END, NEVER
from stream_monitor.profiles.numeric_table import NumericTable
from stream_monitor.profiles.quantiles import Extent
from stream_monitor.profiles.tails import NO_TAIL, TailTable, keyed, tail_counts
from stream_monitor.types import I64

ACCEPTED, DUPLICATES, LATE, AFTER_IDLE = 0, 1, 2, 3
EMPTY_REPORTED = 30
"""Adjacent empty windows of a size that are reported; further ones are not, so that a gap of a year costs nothing."""


class Window(msgspec.Struct):
    """The merged panes of [start, start + size); `start` is NEVER while the window is empty.

    In an open window, counts, numbers and categories lag behind until `Timeline.flush_merges` merges the queued panes.
    """

    size: int
    start: int = NEVER
    counts: np.ndarray = msgspec.field(default_factory=lambda: np.zeros((0, 4), np.int64))
    """(groups, 4): accepted, duplicates, late, after idle."""
    numbers: NumericTable = msgspec.field(default_factory=lambda: NumericTable.empty(0, 0))
    values: dict[tuple[int, int], list[np.ndarray]] = {}
    categories: dict[tuple[int, str], tuple[int, dict[str, int]]] = {}
    approximate: set[int] = set()
    """Measures with counts that were moved here from other edges."""
    tails: TailTable = msgspec.field(default_factory=TailTable)
    """The tails of the measures whose edges have one. They lack values that came from workers without such edges."""
    sampled: dict[int, list[Rows]] = {}
    """Sampled rows by group, in parts; groups without rows are absent."""

    @property
    def end(self) -> int:
        """First millisecond after the window."""
        return self.start + self.size

    @property
    def empty(self) -> bool:
        """Whether no pane lies in this window."""
        return self.start == NEVER

    def begin(self, at: int) -> None:
        """Set the start so that `at` (epoch ms) lies in the window; a window that has begun does not change."""
        if self.empty:
            self.start = at - at % self.size

    def add(self, pane: Pane) -> None:
        """Add the data of a pane that bypasses the merge queue: values without edges, and sampled rows."""
        for key, parts in pane.values.items():
            self.values.setdefault(key, []).extend(parts)
        for group, rows in pane.rows.items():
            collect(self.sampled.setdefault(group, []), rows, WINDOW_ROWS)

    def take(self, batch: MergeBatch) -> None:
        """Add the counts, numbers and categories of a batch of panes that lie in this window."""
        self._room(len(batch.counts), batch.measures)
        self.counts[: len(batch.counts), :3] += batch.counts
        if batch.numbers is not None:
            self.numbers.add(batch.numbers)
        for group, measure, counts in batch.binned:
            self.numbers.counts[group, measure] += counts
        for keys, n in batch.tails:
            self.tails.add(keys, n)
        for key, tally in batch.categories.items():
            total, merged = self.categories.get(key) or (0, {})
            add_counts(merged, [tally])
            self.categories[key] = total + tally[0], merged

    def add_part(self, part: Window) -> None:
        """Merge a shorter window that lies in this one; `part` does not change."""
        groups, measures = part.numbers.n.shape
        self._room(max(len(part.counts), groups), measures)
        self.counts[: len(part.counts)] += part.counts
        self.numbers.merge(part.numbers)
        self.tails.add(part.tails.key, part.tails.n)
        self.approximate |= part.approximate
        for key, values in part.values.items():
            self.values.setdefault(key, []).extend(values)
        for group, samples in part.sampled.items():
            for sample in samples:
                collect(self.sampled.setdefault(group, []), sample, WINDOW_ROWS)
        for name, (n, counts) in part.categories.items():
            total, merged = self.categories.get(name) or (0, {})
            add_counts(merged, [(n, [*counts], [*counts.values()])])
            self.categories[name] = total + n, merged

    def trim(self, known: Callable[[str], frozenset[str]], cap: int, slack: int = 1) -> None:
        """Of each measure, keep the known categories and the `cap` other ones of smallest hash, with exact counts.

        A dropped category can never re-enter: `cap` categories with smaller hashes are already kept. `slack` delays
        trimming until the map is `slack` times too large; the final trim must use slack=1, so the result is unaffected.
        """
        for (group, name), (n, counts) in self.categories.items():
            if len(counts) > slack * cap:
                self.categories[group, name] = n, keep_categories(counts, known(name), cap)

    def add_after_idle(self, groups: int, group: int, count: int) -> None:
        """Count events that came after idle: their pane had closed without them."""
        self._room(groups, 0)
        self.counts[group, AFTER_IDLE] += count

    def _room(self, groups: int, measures: int) -> None:
        if groups > len(self.counts):
            grown = np.zeros((groups, 4), np.int64)
            grown[: len(self.counts)] = self.counts
            self.counts = grown
        self.numbers = self.numbers.grown(groups, measures)

    def bins_of(self, group: int, names: Sequence[str], measure: str) -> I64:
        """The bin counts of a measure; zeros when the window has no values of it. `names` are those of the measures."""
        column = names.index(measure) if measure in names else self.numbers.n.shape[1]
        if group >= self.numbers.n.shape[0] or column >= self.numbers.n.shape[1]:
            return np.zeros(BINS, np.int64)
        counts: I64 = self.numbers.counts[group, column]
        return counts

    def extent(self, group: int, measure: int, edges: BinEdges) -> Extent:
        """The ends, moments and tail of a measure of a group, by their numbers."""
        extent = self.numbers.extent(group, measure)
        return extent._replace(tail=self.tails.tail(group, measure, edges.tail))

    def bin_values(self, names: Iterable[str], edges: Mapping[str, BinEdges]) -> None:
        """Bin the unbinned values of every measure that has edges by now; `names` are those of the measures."""
        if not self.values:
            return
        by_number = list(names)
        for group, measure in sorted(self.values):
            if (present := edges.get(by_number[measure])) is not None:
                values = np.concatenate(self.values.pop((group, measure)))
                self._room(group + 1, measure + 1)
                self.numbers.counts[group, measure] += np.bincount(bin_values(present.edges, values), minlength=BINS)
                if present.tail != NO_TAIL:
                    self.tails.add(*keyed(group, measure, tail_counts(present.tail, values)))

    def copy(self) -> Window:
        """A deep copy; changes to it do not affect this window."""
        return copy.deepcopy(self)


@dataclass(frozen=True, slots=True)
class WindowAssembler:
    """Assembles the windows of one size of a timeline from parts as long as the slide.

    The state lies in `TimelineState`. The assembler keeps at most size / slide parts, and no empty ones.
    """

    spec: WindowSpec
    at: int
    """Index in `windows`."""
    windows: list[Window]
    """The parts that are being filled, one for each window size."""
    closed_parts: dict[int, list[Window]]
    """By size: the earlier parts of windows that have not ended, oldest first."""
    last_window_end: dict[int, int]
    """By size: the end of the last window, while the next window may be an empty one that is reported."""
    empty_windows: dict[int, int]
    """By size: how many adjacent empty windows were reported since the last one with events."""

    @property
    def current(self) -> Window:
        """The part that is being filled."""
        return self.windows[self.at]

    def due(self, until: int, last: int = END) -> int | None:
        """The end of the next window, or of the next empty one that is reported; None when that end is after `until`.

        When the stream is over (`until` is END), the last window ends with the slide of the `last` event: there is no
        event time after it.
        """
        size, slide = self.spec
        earlier = self.closed_parts.get(size)
        if not earlier and self.current.empty:
            ended = self.last_window_end.get(size)
            return ended + slide if ended is not None and ended + slide <= until < END else None
        end = self.last_window_end[size] + slide if earlier else self.current.end
        latest = max(last - last % slide + slide, NEVER if self.current.empty else self.current.end)
        return end if end <= min(until, latest) else None

    def finish(self, end: int, trim: Callable[[Window], None]) -> Window | None:
        """Remove and return the window that ends at `end`; None when it is empty. `trim` limits its categories."""
        size, slide = self.spec
        parts = self.closed_parts.pop(size, [])
        if not self.current.empty and self.current.end == end:
            trim(self.current)
            parts = [*parts, self.current]
            self.windows[self.at] = Window(slide)
        self.last_window_end[size] = end
        if not parts:
            self.empty_windows[size] = self.empty_windows.get(size, 0) + 1
            if self.empty_windows[size] >= EMPTY_REPORTED:
                del self.last_window_end[size], self.empty_windows[size]
            return None
        self.empty_windows.pop(size, None)
        if kept := [part for part in parts if part.start >= end + slide - size]:
            self.closed_parts[size] = kept
        if size == slide:
            return parts[0]
        merged = Window(size, end - size)
        for part in parts:
            merged.add_part(part)
            trim(merged)
        return merged

    def copy(self) -> WindowAssembler:
        """A copy to fill and finish; changes to it do not affect this assembler."""
        size = self.spec.size
        earlier = {size: list(self.closed_parts[size])} if size in self.closed_parts else {}
        last_window_end = {size: self.last_window_end[size]} if size in self.last_window_end else {}
        return WindowAssembler(self.spec, 0, [self.current.copy()], earlier, last_window_end, {})
