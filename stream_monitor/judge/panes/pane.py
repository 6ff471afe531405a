"""Panes of one lane: parts of deltas that wait until the watermark passes, and their merging."""

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
from stream_monitor.types import F64, I64

LISTS = 256
"""Lists of measures that are remembered."""
LAYOUTS, LAYOUT_ROWS = 64, 512
"""Layouts of parts that are remembered, and the rows of the largest."""


class PanePart(msgspec.Struct):
    """The cells [first, last) of a delta: all of them lie in one pane."""

    delta: Delta
    first: int
    last: int
    rows: tuple[int, int, int, int] | None = None
    """First and last of its numeric rows, and of its categorical ones; None where they are to be looked for."""

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
        """The first of its numeric and of its categorical rows."""
        rows = self.rows
        return (rows[0], rows[2]) if rows is not None else (self.numeric.start, self.categorical.start)

    @property
    def whole(self) -> bool:
        """Whether these are all cells of the delta."""
        return not self.first and self.last == len(self.delta.pane)

    @property
    def nbytes(self) -> int:
        """About how much memory its rows take."""
        delta, cells = self.delta, self.last - self.first
        nbytes = delta.numeric.nbytes + delta.categorical.nbytes
        return nbytes if cells == len(delta.pane) else nbytes * cells // len(delta.pane)


def split(delta: Delta) -> list[tuple[int, PanePart]]:
    """A delta by pane; its cells are sorted by pane."""
    if len(delta.pane) and delta.pane[0] == delta.pane[-1]:
        everything = 0, delta.numeric.length("cell"), 0, delta.categorical.length("cell")
        return [(int(delta.pane[0]), PanePart(delta, 0, len(delta.pane), everything))]
    require_sound(delta)
    panes, starts = np.unique(delta.pane, return_index=True)
    ends = np.append(starts, len(delta.pane))
    rows = [np.searchsorted(table.cell, ends).tolist() for table in (delta.numeric, delta.categorical)]
    each = zip(*(pair for all_ends in rows for pair in (all_ends[:-1], all_ends[1:])), strict=True)
    cells = ends.tolist()
    return [
        (pane, PanePart(delta, first, last, of))
        for pane, first, last, of in zip(panes.tolist(), cells[:-1], cells[1:], each, strict=True)
    ]


def events_of(part: PanePart) -> int:
    """How many events a part counts: each of them has one cell of the segment `all`."""
    delta = part.delta
    return int(sum(delta.counts[c].sum() for c in range(part.first, part.last) if delta.segment[c] == ALL_SEGMENTS))


def _rows(table: NumericRows | CategoricalRows, part: PanePart) -> slice:
    if part.whole:
        return slice(0, table.length("cell"))
    first, last = np.searchsorted(table.cell, (part.first, part.last))
    return slice(int(first), int(last))


class IdRegistry(msgspec.Struct):
    """Groups (version, segment) and numeric measures of a lane as small integers."""

    groups: dict[tuple[str, str], int]
    measures: dict[str, int]
    names: dict[str, None] = {}
    """Measures of any kind that have a place, see `admission`."""

    def group(self, version: str, segment: str) -> int:
        """The number of a group, a new one if need be."""
        return self.groups.setdefault((version, segment), len(self.groups))

    def copy(self) -> IdRegistry:
        """The same places, to give more of them without consequence."""
        return IdRegistry(dict(self.groups), dict(self.measures), dict(self.names))

    def measure(self, name: str) -> int:
        """The number of a measure, a new one if need be."""
        return self.measures.setdefault(name, len(self.measures))


def require_sound(delta: Delta) -> None:
    """FormatError unless the rows of a delta lie in its cells, and sorted by them, and have names of its own."""
    for rows in (delta.numeric, delta.categorical):
        for places, end in ((rows.cell, len(delta.pane)), (rows.name, len(rows.names))):
            if places.dtype.kind not in "iu" or (len(places) and not 0 <= places.min() <= places.max() < end):
                raise FormatError("a row of a delta lies in a cell, or has a name, that the delta has not")
        if len(rows.cell) != len(rows.name) or (rows.cell[1:] < rows.cell[:-1]).any():
            raise FormatError("the rows of a delta are not sorted by their cells")


class RowIndex:
    """Where the rows of a part belong; nearly all parts of a model have one of a few."""

    __slots__ = ("group", "groups", "keys", "left_out", "made", "measure")

    def __init__(self, part: PanePart, groups: I64, measures: I64) -> None:
        numbers, categories = part.delta.numeric, part.delta.categorical
        self.groups = groups
        """The group of each cell, -1 for one that is left out."""
        self.left_out = min(groups.tolist(), default=0) < 0
        rows = part.numeric
        self.group = groups[numbers.cell[rows].astype(np.int64) - part.first]
        """(R,) of its numeric rows."""
        self.measure = measures[numbers.name[rows]] if len(measures) else np.empty(0, np.int64)
        rows = part.categorical
        at = groups[categories.cell[rows].astype(np.int64) - part.first].tolist()
        names = map(categories.names.__getitem__, categories.name[rows].tolist())
        self.keys = [*zip(at, names, strict=True)]
        """(group, measure) of each categorical row."""
        self.made = -1
        """When all baselines of its rows were known to be made, see `BaselineManager.fill`."""


class IndexedPart(msgspec.Struct):
    """A part, and where its rows belong."""

    part: PanePart
    row_index: RowIndex


class RowIndexCache:
    """Numbers of what deltas name."""

    def __init__(self, ids: IdRegistry) -> None:
        self.ids = ids
        self._known: dict[tuple[str, ...], I64] = {}
        self._admitted: set[tuple[str, ...]] = set()
        self._row_indexes: dict[Any, RowIndex] = {}

    def of(self, names: Sequence[str]) -> I64:
        """The number of each measure, new ones where need be."""
        key = tuple(names)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= LISTS:
                self._known.clear()
            found = self._known[key] = np.array([self.ids.measure(name) for name in names], np.int64)
        return found

    def known(self, part: PanePart) -> IndexedPart | None:
        """A part whose layout has come before: then all that it names has a place."""
        row_index = self._row_indexes.get(_key(part))
        return None if row_index is None else IndexedPart(part, row_index)

    def placed(self, part: PanePart, groups: I64) -> IndexedPart:
        """A part of which all measures have a place; `groups` are those of its cells."""
        row_index, key = RowIndex(part, groups, self.of(part.delta.numeric.names)), _key(part)
        if key is not None and not row_index.left_out and len(row_index.group) + len(row_index.keys) <= LAYOUT_ROWS:
            if len(self._row_indexes) >= LAYOUTS:
                self._row_indexes.clear()
            self._row_indexes[key] = row_index
        return IndexedPart(part, row_index)

    def admitted(self, names: Sequence[str]) -> bool:
        """Whether all of these have a place."""
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
    """What tells layouts apart; None where one would not come again."""
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
    """Names, and of some rows the cells, counted from the first of the part, and which names they have."""
    cell, name = table.cell[rows], table.name[rows]
    if len(cell):  # else its type may be too narrow for where the part begins
        cell = cell - cell.dtype.type(part.first)
    return tuple(table.names), cell.dtype.char, name.dtype.char, cell.tobytes(), name.tobytes()


class Pane:
    """A closed pane: its parts, and every (group, measure) of them once for those who ask."""

    def __init__(
        self, start: int, parts: Sequence[IndexedPart], ids: IdRegistry, edges: Mapping[str, BinEdges]
    ) -> None:
        self.start, self.parts = start, parts
        self.cells: list[tuple[int, list[int]]] = []
        """(group, [accepted, duplicates, late]) of all cells; of several parts some groups come more than once."""
        values: dict[tuple[int, int], list[F64]] = {}
        for placed in parts:
            self.cells += _cells(placed)
            if placed.part.delta.numeric.length("values"):
                collect_values(placed, values)
        self.accepted: dict[int, int] = {}
        """Accepted events by group, of groups that have any."""
        for group, counts in self.cells:
            if counts[0]:
                self.accepted[group] = self.accepted.get(group, 0) + counts[0]
        self.values, self.binned = _bin(values, ids, edges)
        """Those of measures without edges; as (group, measure, counts) those of measures that have some by now."""
        self.groups, self.measures = len(ids.groups), len(ids.measures)
        """How many groups and numeric measures the lane has so far."""
        self.rows: dict[int, Rows] = {}
        """The sample of each group that has one."""
        self.vectors: list[Embedded] = []
        """The embeddings of these rows."""

    @cached_property
    def numbers(self) -> PaneRows:
        """Numeric rows, ascending by group and measure."""
        rows = None
        if len(self.parts) == 1 and self.parts[0].part.whole and not self.parts[0].row_index.left_out:
            rows = _as_they_are(self.parts[0], self.measures)
        if rows is None:
            rows = UnsortedRows.of([loose(placed) for placed in self.parts]).merged(self.measures)
        return _with_bins(rows, self.binned, self.measures)

    @property
    def categorical(self) -> Iterable[tuple[int, str]]:
        """(group, measure) of all categorical rows; of several parts some come more than once."""
        return [key for placed in self.parts for key in placed.row_index.keys if key[0] >= 0]

    def tallies(self) -> dict[tuple[int, str], CategoryCounts]:
        """All categorical rows."""
        found: dict[tuple[int, str], CategoryCounts] = {}
        for placed in self.parts:
            collect_categories(placed, found)
        return found


def _cells(placed: IndexedPart) -> list[tuple[int, list[int]]]:
    part, groups = placed.part, placed.row_index.groups.tolist()
    counts = part.delta.counts if part.whole else part.delta.counts[part.first : part.last]
    cells = zip(groups, counts.tolist(), strict=True)
    return [cell for cell in cells if cell[0] >= 0] if placed.row_index.left_out else [*cells]


def loose(placed: IndexedPart) -> UnsortedRows:
    """The numeric rows of a part."""
    rows, row_index, at = placed.part.delta.numeric, placed.row_index, placed.part.numeric
    moments = np.empty((5, len(row_index.group)))
    ptr = rows.bin_ptr[at.start : at.stop + 1].astype(np.int64)
    for line, column in zip(moments, (rows.n, rows.mean, rows.m2, rows.low, rows.high), strict=True):
        if len(column) < at.stop or len(ptr) != len(line) + 1:
            raise FormatError("the columns of a delta do not fit together")
        line[:] = column[at]
    start, end = int(ptr[0]), int(ptr[-1])
    ptr -= start
    bin_at, bin_n = rows.bin_at[start:end].astype(np.int64), rows.bin_n[start:end].astype(np.int64)
    return UnsortedRows(row_index.group, row_index.measure, moments, ptr[:-1], ptr[1:], bin_at, bin_n)


def collect_values(placed: IndexedPart, into: dict[tuple[int, int], list[F64]]) -> None:
    """Add the values of a part that came without bins, by group and measure."""
    rows, row_index, of = placed.part.delta.numeric, placed.row_index, placed.part.numeric
    ptr = rows.value_ptr[of.start : of.stop + 1].tolist()
    at = zip(row_index.group.tolist(), row_index.measure.tolist(), strict=True)
    if len(ptr) != len(row_index.group) + 1:
        raise FormatError("the values of a delta do not fit its rows")
    for key, first, last in zip(at, ptr, ptr[1:], strict=False):
        if last > first and key[0] >= 0:
            into.setdefault(key, []).append(rows.values[first:last].copy())  # not the whole record


def collect_categories(placed: IndexedPart, into: dict[tuple[int, str], CategoryCounts]) -> None:
    """Add the categorical rows of a part."""
    rows, at = placed.part.delta.categorical, placed.part.categorical
    ns, ptr = rows.n[at].tolist(), rows.ptr[at.start : at.stop + 1].tolist()
    codes, counts = rows.code[ptr[0] : ptr[-1]].tolist(), rows.count[ptr[0] : ptr[-1]].tolist()
    for i, (key, n) in enumerate(zip(placed.row_index.keys, ns, strict=True)):
        if key[0] >= 0:
            its, known = slice(ptr[i] - ptr[0], ptr[i + 1] - ptr[0]), into.get(key)
            tally = n, [*map(rows.categories.__getitem__, codes[its])], counts[its]
            into[key] = tally if known is None else merge_pair(known, tally)


def _as_they_are(placed: IndexedPart, measures: int) -> PaneRows | None:
    """The rows of a pane that came in one part, when there is nothing to sort."""
    rows, row_index = placed.part.delta.numeric, placed.row_index
    key = row_index.group * measures + row_index.measure
    if not (key[1:] > key[:-1]).all():
        return None
    columns = rows.n.astype(np.int64), rows.mean, rows.m2, rows.low, rows.high, rows.bin_ptr.astype(np.int64)
    return PaneRows(row_index.group, row_index.measure, *columns, rows.bin_at, rows.bin_n)


def _merge_bins(row: I64, at: I64, n: I64, rows: int) -> tuple[I64, I64, I64]:
    keys, where = np.unique(row * BINS + at, return_inverse=True)
    counts = np.bincount(where, n, len(keys)).astype(np.int64) if len(keys) else np.empty(0, np.int64)
    return np.searchsorted(keys, np.arange(rows + 1) * BINS), keys % BINS, counts


def _bin(
    values: dict[tuple[int, int], list[F64]], ids: IdRegistry, edges: Mapping[str, BinEdges]
) -> tuple[dict[tuple[int, int], list[F64]], list[tuple[int, int, I64]]]:
    """Values whose measure has edges by now become bins: (group, measure, counts)."""
    if not values:
        return values, []
    names = list(ids.measures)
    left: dict[tuple[int, int], list[F64]] = {}
    binned: list[tuple[int, int, I64]] = []
    for (group, measure), parts in values.items():
        known = edges.get(names[measure])
        if known is None:
            left[group, measure] = parts
        else:
            counts = np.bincount(bin_values(known.edges, np.concatenate(parts)), minlength=BINS)
            binned.append((group, measure, counts))
    return left, binned


def _with_bins(rows: PaneRows, binned: Sequence[tuple[int, int, I64]], measures: int) -> PaneRows:
    if not binned:
        return rows
    keys = rows.group * measures + rows.measure
    wanted = np.searchsorted(keys, [group * measures + measure for group, measure, _ in binned])
    row = [np.repeat(np.arange(len(keys)), np.diff(rows.bin_ptr))]
    at, n = [rows.bin_at], [rows.bin_n]
    for place, (_, _, counts) in zip(wanted, binned, strict=True):
        used = np.flatnonzero(counts)
        row.append(np.full(len(used), place))
        at.append(used)
        n.append(counts[used])
    rows.bin_ptr, rows.bin_at, rows.bin_n = _merge_bins(
        np.concatenate(row), np.concatenate(at), np.concatenate(n), len(keys)
    )
    return rows
