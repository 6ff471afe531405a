"""A tumbling window of one lane: the panes that closed in it, merged."""

from __future__ import annotations

import copy
from collections.abc import Callable

import msgspec
import numpy as np

from stream_monitor.describe.clocks import NEVER
from stream_monitor.describe.edges import BINS, Edges, bin_values
from stream_monitor.detect.baselines import keep_categories
from stream_monitor.detect.numbers import Bins, Numbers
from stream_monitor.judge.panes import Pane, Tally, add_counts

ACCEPTED, DUPLICATES, LATE, AFTER_IDLE = 0, 1, 2, 3
LATER = 16
"""Most panes that wait to be merged."""
LATER_CATEGORIES = 20_000
"""Categories that wait, of all measures, are merged when they are more."""


class Later(msgspec.Struct):
    """Counts of panes, which are exact in whatever order, and so are merged many panes at once."""

    bins: list[Bins] = []
    categories: list[dict[tuple[int, str], Tally]] = []
    size: int = 0
    """Categories that wait."""


class Window(msgspec.Struct):
    """Everything of [start, start + size); `start` is NEVER while nothing came."""

    size: int
    start: int = NEVER
    counts: np.ndarray = msgspec.field(default_factory=lambda: np.zeros((0, 4), np.int64))
    """(groups, 4): accepted, duplicates, late, after idle."""
    numbers: Numbers = msgspec.field(default_factory=lambda: Numbers.empty(0, 0))
    values: dict[tuple[int, int], list[np.ndarray]] = {}
    categories: dict[tuple[int, str], tuple[int, dict[str, int]]] = {}
    later: Later = msgspec.field(default_factory=Later)
    """What `settle` merges; before it, bins and categories are those of some earlier pane."""

    @property
    def end(self) -> int:
        """First millisecond after the window."""
        return self.start + self.size

    @property
    def empty(self) -> bool:
        """Nothing came in this window."""
        return self.start == NEVER

    def clear(self) -> Window:
        """An empty window of the same size."""
        return Window(self.size)

    def add(self, pane: Pane) -> None:
        """Merge a pane that lies in this window."""
        self._room(len(pane.counts), pane.measures)
        self.counts[: len(pane.counts), :3] += pane.counts
        self.numbers.add_moments(pane.numbers)
        for key, parts in pane.values.items():
            self.values.setdefault(key, []).extend(parts)
        later = self.later
        if len(pane.numbers.bin_at):
            later.bins.append(Bins.of(pane.numbers))
        if pane.categories:
            later.categories.append(pane.categories)
            later.size += sum([len(names) for _, names, _ in pane.categories.values()])
        if len(later.bins) >= LATER or len(later.categories) >= LATER or later.size > LATER_CATEGORIES:
            self.settle()

    def settle(self) -> None:
        """Merge what waits: for who looks at bins or categories."""
        later, self.later = self.later, Later()
        if later.bins:
            self.numbers.add_bins(later.bins)
        waiting: dict[tuple[int, str], list[Tally]] = {}
        for categories in later.categories:
            for key, tally in categories.items():
                waiting.setdefault(key, []).append(tally)
        for key, tallies in waiting.items():
            total, merged = self.categories.get(key) or (0, {})
            add_counts(merged, tallies)
            self.categories[key] = total + sum([tally[0] for tally in tallies]), merged

    def trim(self, known: Callable[[str], frozenset[str]], cap: int) -> None:
        """Of each measure's categories keep the known ones and the `cap` of smallest hash, with exact counts.

        What is kept does not depend on when it is trimmed, so that waits until twice too many are there.
        """
        for (group, name), (n, counts) in self.categories.items():
            if len(counts) > 2 * cap:
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

    def settle_values(self, measure: int, edges: Edges) -> None:
        """Bin the values kept of a measure that has edges now."""
        for key in [key for key in self.values if key[1] == measure]:
            values = np.concatenate(self.values.pop(key))
            self.numbers.counts[key] += np.bincount(bin_values(edges.borders, values), minlength=BINS)

    def copy(self) -> Window:
        """A copy that can be added to without touching this one."""
        return copy.deepcopy(self)
