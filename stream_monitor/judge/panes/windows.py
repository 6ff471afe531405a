"""Windows of one lane: the panes that closed in them, merged.

A window is kept in parts as long as its slide, which are merged when it ends. A tumbling window slides by its size: it
is a single part, and nothing is merged or copied.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
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

ACCEPTED, DUPLICATES, LATE, AFTER_IDLE = 0, 1, 2, 3


class Window(msgspec.Struct):
    """Everything of [start, start + size); `start` is NEVER while nothing came.

    Of one that is open, counts, numbers and categories are those of some earlier pane until `Lane.catch_up`.
    """

    size: int
    start: int = NEVER
    counts: np.ndarray = msgspec.field(default_factory=lambda: np.zeros((0, 4), np.int64))
    """(groups, 4): accepted, duplicates, late, after idle."""
    numbers: NumericTable = msgspec.field(default_factory=lambda: NumericTable.empty(0, 0))
    values: dict[tuple[int, int], list[np.ndarray]] = {}
    categories: dict[tuple[int, str], tuple[int, dict[str, int]]] = {}
    approximate: set[int] = set()
    """Measures of which some counts were moved here from other edges."""
    sampled: dict[int, list[Rows]] = {}
    """Rows of groups that have any, in parts."""

    @property
    def end(self) -> int:
        """First millisecond after the window."""
        return self.start + self.size

    @property
    def empty(self) -> bool:
        """Nothing came in this window."""
        return self.start == NEVER

    def begin(self, at: int) -> None:
        """Make it the window that `at` (epoch ms) lies in, unless something came in it already."""
        if self.empty:
            self.start = at - at % self.size

    def add(self, pane: Pane) -> None:
        """Take in what does not wait of a pane that lies in this window: values without edges, and sampled rows."""
        for key, parts in pane.values.items():
            self.values.setdefault(key, []).extend(parts)
        for group, rows in pane.rows.items():
            collect(self.sampled.setdefault(group, []), rows, WINDOW_ROWS)

    def take(self, came: MergeBatch) -> None:
        """Take in the counts, numbers and categories of panes that lie in this window."""
        self._room(len(came.counts), came.measures)
        self.counts[: len(came.counts), :3] += came.counts
        if came.numbers is not None:
            self.numbers.add(came.numbers)
        for group, measure, counts in came.binned:
            self.numbers.counts[group, measure] += counts
        for key, tally in came.categories.items():
            total, merged = self.categories.get(key) or (0, {})
            add_counts(merged, [tally])
            self.categories[key] = total + tally[0], merged

    def add_part(self, part: Window) -> None:
        """Merge a shorter window that lies in this one; it stays as it is."""
        groups, measures = part.numbers.n.shape
        self._room(max(len(part.counts), groups), measures)
        self.counts[: len(part.counts)] += part.counts
        self.numbers.merge(part.numbers)
        self.approximate |= part.approximate
        for key, values in part.values.items():
            self.values.setdefault(key, []).extend(values)
        for group, waiting in part.sampled.items():
            for sample in waiting:
                collect(self.sampled.setdefault(group, []), sample, WINDOW_ROWS)
        for name, (n, counts) in part.categories.items():
            total, merged = self.categories.get(name) or (0, {})
            add_counts(merged, [(n, [*counts], [*counts.values()])])
            self.categories[name] = total + n, merged

    def trim(self, known: Callable[[str], frozenset[str]], cap: int, slack: int = 1) -> None:
        """Of each measure's categories keep the known ones and the `cap` of smallest hash, with exact counts.

        What is left out has `cap` others of smaller hash beside it, and so it never comes back. With `slack` only what
        has so many times too many is trimmed: when that happens does not show, as long as the end is without.
        """
        for (group, name), (n, counts) in self.categories.items():
            if len(counts) > slack * cap:
                self.categories[group, name] = n, keep_categories(counts, known(name), cap)

    def add_after_idle(self, groups: int, group: int, count: int) -> None:
        """Count events that came for a pane which had closed without them."""
        self._room(groups, 0)
        self.counts[group, AFTER_IDLE] += count

    def _room(self, groups: int, measures: int) -> None:
        if groups > len(self.counts):
            grown = np.zeros((groups, 4), np.int64)
            grown[: len(self.counts)] = self.counts
            self.counts = grown
        self.numbers = self.numbers.grown(groups, measures)

    def settle_values(self, measure: int, edges: BinEdges) -> None:
        """Bin the values kept of a measure that has edges now."""
        for key in [key for key in self.values if key[1] == measure]:
            values = np.concatenate(self.values.pop(key))
            self._room(key[0] + 1, measure + 1)
            self.numbers.counts[key] += np.bincount(bin_values(edges.edges, values), minlength=BINS)

    def copy(self) -> Window:
        """A copy that can be added to without touching this one."""
        return copy.deepcopy(self)


@dataclass(frozen=True, slots=True)
class WindowAssembler:
    """The windows of one size of a lane, in parts of a slide; what is remembered lies in the lane's state.

    At most size / slide parts are kept, and those in which nothing came are not.
    """

    spec: WindowSpec
    at: int
    """Place in `windows`."""
    windows: list[Window]
    """The parts that are being filled, one a size."""
    closed_parts: dict[int, list[Window]]
    """By size: the parts before, of windows that have not ended, oldest first."""
    last_window_end: dict[int, int]
    """By size: the end of the last window, as long as the one after it may be the first empty one."""

    @property
    def current(self) -> Window:
        """The part that is being filled."""
        return self.windows[self.at]

    def due(self, until: int, last: int = END) -> int | None:
        """When the next window ends, or the first one in which nothing came; None when that is after `until`.

        Where the stream is over (`until` is END) that is with the slide of its `last` event: what would follow are
        windows of a time that never came.
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
        """Take out the window that is due at `end`; None when nothing came in it. `trim` bounds categories for good."""
        size, slide = self.spec
        parts = self.closed_parts.pop(size, [])
        if not self.current.empty and self.current.end == end:
            trim(self.current)
            parts = [*parts, self.current]
            self.windows[self.at] = Window(slide)
        if not parts:
            del self.last_window_end[size]  # of a run of empty windows only the first is told
            return None
        self.last_window_end[size] = end
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
        """A copy that can be filled and finished without touching this one."""
        size = self.spec.size
        earlier = {size: list(self.closed_parts[size])} if size in self.closed_parts else {}
        lively = {size: self.last_window_end[size]} if size in self.last_window_end else {}
        return WindowAssembler(self.spec, 0, [self.current.copy()], earlier, lively)
