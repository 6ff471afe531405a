"""Counts of one measure in a closed pane, for groups side by side, on values that ascend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np

from stream_monitor.judge.panes.category_counts import CategoryCounts
from stream_monitor.judge.panes.pane import Pane
from stream_monitor.judge.panes.tails import tail_entries
from stream_monitor.profiles.bins import BinEdges
from stream_monitor.profiles.tails import NO_TAIL, RATIO, TAIL_BINS, TailTable, tail_edges
from stream_monitor.types import F64

RATES: F64 = np.array([0.0, 1.0])
FAR = 13
"""Doubling edges at either end that are left out: a mean is that of values up to about 1.9 times the baseline's
range, beyond which they count as that much. Edges that reach to 16,000 times the range would make bets worthless."""

Counts = tuple[F64, F64]
"""Values (J,), and counts (G, J) of each group on them."""


class MeasureCounts:
    """The counts of the measures of a pane; what several readers ask for is computed once."""

    def __init__(self, pane: Pane, measures: Mapping[str, int], edges: Mapping[str, BinEdges]) -> None:
        self._pane, self._measures, self._edges = pane, measures, edges

    @cached_property
    def _tallies(self) -> dict[tuple[int, str], CategoryCounts]:
        return self._pane.tallies()

    @cached_property
    def _tails(self) -> TailTable:
        table, pane = TailTable(), self._pane
        parts = [(placed, tails) for placed in pane.parts if (tails := placed.part.delta.tails) is not None]
        entries = list(pane.binned_tails)
        if parts:
            rows = [(placed.row_index.group, placed.row_index.measure) for placed, _ in parts]
            firsts = [placed.part.starts[0] for placed, _ in parts]
            entries.append(tail_entries([tails for _, tails in parts], firsts, rows))
        for key, n in entries:
            table.add(key, n)
        return table

    def accepted(self, groups: Sequence[int]) -> list[int]:
        """Events of each group."""
        return [self._pane.accepted.get(group, 0) for group in groups]

    def missing(self, measure: str, groups: Sequence[int]) -> Counts:
        """0 for an event with a value, 1 for one without."""
        rows = [self._row(measure, group) for group in groups]
        n = [
            self._tallies.get((group, measure), (0,))[0] + (0 if row is None else int(self._pane.numbers.n[row]))
            for group, row in zip(groups, rows, strict=True)
        ]
        return RATES, _rates(self.accepted(groups), [a - k for a, k in zip(self.accepted(groups), n, strict=True)])

    def category(self, measure: str, category: str, groups: Sequence[int]) -> Counts:
        """1 for a value that is this category, 0 for another one."""
        empty: CategoryCounts = (0, [], [])
        tallies = [self._tallies.get((group, measure), empty) for group in groups]
        hits = [dict(zip(names, counts, strict=True)).get(category, 0) for _, names, counts in tallies]
        return RATES, _rates([n for n, _, _ in tallies], hits)

    def rate(self, measure: str, groups: Sequence[int]) -> Counts:
        """The counts of a measure that is 0 or 1."""
        numbers, rows = self._pane.numbers, [self._row(measure, group) for group in groups]
        n = [0 if row is None else int(numbers.n[row]) for row in rows]
        hits = [0 if row is None else round(float(numbers.n[row] * numbers.mean[row])) for row in rows]
        return RATES, _rates(n, hits)

    def bins(self, measure: str, groups: Sequence[int]) -> Counts | None:
        """The counts on all bins of a measure; their upper edges stand for the values. None: it has no edges yet.

        The last bin has no upper edge: a value above the last edge stands for it.
        """
        found = self._edges.get(measure)
        if found is None:
            return None
        values = np.append(found.edges, found.edges[-1] + max(abs(found.edges[-1]), 1.0))
        return values, self._bins(measure, groups, len(values))

    def numbers(self, measure: str, groups: Sequence[int]) -> Counts | None:
        """The counts on the bins of a measure up to a cap, for means. None: it has no edges yet."""
        found = self._edges.get(measure)
        if found is None:
            return None
        counts, last = self._bins(measure, groups, len(found.edges) + 1), len(found.edges) - 1
        low, high = (min(FAR, last // 2), max(last - FAR, last // 2))
        kept = counts[:, low : high + 1].copy()
        kept[:, 0] += counts[:, :low].sum(axis=1)
        kept[:, -1] += counts[:, high + 1 :].sum(axis=1)
        return found.edges[low : high + 1], kept

    def tail(self, measure: str, groups: Sequence[int]) -> Counts | None:
        """The counts up to the start of a measure's tail, then on the tail's bins. None: its edges have no tail."""
        found, number = self._edges.get(measure), self._measures.get(measure)
        if found is None or number is None or found.tail == NO_TAIL:
            return None
        lower = tail_edges(found.tail)
        values = np.append(lower, lower[-1] * RATIO)
        counts = np.zeros((len(groups), TAIL_BINS + 1))
        for place, group in enumerate(groups):
            row = self._row(measure, group)
            counts[place, 1:] = self._tails.of(group, number)
            counts[place, 0] = (0 if row is None else int(self._pane.numbers.n[row])) - counts[place, 1:].sum()
        return values, np.maximum(counts, 0.0)

    def _bins(self, measure: str, groups: Sequence[int], size: int) -> F64:
        counts, numbers = np.zeros((len(groups), size)), self._pane.numbers
        for place, group in enumerate(groups):
            row = self._row(measure, group)
            if row is not None:
                entries = slice(int(numbers.bin_ptr[row]), int(numbers.bin_ptr[row + 1]))
                counts[place, numbers.bin_at[entries]] = numbers.bin_n[entries]
        return counts

    def _row(self, measure: str, group: int) -> int | None:
        """The row of a measure of a group in `pane.numbers`."""
        number, numbers, width = self._measures.get(measure), self._pane.numbers, self._pane.measures
        if number is None or group < 0:
            return None
        keys = numbers.group.astype(np.int64) * width + numbers.measure
        row = int(np.searchsorted(keys, group * width + number))
        return row if row < len(keys) and keys[row] == group * width + number else None


def _rates(n: Sequence[int], hits: Sequence[int]) -> F64:
    """(G, 2) how many are 0, and how many are 1."""
    return np.array([[max(total - one, 0), one] for total, one in zip(n, hits, strict=True)], float)
