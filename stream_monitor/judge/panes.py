"""Panes of one lane: parts of deltas that wait until the watermark passes, and their merging."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import msgspec
import numpy as np

from stream_monitor.describe.edges import BINS, Edges, bin_values
from stream_monitor.describe.profiles import Delta
from stream_monitor.detect.numbers import NumberRows, pool
from stream_monitor.detect.rows import Embedded, Rows
from stream_monitor.errors import FormatError
from stream_monitor.judge.tallies import Tally, together
from stream_monitor.types import F64, I64

LISTS = 256
"""Lists of measures that are remembered."""
LAYOUTS, LAYOUT_ROWS = 16, 512
"""Layouts of deltas that are remembered, and the rows of the largest."""


class Part(msgspec.Struct):
    """The cells [first, last) of a delta: all of them lie in one pane."""

    delta: Delta
    first: int
    last: int

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


def split(delta: Delta) -> list[tuple[int, Part]]:
    """A delta by pane; its cells are sorted by pane."""
    if len(delta.pane) and delta.pane[0] == delta.pane[-1]:
        return [(int(delta.pane[0]), Part(delta, 0, len(delta.pane)))]
    panes, starts = np.unique(delta.pane, return_index=True)
    ends = np.append(starts[1:], len(delta.pane))
    return [
        (pane, Part(delta, first, last))
        for pane, first, last in zip(panes.tolist(), starts.tolist(), ends.tolist(), strict=True)
    ]


class Ids(msgspec.Struct):
    """Groups (version, segment) and numeric measures of a lane as small integers."""

    groups: dict[tuple[str, str], int]
    measures: dict[str, int]
    names: dict[str, None] = {}
    """Measures of any kind that have a place, see `admission`."""

    def group(self, version: str, segment: str) -> int:
        """The number of a group, a new one if need be."""
        return self.groups.setdefault((version, segment), len(self.groups))

    def copy(self) -> Ids:
        """The same places, to give more of them without consequence."""
        return Ids(dict(self.groups), dict(self.measures), dict(self.names))

    def measure(self, name: str) -> int:
        """The number of a measure, a new one if need be."""
        return self.measures.setdefault(name, len(self.measures))


def demand_sound(delta: Delta) -> None:
    """FormatError unless the rows of a delta lie in its cells, and sorted by them, and have names of its own."""
    for rows in (delta.numeric, delta.categorical):
        for places, end in ((rows.cell, len(delta.pane)), (rows.name, len(rows.names))):
            if places.dtype.kind not in "iu" or (len(places) and not 0 <= places.min() <= places.max() < end):
                raise FormatError("a row of a delta lies in a cell, or has a name, that the delta has not")
        if len(rows.cell) != len(rows.name) or (rows.cell[1:] < rows.cell[:-1]).any():
            raise FormatError("the rows of a delta are not sorted by their cells")


class Layout:
    """Where the rows of a part belong; nearly all deltas of a model have one of a few."""

    __slots__ = ("categorical", "group", "groups", "keys", "left_out", "made", "measure", "numeric")

    def __init__(self, part: Part, groups: I64, measures: I64) -> None:
        numbers, categories = part.delta.numeric, part.delta.categorical
        self.groups = groups
        """The group of each cell, -1 for one that is left out."""
        self.left_out = min(groups.tolist(), default=0) < 0
        self.numeric = _rows(numbers.cell, part)
        """The numeric rows that lie in the part."""
        self.group = groups[numbers.cell[self.numeric].astype(np.int64) - part.first]
        """(R,) of these rows."""
        self.measure = measures[numbers.name[self.numeric]] if len(measures) else np.empty(0, np.int64)
        self.categorical = _rows(categories.cell, part)
        at = groups[categories.cell[self.categorical].astype(np.int64) - part.first].tolist()
        names = map(categories.names.__getitem__, categories.name[self.categorical].tolist())
        self.keys = [*zip(at, names, strict=True)]
        """(group, measure) of each categorical row."""
        self.made = -1
        """When all baselines of its rows were known to be made, see `Normal.fill`."""


def _rows(cells: np.ndarray, part: Part) -> slice:
    if part.whole:
        return slice(0, len(cells))
    first, last = np.searchsorted(cells, (part.first, part.last))
    return slice(int(first), int(last))


class Placed(msgspec.Struct):
    """A part, and where its rows belong."""

    part: Part
    layout: Layout


class Places:
    """Numbers of what deltas name."""

    def __init__(self, ids: Ids) -> None:
        self.ids = ids
        self._known: dict[tuple[str, ...], I64] = {}
        self._admitted: set[tuple[str, ...]] = set()
        self._layouts: dict[Any, Layout] = {}

    def of(self, names: Sequence[str]) -> I64:
        """The number of each measure, new ones where need be."""
        key = tuple(names)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= LISTS:
                self._known.clear()
            found = self._known[key] = np.array([self.ids.measure(name) for name in names], np.int64)
        return found

    def known(self, part: Part) -> Placed | None:
        """A part whose layout has come before: then all that it names has a place."""
        layout = self._layouts.get(_key(part))
        return None if layout is None else Placed(part, layout)

    def placed(self, part: Part, groups: I64) -> Placed:
        """A part of which all measures have a place; `groups` are those of its cells."""
        layout, key = Layout(part, groups, self.of(part.delta.numeric.names)), _key(part)
        if key is not None and not layout.left_out and len(layout.group) + len(layout.keys) <= LAYOUT_ROWS:
            if len(self._layouts) >= LAYOUTS:
                self._layouts.clear()
            self._layouts[key] = layout
        return Placed(part, layout)

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


def _key(part: Part) -> Any:
    """What tells layouts apart; None where one would not come again."""
    delta = part.delta
    numbers, categories = delta.numeric.leading(2), delta.categorical.leading(2)
    if numbers is None or categories is None or not part.whole:
        return None
    names = (
        *delta.version, None, *delta.segment, None, *delta.numeric.names, None, *delta.categorical.names,
    )  # fmt: skip
    return names, numbers, categories


class Pane:
    """A closed pane: its parts, and every (group, measure) of them once for those who ask."""

    def __init__(self, start: int, parts: Sequence[Placed], ids: Ids, edges: Mapping[str, Edges]) -> None:
        self.start, self.parts = start, parts
        self.cells: list[tuple[int, list[int]]] = []
        """(group, [accepted, duplicates, late]) of all cells; of several parts some groups come more than once."""
        values: dict[tuple[int, int], list[F64]] = {}
        for placed in parts:
            self.cells += _cells(placed)
            if placed.part.delta.numeric.length("values"):
                _collect_values(placed, values)
        self.values, self.binned = _bin(values, ids, edges)
        """Those of measures without edges; as (group, measure, counts) those of measures that have some by now."""
        self.groups, self.measures = len(ids.groups), len(ids.measures)
        """How many groups and numeric measures the lane has so far."""
        self.rows: dict[int, Rows] = {}
        """The sample of each group that has one."""
        self.vectors: list[Embedded] = []
        """The embeddings of these rows."""

    @cached_property
    def accepted(self) -> dict[int, int]:
        """Accepted events by group, of groups that have any."""
        found: dict[int, int] = {}
        for group, (accepted, *_) in self.cells:
            if accepted:
                found[group] = found.get(group, 0) + accepted
        return found

    @cached_property
    def numbers(self) -> NumberRows:
        """Numeric rows, ascending by group and measure."""
        rows = None
        if len(self.parts) == 1 and self.parts[0].part.whole and not self.parts[0].layout.left_out:
            rows = _as_they_are(self.parts[0], self.measures)
        if rows is None:
            rows = _merge_numbers([_numbers(placed) for placed in self.parts], self.measures)
        return _with_bins(rows, self.binned, self.measures)

    @property
    def categorical(self) -> Iterable[tuple[int, str]]:
        """(group, measure) of all categorical rows; of several parts some come more than once."""
        return [key for placed in self.parts for key in placed.layout.keys if key[0] >= 0]

    def tallies(self) -> dict[tuple[int, str], Tally]:
        """All categorical rows."""
        found: dict[tuple[int, str], Tally] = {}
        for placed in self.parts:
            _collect_categories(placed, found)
        return found


def _cells(placed: Placed) -> list[tuple[int, list[int]]]:
    part, groups = placed.part, placed.layout.groups.tolist()
    counts = part.delta.counts if part.whole else part.delta.counts[part.first : part.last]
    cells = zip(groups, counts.tolist(), strict=True)
    return [cell for cell in cells if cell[0] >= 0] if placed.layout.left_out else [*cells]


class _Stack(msgspec.Struct):
    """Numeric rows of one part, bins with the row they belong to."""

    group: np.ndarray
    measure: np.ndarray
    columns: np.ndarray
    bin_row: np.ndarray
    bin_at: np.ndarray
    bin_n: np.ndarray


def _numbers(placed: Placed) -> _Stack:
    rows, layout = placed.part.delta.numeric, placed.layout
    at, group, measure = layout.numeric, layout.group, layout.measure
    columns = np.stack([rows.n[at].astype(float), rows.mean[at], rows.m2[at], rows.low[at], rows.high[at]])
    sizes = np.diff(rows.bin_ptr)[at]
    bins = slice(int(rows.bin_ptr[at.start]), int(rows.bin_ptr[at.stop]))
    bin_row = np.repeat(np.arange(len(group)), sizes)
    bin_at, bin_n = rows.bin_at[bins].astype(np.int64), rows.bin_n[bins].astype(np.int64)
    if (group < 0).any():
        kept = group >= 0
        renumber = np.cumsum(kept) - 1
        there = kept[bin_row]
        bin_row, bin_at, bin_n = renumber[bin_row[there]], bin_at[there], bin_n[there]
        group, measure, columns = group[kept], measure[kept], columns[:, kept]
    return _Stack(group, measure, columns, bin_row, bin_at, bin_n)


def _collect_values(placed: Placed, into: dict[tuple[int, int], list[F64]]) -> None:
    rows, layout = placed.part.delta.numeric, placed.layout
    ptr = rows.value_ptr[layout.numeric.start : layout.numeric.stop + 1].tolist()
    at = zip(layout.group.tolist(), layout.measure.tolist(), strict=True)
    if len(ptr) != len(layout.group) + 1:
        raise FormatError("the values of a delta do not fit its rows")
    for key, first, last in zip(at, ptr, ptr[1:], strict=False):
        if last > first and key[0] >= 0:
            into.setdefault(key, []).append(rows.values[first:last].copy())  # not the whole record


def _collect_categories(placed: Placed, into: dict[tuple[int, str], Tally]) -> None:
    rows, at = placed.part.delta.categorical, placed.layout.categorical
    ns, ptr = rows.n[at].tolist(), rows.ptr[at.start : at.stop + 1].tolist()
    codes, counts = rows.code[ptr[0] : ptr[-1]].tolist(), rows.count[ptr[0] : ptr[-1]].tolist()
    for i, (key, n) in enumerate(zip(placed.layout.keys, ns, strict=True)):
        if key[0] >= 0:
            its, known = slice(ptr[i] - ptr[0], ptr[i + 1] - ptr[0]), into.get(key)
            tally = n, [*map(rows.categories.__getitem__, codes[its])], counts[its]
            into[key] = tally if known is None else together(known, tally)


def _as_they_are(placed: Placed, measures: int) -> NumberRows | None:
    """The rows of a pane that came in one part, when there is nothing to sort."""
    rows, layout = placed.part.delta.numeric, placed.layout
    key = layout.group * measures + layout.measure
    if not (key[1:] > key[:-1]).all():
        return None
    columns = rows.n.astype(np.int64), rows.mean, rows.m2, rows.low, rows.high, rows.bin_ptr.astype(np.int64)
    return NumberRows(layout.group, layout.measure, *columns, rows.bin_at, rows.bin_n)


def _merge_numbers(stacks: Sequence[_Stack], measures: int) -> NumberRows:
    group = np.concatenate([s.group for s in stacks])
    measure = np.concatenate([s.measure for s in stacks])
    n, mean, m2, low, high = np.concatenate([s.columns for s in stacks], axis=1)
    bases = np.cumsum([0, *(len(s.group) for s in stacks[:-1])])
    bin_row = np.concatenate([s.bin_row + base for s, base in zip(stacks, bases, strict=True)])
    bin_at, bin_n = np.concatenate([s.bin_at for s in stacks]), np.concatenate([s.bin_n for s in stacks])
    keys, first, row_of = np.unique(group * measures + measure, return_index=True, return_inverse=True)
    if len(keys) < len(group):
        n, mean, m2, low, high = pool(row_of, len(keys), (n, mean, m2, low, high))
    else:
        n, mean, m2, low, high = (column[first] for column in (n, mean, m2, low, high))
    ptr, bin_at, bin_n = _merge_bins(row_of[bin_row], bin_at, bin_n, len(keys))
    return NumberRows(group[first], measure[first], n.astype(np.int64), mean, m2, low, high, ptr, bin_at, bin_n)


def _merge_bins(row: I64, at: I64, n: I64, rows: int) -> tuple[I64, I64, I64]:
    keys, where = np.unique(row * BINS + at, return_inverse=True)
    counts = np.bincount(where, n, len(keys)).astype(np.int64) if len(keys) else np.empty(0, np.int64)
    return np.searchsorted(keys, np.arange(rows + 1) * BINS), keys % BINS, counts


def _bin(
    values: dict[tuple[int, int], list[F64]], ids: Ids, edges: Mapping[str, Edges]
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
            counts = np.bincount(bin_values(known.borders, np.concatenate(parts)), minlength=BINS)
            binned.append((group, measure, counts))
    return left, binned


def _with_bins(rows: NumberRows, binned: Sequence[tuple[int, int, I64]], measures: int) -> NumberRows:
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
