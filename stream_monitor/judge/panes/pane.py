"""The panes of one timeline: parts of deltas that wait for the watermark, and a closed pane that merges them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import msgspec
import numpy as np

from stream_monitor.baselines.sampled_rows import Embedded, Rows
from stream_monitor.errors import FormatError
from stream_monitor.judge.panes.category_counts import CategoryCounts, merge_pair
from stream_monitor.profiles.bins import BINS, BinEdges, bin_values
from stream_monitor.profiles.delta import CategoricalRows, Delta, NumericRows
from stream_monitor.profiles.names import ALL_SEGMENTS
from stream_monitor.profiles.numeric_table import PaneRows, UnsortedRows
from stream_monitor.profiles.tails import NO_TAIL, keyed, tail_counts
from stream_monitor.types import F64, I64

LISTS = 256
"""The number of lists of measures that a cache keeps."""
LAYOUTS, LAYOUT_ROWS = 64, 512
"""The number of part layouts that a cache keeps, and the most rows that a cached layout may have."""


class PanePart(msgspec.Struct):
    """The cells [first, last) of a delta: all of them lie in one pane."""

    delta: Delta
    first: int
    last: int
    rows: tuple[int, int, int, int] | None = None
    """Half-open range of its numeric rows and of its categorical rows; None: not computed yet."""

    @property
    def numeric(self) -> slice:
        """Its numeric rows."""
        return _rows(self.delta.numeric, self) if self.rows is None else slice(*self.rows[:2])

    @property
    def categorical(self) -> slice:
        """Its categorical rows."""
        return _rows(self.delta.categorical, self) if self.rows is None else slice(*self.rows[2:])

    @property
    def starts(self) -> tuple[int, int]:
        """Its first numeric row and its first categorical row."""
        rows = self.rows
        return (rows[0], rows[2]) if rows is not None else (self.numeric.start, self.categorical.start)

    @property
    def whole(self) -> bool:
        """Whether the part holds all cells of the delta."""
        return not self.first and self.last == len(self.delta.pane)

    @property
    def nbytes(self) -> int:
        """The approximate memory of its rows in bytes."""
        delta, cells = self.delta, self.last - self.first
        nbytes = (
            delta.numeric.nbytes + delta.categorical.nbytes + (delta.tails.nbytes if delta.tails is not None else 0)
        )
        return nbytes if cells == len(delta.pane) else nbytes * cells // len(delta.pane)


def split(delta: Delta) -> list[tuple[int, PanePart]]:
    """Split a delta into (pane, part) pairs. The delta's cells are sorted by pane."""
    if len(delta.pane) and delta.pane[0] == delta.pane[-1]:
        everything = 0, delta.numeric.length("cell"), 0, delta.categorical.length("cell")
        return [(int(delta.pane[0]), PanePart(delta, 0, len(delta.pane), everything))]
    require_sound(delta)
    panes, starts = np.unique(delta.pane, return_index=True)
    ends = np.append(starts, len(delta.pane))
    rows = [np.searchsorted(table.cell, ends).tolist() for table in (delta.numeric, delta.categorical)]
    row_ranges = zip(*(pair for all_ends in rows for pair in (all_ends[:-1], all_ends[1:])), strict=True)
    cells = ends.tolist()
    return [
        (pane, PanePart(delta, first, last, rows_of_pane))
        for pane, first, last, rows_of_pane in zip(panes.tolist(), cells[:-1], cells[1:], row_ranges, strict=True)
    ]


def events_of(part: PanePart) -> int:
    """The number of events in a part. Only the cells of the segment `all` are summed: each event is in one of them."""
    delta = part.delta
    return int(sum(delta.counts[c].sum() for c in range(part.first, part.last) if delta.segment[c] == ALL_SEGMENTS))


def _rows(table: NumericRows | CategoricalRows, part: PanePart) -> slice:
    if part.whole:
        return slice(0, table.length("cell"))
    first, last = np.searchsorted(table.cell, (part.first, part.last))
    return slice(int(first), int(last))


class IdRegistry(msgspec.Struct):
    """Numbers the groups (version, segment) and the numeric measures of a timeline with small integers."""

    groups: dict[tuple[str, str], int]
    measures: dict[str, int]
    names: dict[str, None] = {}
    """Admitted measures of any kind, see `admission`."""

    def group(self, version: str, segment: str) -> int:
        """The number of a group; an unknown group gets a new one."""
        return self.groups.setdefault((version, segment), len(self.groups))

    def copy(self) -> IdRegistry:
        """A copy; numbers given by it do not affect this registry."""
        return IdRegistry(dict(self.groups), dict(self.measures), dict(self.names))

    def measure(self, name: str) -> int:
        """The number of a measure; an unknown measure gets a new one."""
        return self.measures.setdefault(name, len(self.measures))


def require_sound(delta: Delta) -> None:
    """Raise FormatError unless a delta's rows lie in its cells, are sorted by cell, and use its names."""
    for rows in (delta.numeric, delta.categorical):
        for places, end in ((rows.cell, len(delta.pane)), (rows.name, len(rows.names))):
            if places.dtype.kind not in "iu" or (len(places) and not 0 <= places.min() <= places.max() < end):
                raise FormatError("a row of a delta lies in a cell, or has a name, that the delta has not")
        if len(rows.cell) != len(rows.name) or (rows.cell[1:] < rows.cell[:-1]).any():
            raise FormatError("the rows of a delta are not sorted by their cells")


class RowIndex:
    """The group and measure of each row of a part. Nearly all parts of a model share a few of these layouts."""

    __slots__ = ("group", "groups", "keys", "left_out", "made", "measure")

    def __init__(self, part: PanePart, groups: I64, measures: I64) -> None:
        numbers, categories = part.delta.numeric, part.delta.categorical
        self.groups = groups
        """The group of each cell; -1 for a cell that is left out."""
        self.left_out = min(groups.tolist(), default=0) < 0
        rows = part.numeric
        self.group = groups[numbers.cell[rows].astype(np.int64) - part.first]
        """(R,) the group of each numeric row; `measure` likewise."""
        self.measure = measures[numbers.name[rows]] if len(measures) else np.empty(0, np.int64)
        rows = part.categorical
        row_groups = groups[categories.cell[rows].astype(np.int64) - part.first].tolist()
        names = map(categories.names.__getitem__, categories.name[rows].tolist())
        self.keys = [*zip(row_groups, names, strict=True)]
        """(group, measure) of each categorical row."""
        self.made = -1
        """The baseline version for which all baselines of its rows were complete, see `BuilderFeed.add`."""


class IndexedPart(msgspec.Struct):
    """A part and the groups and measures of its rows."""

    part: PanePart
    row_index: RowIndex


class RowIndexCache:
    """Caches the numbers of the groups and measures that deltas name."""

    def __init__(self, ids: IdRegistry) -> None:
        self.ids = ids
        self._known: dict[tuple[str, ...], I64] = {}
        self._admitted: set[tuple[str, ...]] = set()
        self._row_indexes: dict[Any, RowIndex] = {}

    def of(self, names: Sequence[str]) -> I64:
        """The number of each measure; unknown measures get new ones."""
        key = tuple(names)
        numbers = self._known.get(key)
        if numbers is None:
            if len(self._known) >= LISTS:
                self._known.clear()
            numbers = self._known[key] = np.array([self.ids.measure(name) for name in names], np.int64)
        return numbers

    def known(self, part: PanePart) -> IndexedPart | None:
        """The indexed part when its layout is cached, so that all its groups and measures have numbers; else None."""
        row_index = self._row_indexes.get(_key(part))
        return None if row_index is None else IndexedPart(part, row_index)

    def placed(self, part: PanePart, groups: I64) -> IndexedPart:
        """The indexed part, whose measures are all admitted; `groups` are those of its cells."""
        row_index, key = RowIndex(part, groups, self.of(part.delta.numeric.names)), _key(part)
        if key is not None and not row_index.left_out and len(row_index.group) + len(row_index.keys) <= LAYOUT_ROWS:
            if len(self._row_indexes) >= LAYOUTS:
                self._row_indexes.clear()
            self._row_indexes[key] = row_index
        return IndexedPart(part, row_index)

    def admitted(self, names: Sequence[str]) -> bool:
        """Whether all of these measures are admitted."""
        key = tuple(names)
        if key in self._admitted:
            return True
        if not self.ids.names.keys() >= set(names):
            return False
        if len(self._admitted) >= LISTS:
            self._admitted.clear()
        self._admitted.add(key)
        return True


def _key(part: PanePart) -> Any:
    """The cache key of a part's layout; None for a layout that is not cached."""
    delta, cells = part.delta, slice(part.first, part.last)
    if part.whole:
        numbers, categories = delta.numeric.opening(2), delta.categorical.opening(2)
        if numbers is None or categories is None:
            return None
    elif part.rows is None:
        return None
    else:
        numbers = _opening(delta.numeric, part.numeric, part)
        categories = _opening(delta.categorical, part.categorical, part)
    return *delta.version[cells], None, *delta.segment[cells], numbers, categories


def _opening(table: NumericRows | CategoricalRows, rows: slice, part: PanePart) -> tuple[Any, ...]:
    """The table's names, and for these rows the cell (counted from the part's first) and the index of the name."""
    cell, name = table.cell[rows], table.name[rows]
    if len(cell):  # without rows, the dtype may be too narrow for `part.first`
        cell = cell - cell.dtype.type(part.first)
    return tuple(table.names), cell.dtype.char, name.dtype.char, cell.tobytes(), name.tobytes()


class Pane:
    """A closed pane: its parts, and on request their rows merged, with each (group, measure) once."""

    def __init__(
        self, start: int, parts: Sequence[IndexedPart], ids: IdRegistry, edges: Mapping[str, BinEdges]
    ) -> None:
        self.start, self.parts = start, parts
        self.cells: list[tuple[int, list[int]]] = []
        """(group, [accepted, duplicates, late]) of all cells; a group may occur once per part."""
        values: dict[tuple[int, int], list[F64]] = {}
        for placed in parts:
            self.cells += _cells(placed)
            if placed.part.delta.numeric.length("values"):
                collect_values(placed, values)
        self.accepted: dict[int, int] = {}
        """Accepted events by group; groups without any are absent."""
        for group, counts in self.cells:
            if counts[0]:
                self.accepted[group] = self.accepted.get(group, 0) + counts[0]
        self.values, self.binned, self.binned_tails = _bin(values, ids, edges)
        """Values that came without bins. `values`: of measures without edges. `binned`: of measures that have edges by
        now, as (group, measure, counts). `binned_tails`: their tails, as (key, n)."""
        self.groups, self.measures = len(ids.groups), len(ids.measures)
        """The number of groups and of numeric measures that the timeline has so far."""
        self.rows: dict[int, Rows] = {}
        """The sampled rows of each group that has some."""
        self.vectors: list[Embedded] = []
        """The embeddings of the sampled rows."""

    @cached_property
    def numbers(self) -> PaneRows:
        """The numeric rows of all parts merged, ascending by group and measure."""
        rows = None
        if len(self.parts) == 1 and self.parts[0].part.whole and not self.parts[0].row_index.left_out:
            rows = _as_they_are(self.parts[0], self.measures)
        if rows is None:
            rows = UnsortedRows.of([loose(placed) for placed in self.parts]).merged(self.measures)
        return _with_bins(rows, self.binned, self.measures)

    @property
    def categorical(self) -> Iterable[tuple[int, str]]:
        """(group, measure) of all categorical rows; a pair may occur once per part."""
        return [key for placed in self.parts for key in placed.row_index.keys if key[0] >= 0]

    def tallies(self) -> dict[tuple[int, str], CategoryCounts]:
        """The categorical rows of all parts merged, by (group, measure)."""
        merged: dict[tuple[int, str], CategoryCounts] = {}
        for placed in self.parts:
            collect_categories(placed, merged)
        return merged


def _cells(placed: IndexedPart) -> list[tuple[int, list[int]]]:
    part, groups = placed.part, placed.row_index.groups.tolist()
    counts = part.delta.counts if part.whole else part.delta.counts[part.first : part.last]
    cells = zip(groups, counts.tolist(), strict=True)
    return [cell for cell in cells if cell[0] >= 0] if placed.row_index.left_out else [*cells]


def loose(placed: IndexedPart) -> UnsortedRows:
    """The numeric rows of a part, unsorted."""
    rows, row_index, span = placed.part.delta.numeric, placed.row_index, placed.part.numeric
    moments = np.empty((5, len(row_index.group)))
    ptr = rows.bin_ptr[span.start : span.stop + 1].astype(np.int64)
    for line, column in zip(moments, (rows.n, rows.mean, rows.m2, rows.low, rows.high), strict=True):
        if len(column) < span.stop or len(ptr) != len(line) + 1:
            raise FormatError("the columns of a delta do not fit together")
        line[:] = column[span]
    start, end = int(ptr[0]), int(ptr[-1])
    ptr -= start
    bin_at, bin_n = rows.bin_at[start:end].astype(np.int64), rows.bin_n[start:end].astype(np.int64)
    return UnsortedRows(row_index.group, row_index.measure, moments, ptr[:-1], ptr[1:], bin_at, bin_n)


def collect_values(placed: IndexedPart, into: dict[tuple[int, int], list[F64]]) -> None:
    """Add a part's values without bins to `into`, by group and measure."""
    rows, row_index, span = placed.part.delta.numeric, placed.row_index, placed.part.numeric
    ptr = rows.value_ptr[span.start : span.stop + 1].tolist()
    keys = zip(row_index.group.tolist(), row_index.measure.tolist(), strict=True)
    if len(ptr) != len(row_index.group) + 1:
        raise FormatError("the values of a delta do not fit its rows")
    for key, first, last in zip(keys, ptr, ptr[1:], strict=False):
        if last > first and key[0] >= 0:
            into.setdefault(key, []).append(rows.values[first:last].copy())  # a view would keep the whole record


def collect_categories(placed: IndexedPart, into: dict[tuple[int, str], CategoryCounts]) -> None:
    """Add the categorical rows of a part to `into`."""
    rows, span = placed.part.delta.categorical, placed.part.categorical
    ns, ptr = rows.n[span].tolist(), rows.ptr[span.start : span.stop + 1].tolist()
    codes, counts = rows.code[ptr[0] : ptr[-1]].tolist(), rows.count[ptr[0] : ptr[-1]].tolist()
    for i, (key, n) in enumerate(zip(placed.row_index.keys, ns, strict=True)):
        if key[0] >= 0:
            values, known = slice(ptr[i] - ptr[0], ptr[i + 1] - ptr[0]), into.get(key)
            tally = n, [*map(rows.categories.__getitem__, codes[values])], counts[values]
            into[key] = tally if known is None else merge_pair(known, tally)


def _as_they_are(placed: IndexedPart, measures: int) -> PaneRows | None:
    """The rows of a pane with a single part when they are sorted already; None when they are not."""
    rows, row_index = placed.part.delta.numeric, placed.row_index
    key = row_index.group * measures + row_index.measure
    if not (key[1:] > key[:-1]).all():
        return None
    columns = rows.n.astype(np.int64), rows.mean, rows.m2, rows.low, rows.high, rows.bin_ptr.astype(np.int64)
    return PaneRows(row_index.group, row_index.measure, *columns, rows.bin_at, rows.bin_n)


def _merge_bins(row: I64, bin_at: I64, n: I64, rows: int) -> tuple[I64, I64, I64]:
    keys, where = np.unique(row * BINS + bin_at, return_inverse=True)
    counts = np.bincount(where, n, len(keys)).astype(np.int64) if len(keys) else np.empty(0, np.int64)
    return np.searchsorted(keys, np.arange(rows + 1) * BINS), keys % BINS, counts


def _bin(
    values: dict[tuple[int, int], list[F64]], ids: IdRegistry, edges: Mapping[str, BinEdges]
) -> tuple[dict[tuple[int, int], list[F64]], list[tuple[int, int, I64]], list[tuple[I64, I64]]]:
    """Split values into those of measures without edges, and bin counts and tails of the others."""
    if not values:
        return values, [], []
    names = list(ids.measures)
    unbinned: dict[tuple[int, int], list[F64]] = {}
    binned, tails = list[tuple[int, int, I64]](), list[tuple[I64, I64]]()
    for (group, measure), parts in values.items():
        measure_edges = edges.get(names[measure])
        if measure_edges is None:
            unbinned[group, measure] = parts
        else:
            joined = np.concatenate(parts)
            binned.append((group, measure, np.bincount(bin_values(measure_edges.edges, joined), minlength=BINS)))
            if measure_edges.tail != NO_TAIL:
                tails.append(keyed(group, measure, tail_counts(measure_edges.tail, joined)))
    return unbinned, binned, tails


def _with_bins(rows: PaneRows, binned: Sequence[tuple[int, int, I64]], measures: int) -> PaneRows:
    if not binned:
        return rows
    keys = rows.group * measures + rows.measure
    row_of_binned = np.searchsorted(keys, [group * measures + measure for group, measure, _ in binned])
    row = [np.repeat(np.arange(len(keys)), np.diff(rows.bin_ptr))]
    bin_at, n = [rows.bin_at], [rows.bin_n]
    for place, (_, _, counts) in zip(row_of_binned, binned, strict=True):
        used = np.flatnonzero(counts)
        row.append(np.full(len(used), place))
        bin_at.append(used)
        n.append(counts[used])
    rows.bin_ptr, rows.bin_at, rows.bin_n = _merge_bins(
        np.concatenate(row), np.concatenate(bin_at), np.concatenate(n), len(keys)
    )
    return rows
