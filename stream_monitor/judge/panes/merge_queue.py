"""Queue of closed panes. They are merged into their windows in batches; results do not depend on batch boundaries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from stream_monitor.errors import FormatError
from stream_monitor.judge.panes.category_counts import CategoryCounts, CountedRows, spread, sum_counts
from stream_monitor.judge.panes.pane import Pane, RowIndex
from stream_monitor.judge.panes.tails import TailEntries, once, tail_entries
from stream_monitor.profiles.delta import CategoricalRows, NumericRows, TailRows
from stream_monitor.profiles.numeric_table import RowBatch
from stream_monitor.types import I64
from stream_monitor.wire.concat import concat_tables

PARTS = 64
"""Limit of queued parts; the last pane may exceed it."""
PART_BYTES = 200_000
"""Limit of queued bytes; the last pane may exceed it."""


class QueuedPart(NamedTuple):
    """The tables of a delta, and the first of their rows that lie in the pane."""

    numeric: NumericRows
    categorical: CategoricalRows
    tails: TailRows | None
    first_number: int
    first_category: int
    row_index: RowIndex


class QueuedPane(NamedTuple):
    """The data of a pane that is merged in batches; without its sampled rows and embeddings, which may be large."""

    groups: int
    measures: int
    """The number of groups and measures when the pane closed."""
    cells: list[tuple[int, list[int]]]
    binned: list[tuple[int, int, I64]]
    tails: list[TailEntries]
    """The tails of `binned`."""
    parts: list[QueuedPart]

    @classmethod
    def of(cls, pane: Pane) -> QueuedPane:
        """The data of a pane that is merged in batches."""
        parts = [
            QueuedPart(d.numeric, d.categorical, d.tails, *p.part.starts, p.row_index)
            for p in pane.parts
            for d in [p.part.delta]
        ]
        return cls(pane.groups, pane.measures, pane.cells, pane.binned, pane.binned_tails, parts)


class MergeBatch:
    """The merged data of some panes, for every window that they lie in."""

    def __init__(self, panes: Sequence[QueuedPane]) -> None:
        last = panes[-1]  # the numbers of groups and measures only grow
        self.measures = last.measures
        self.counts = np.zeros((last.groups, 3), np.int64)
        if cells := [cell for pane in panes for cell in pane.cells]:
            groups, counts = zip(*cells, strict=True)
            np.add.at(self.counts, np.array(groups), np.array(counts))
        self.binned = [item for pane in panes for item in pane.binned]
        """(group, measure, counts) of values that came without bins."""
        self.numbers = _numbers([
            (index, part) for index, pane in enumerate(panes) for part in pane.parts if len(part.row_index.group)
        ])  # fmt: skip
        self.tails = [entries for pane in panes for entries in pane.tails]
        """(key, n) of the tails of all values."""
        self.tails += _tails([part for pane in panes for part in pane.parts if part.tails is not None])
        self.categories = _categories([part for pane in panes for part in pane.parts if part.row_index.keys])


class MergeQueue:
    """The closed panes of a timeline that are not merged into windows yet."""

    def __init__(self) -> None:
        self.panes: list[QueuedPane] = []
        self._parts = self._bytes = 0

    def add(self, pane: Pane) -> bool:
        """Queue a pane. Return True when the queue is full and the caller must merge it."""
        self.panes.append(QueuedPane.of(pane))
        for placed in pane.parts:
            self._parts += 1
            self._bytes += placed.part.nbytes
        return self._parts >= PARTS or self._bytes >= PART_BYTES

    def take(self) -> MergeBatch | None:
        """Empty the queue into a batch; None when the queue is empty."""
        panes, self.panes = self.panes, []
        self._parts = self._bytes = 0
        return MergeBatch(panes) if panes else None


def _tails(parts: Sequence[QueuedPart]) -> list[TailEntries]:
    if not parts:
        return []
    tables = [part.tails for part in parts if part.tails is not None]
    rows = [(part.row_index.group, part.row_index.measure) for part in parts]
    return [tail_entries(tables, [part.first_number for part in parts], rows)]


def _numbers(parts: Sequence[tuple[int, QueuedPart]]) -> RowBatch | None:
    """The numeric rows of the parts, concatenated. `parts` holds (index of the pane, part)."""
    if not parts:
        return None
    panes, queued = zip(*parts, strict=True)
    row_indexes = [part.row_index for part in queued]
    distinct, which = once([part.numeric for part in queued])
    rows = concat_tables(NumericRows, distinct)
    rows.require("n", "cell", "name", "mean", "m2", "low", "high", "bin_ptr", more=1)
    rows.require("bin_at", "bin_n")
    sizes = np.array([len(row_index.group) for row_index in row_indexes])
    table = np.repeat(which, sizes)
    row = spread(rows.start("n")[which] + [part.first_number for part in queued], sizes)
    ptr, begin = rows.ints("bin_ptr"), rows.start("bin_at")[table]
    first, last = ptr[row + table], ptr[row + table + 1]  # a table has one more pointer than rows
    if ((first < 0) | (last > rows.size("bin_at")[table])).any():
        raise FormatError("the bins of a delta do not fit its rows")
    group, measure = (
        np.concatenate([getattr(row_index, name) for row_index in row_indexes]) for name in ("group", "measure")
    )
    mean, m2, low, high = (rows.floats(name)[row] for name in ("mean", "m2", "low", "high"))
    bins = begin + first, begin + last, rows.ints("bin_at"), rows.ints("bin_n")
    return RowBatch.of((np.repeat(panes, sizes), group, measure), (rows.ints("n")[row], mean, m2, low, high), bins)


def _categories(parts: Sequence[QueuedPart]) -> dict[tuple[int, str], CategoryCounts]:
    if not parts:
        return {}
    tables, which = once([part.categorical for part in parts])
    rows = [CountedRows(i, part.first_category, part.row_index.keys) for i, part in zip(which, parts, strict=True)]
    return sum_counts(tables, rows)
