"""Open panes of one lane of a model: parts of deltas that wait until the watermark passes, and their merging."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec
import numpy as np

from stream_monitor.describe.edges import BINS, Edges, bin_values
from stream_monitor.describe.profiles import CategoricalRows, Delta, NumericRows
from stream_monitor.detect.numbers import NumberRows
from stream_monitor.detect.rows import Embedded, Rows
from stream_monitor.judge.tallies import Counted, Tally, together
from stream_monitor.types import F64, I64

LISTS = 256
"""Lists of measures that are remembered."""
LAYOUTS, LAYOUT_ROWS = 16, 512
"""Layouts of rows that are remembered, and the rows of the largest."""

Layout = tuple[tuple[str, ...], bytes, bytes, bytes]
"""Names, and as bytes the cell and the name of each row and the group of each cell; of numeric or other rows."""


class Part(msgspec.Struct):
    """The cells [first, last) of a delta: all of them lie in one pane."""

    delta: Delta
    first: int
    last: int


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


class Pane(msgspec.Struct):
    """A closed pane: every (group, measure) once; `values` are those of measures without edges."""

    start: int
    counts: np.ndarray
    numbers: NumberRows
    values: dict[tuple[int, int], list[np.ndarray]]
    categories: dict[tuple[int, str], Tally]
    """By (group, measure), where parts were merged; else they are in `counted`."""
    measures: int
    """Numeric measures of the lane so far."""
    counted: Counted | None = None

    @property
    def categorical(self) -> Collection[tuple[int, str]]:
        """(group, measure) of all categorical rows."""
        return self.categories if self.counted is None else self.counted.keys

    def tallies(self) -> dict[tuple[int, str], Tally]:
        """All categorical rows."""
        return self.categories if self.counted is None else self.counted.tallies()

    rows: dict[int, Rows] = {}
    """The sample of each group that has one."""
    vectors: list[Embedded] = []
    """The embeddings of these rows."""


class Ids(msgspec.Struct):
    """Groups (version, segment) and numeric measures of a lane as small integers."""

    groups: dict[tuple[str, str], int]
    measures: dict[str, int]
    names: dict[str, None] = {}
    """Measures of any kind that have a place, see `admission`."""

    def group(self, version: str, segment: str) -> int:
        """The number of a group, a new one if need be."""
        return self.groups.setdefault((version, segment), len(self.groups))

    def measure(self, name: str) -> int:
        """The number of a measure, a new one if need be."""
        return self.measures.setdefault(name, len(self.measures))


class Places:
    """Numbers of the measures that deltas name, list by list: nearly all deltas of a model bring the same lists."""

    def __init__(self, ids: Ids) -> None:
        self.ids = ids
        self._known: dict[tuple[str, ...], I64] = {}
        self._admitted: set[tuple[str, ...]] = set()
        self._layouts: dict[Layout, tuple[I64, I64] | None] = {}
        self._keys: dict[Layout, list[tuple[int, str]]] = {}

    def of(self, names: Sequence[str]) -> I64:
        """The number of each measure, new ones where need be."""
        key = tuple(names)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= LISTS:
                self._known.clear()
            found = self._known[key] = np.array([self.ids.measure(name) for name in names], np.int64)
        return found

    def layout(self, rows: NumericRows, groups: I64) -> tuple[I64, I64] | None:
        """(group, measure) of all rows of a delta in one pane; None unless they are ascending and all have a place."""
        if len(rows.cell) > LAYOUT_ROWS:
            return self._laid_out(rows, groups)
        key = tuple(rows.names), rows.cell.tobytes(), rows.name.tobytes(), groups.tobytes()
        if key not in self._layouts:
            if len(self._layouts) >= LAYOUTS:
                self._layouts.clear()
            self._layouts[key] = self._laid_out(rows, groups)
        return self._layouts[key]

    def keys(self, rows: CategoricalRows, groups: I64) -> list[tuple[int, str]]:
        """(group, measure) of all rows of a delta in one pane; the list belongs to all who ask."""
        key = tuple(rows.names), rows.cell.tobytes(), rows.name.tobytes(), groups.tobytes()
        found = self._keys.get(key)
        if found is None:
            at = zip(groups[rows.cell].tolist(), rows.name.tolist(), strict=True)
            found = [(group, rows.names[name]) for group, name in at]
            if len(found) <= LAYOUT_ROWS:
                if len(self._keys) >= LAYOUTS:
                    self._keys.clear()
                self._keys[key] = found
        return found

    def _laid_out(self, rows: NumericRows, groups: I64) -> tuple[I64, I64] | None:
        measures, group = self.of(rows.names), groups[rows.cell]
        measure = measures[rows.name] if len(measures) else np.empty(0, np.int64)
        key = group * len(self.ids.measures) + measure
        return (group, measure) if (groups >= 0).all() and (key[1:] > key[:-1]).all() else None

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


def merge(start: int, parts: Sequence[tuple[Part, I64]], places: Places, edges: Mapping[str, Edges]) -> Pane:
    """Merge the parts of a pane; beside each part the group of each of its cells, -1 for one that is left out."""
    ids = places.ids
    counts = np.zeros((len(ids.groups), 3), np.int64)
    values: dict[tuple[int, int], list[F64]] = {}
    categories: dict[tuple[int, str], Tally] = {}
    counted = _as_counted(*parts[0], places) if len(parts) == 1 else None
    for part, groups in parts:
        for group, row in zip(groups.tolist(), part.delta.counts[part.first : part.last], strict=True):
            if group >= 0:
                counts[group] += row
        _collect_values(part, groups, ids, values)
        if counted is None:
            _collect_categories(part, groups, categories)
    values, binned = _bin(values, ids, edges)
    numbers = _as_they_are(*parts[0], places) if len(parts) == 1 and not binned else None
    if numbers is None:
        numbers = _merge_numbers([_numbers(part, groups, places) for part, groups in parts], len(ids.measures))
    numbers = _with_bins(numbers, binned, len(ids.measures))
    return Pane(start, counts, numbers, values, categories, len(ids.measures), counted)


class _Stack(msgspec.Struct):
    """Numeric rows of one part, bins with the row they belong to."""

    group: np.ndarray
    measure: np.ndarray
    columns: np.ndarray
    bin_row: np.ndarray
    bin_at: np.ndarray
    bin_n: np.ndarray


def _rows(cells: np.ndarray, part: Part) -> slice:
    if part.first == 0 and part.last == len(part.delta.pane):
        return slice(0, len(cells))
    first, last = np.searchsorted(cells, (part.first, part.last))
    return slice(int(first), int(last))


def _numbers(part: Part, groups: I64, places: Places) -> _Stack:
    rows = part.delta.numeric
    at = _rows(rows.cell, part)
    measure_of = places.of(rows.names)
    group = groups[rows.cell[at].astype(np.int64) - part.first]
    measure = measure_of[rows.name[at]] if len(rows.names) else np.empty(0, np.int64)
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


def _collect_values(part: Part, groups: I64, ids: Ids, into: dict[tuple[int, int], list[F64]]) -> None:
    rows = part.delta.numeric
    if not len(rows.values):
        return
    at = _rows(rows.cell, part)
    for row in range(at.start, at.stop):
        first, last = int(rows.value_ptr[row]), int(rows.value_ptr[row + 1])
        group = int(groups[int(rows.cell[row]) - part.first])
        if last > first and group >= 0:
            key = group, ids.measure(rows.names[rows.name[row]])
            into.setdefault(key, []).append(rows.values[first:last].copy())  # not the whole record


def _collect_categories(part: Part, groups: I64, into: dict[tuple[int, str], Tally]) -> None:
    rows = part.delta.categorical
    at = _rows(rows.cell, part)
    cells, names, ns = rows.cell[at].tolist(), rows.name[at].tolist(), rows.n[at].tolist()
    ptr = rows.ptr[at.start : at.stop + 1].tolist()
    codes, counts = rows.code[ptr[0] : ptr[-1]].tolist(), rows.count[ptr[0] : ptr[-1]].tolist()
    for i, (cell, name, n) in enumerate(zip(cells, names, ns, strict=True)):
        group = int(groups[cell - part.first])
        if group < 0:
            continue
        key, its = (group, rows.names[name]), slice(ptr[i] - ptr[0], ptr[i + 1] - ptr[0])
        tally, known = (n, [*map(rows.categories.__getitem__, codes[its])], counts[its]), into.get(key)
        into[key] = tally if known is None else together(known, tally)


def _as_counted(part: Part, groups: I64, places: Places) -> Counted | None:
    """The categorical rows of a pane that came in one part, when there is nothing to leave out."""
    rows = part.delta.categorical
    if not len(rows.cell) or part.first or part.last < len(part.delta.pane) or min(groups.tolist()) < 0:
        return None
    ptr, columns = rows.ptr.astype(np.int64), (rows.code.copy(), rows.count.copy())
    return Counted(places.keys(rows, groups), rows.n.tolist(), ptr, *columns, rows.categories)


def _as_they_are(part: Part, groups: I64, places: Places) -> NumberRows | None:
    """The rows of a pane that came in one part, when there is nothing to merge, leave out or sort."""
    rows = part.delta.numeric
    if part.first or part.last < len(part.delta.pane):
        return None
    found = places.layout(rows, groups)
    if found is None:
        return None
    n, ptr = rows.n.astype(np.int64), rows.bin_ptr.astype(np.int64)
    bins = rows.bin_at.copy(), rows.bin_n.copy()  # or the whole record would stay in memory
    return NumberRows(*found, n, rows.mean, rows.m2, rows.low, rows.high, ptr, *bins)


def _merge_numbers(stacks: Sequence[_Stack], measures: int) -> NumberRows:
    group = np.concatenate([s.group for s in stacks])
    measure = np.concatenate([s.measure for s in stacks])
    n, mean, m2, low, high = np.concatenate([s.columns for s in stacks], axis=1)
    bases = np.cumsum([0, *(len(s.group) for s in stacks[:-1])])
    bin_row = np.concatenate([s.bin_row + base for s, base in zip(stacks, bases, strict=True)])
    bin_at, bin_n = np.concatenate([s.bin_at for s in stacks]), np.concatenate([s.bin_n for s in stacks])
    keys, first, row_of = np.unique(group * measures + measure, return_index=True, return_inverse=True)
    if len(keys) < len(group):
        n, mean, m2, low, high = _pool(row_of, len(keys), np.stack([n, mean, m2, low, high]))
    else:
        n, mean, m2, low, high = (column[first] for column in (n, mean, m2, low, high))
    ptr, bin_at, bin_n = _merge_bins(row_of[bin_row], bin_at, bin_n, len(keys))
    return NumberRows(group[first], measure[first], n.astype(np.int64), mean, m2, low, high, ptr, bin_at, bin_n)


def _pool(row_of: I64, rows: int, columns: F64) -> tuple[F64, F64, F64, F64, F64]:
    n, mean, m2, low, high = columns
    total = np.bincount(row_of, n, rows)
    pooled = np.bincount(row_of, n * mean, rows) / total
    spread = np.bincount(row_of, m2 + n * (mean - pooled[row_of]) ** 2, rows)
    least, most = np.full(rows, np.inf), np.full(rows, -np.inf)
    np.minimum.at(least, row_of, low)
    np.maximum.at(most, row_of, high)
    constant = least == most
    return total.astype(float), np.where(constant, least, pooled), np.where(constant, 0.0, spread), least, most


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
