"""Summaries of columns as the rows of deltas: exact, mergeable profiles in their wire layout.

Describe adds up the columns in one pass, sorted by cell. A *cell* is one (version, segment, pane) of a model; a *row*
is one measure in one cell. Bin counts, category counts and n are exact; order and batching of events do not affect
them. Means and centred sums of squares are merged by the pairwise formula of Chan, Golub and LeVeque (1979).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from stream_monitor.describe.aggregate.column_sums import Sums, add_up, count_categories
from stream_monitor.describe.decode.columns import Coded, distinct
from stream_monitor.profiles.categories import NEW_CATEGORIES, UNKNOWN_CATEGORIES, keep_order
from stream_monitor.profiles.delta import CategoricalRows, NumericRows, TailRows
from stream_monitor.profiles.known_bins import EdgeTable, KnownBins
from stream_monitor.types import F64, I64, Bool


@dataclass(slots=True)
class ProfileCells:
    """The cells of a block of events, sorted by model.

    `row` and `cell` pair each event with its cells; an event has several, because segments overlap.
    """

    model: I64
    """Index of each cell's model among the models of the block."""
    version: list[str]
    segment: list[str]
    pane: I64
    counts: I64
    row: I64
    cell: I64


@dataclass(slots=True)
class _CellRanges:
    """The (event, cell) entries of a block, sorted by cell; cells without entries are left out."""

    row: I64
    bounds: I64
    """(cells + 1,): cell c has the entries [bounds[c], bounds[c + 1])."""
    model: I64
    """(cells,): index of the model."""
    within: I64
    """(cells,): index of the cell among all cells of its model."""
    models: int

    @classmethod
    def of(cls, cells: ProfileCells, models: int) -> _CellRanges:
        row, cell = cells.row, cells.cell
        if len(cell) and (np.diff(cell) < 0).any():
            order = np.argsort(cell, kind="stable")
            row, cell = row[order], cell[order]
        starts = np.flatnonzero(np.diff(cell, prepend=-1))
        present = cell[starts]
        model = cells.model[present]
        firsts = np.searchsorted(cells.model, np.arange(models))
        return cls(row, np.append(starts, len(cell)), model, present - firsts[model], models)

    def cuts(self, cell: I64) -> list[int]:
        """The index at which each model begins among rows with these sorted cells, and the end."""
        cuts: list[int] = np.searchsorted(self.model[cell], np.arange(self.models + 1)).tolist()
        return cuts


class SummaryRows(NamedTuple):
    """The rows of a model in a block."""

    numeric: NumericRows
    categorical: CategoricalRows
    tails: TailRows | None
    """None if no numeric row has a tail."""


def summarise(
    cells: ProfileCells, numeric: Mapping[str, F64], categorical: Mapping[str, Coded], known: Sequence[KnownBins]
) -> list[SummaryRows]:
    """Add up columns to the rows of a delta, for each model of the block."""
    spans = _CellRanges.of(cells, len(known))
    numbers, categories = _add_numbers(numeric, spans, known), _add_categories(categorical, spans, known)
    return [SummaryRows(rows, named, tails) for (rows, tails), named in zip(numbers, categories, strict=True)]


def narrow(counts: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Counts or indices in the smallest wire type that holds them; readers accept any of these types."""
    most = int(counts.max()) if len(counts) else 0
    return counts.astype(np.uint8 if most < 1 << 8 else np.uint16 if most < 1 << 16 else np.uint32)


def _add_numbers(
    columns: Mapping[str, F64], spans: _CellRanges, known: Sequence[KnownBins]
) -> Iterator[tuple[NumericRows, TailRows | None]]:
    """Yield the rows of all numeric columns and their tails, model by model."""
    names = tuple(columns)
    values = np.empty((len(names), len(spans.row)))
    for i, column in enumerate(columns.values()):
        column.take(spans.row, out=values[i], mode="clip")  # "raise" would copy twice
    values += 0.0  # -0.0 becomes 0.0, as the generic decoder reads an integer -0
    sums = add_up(values, spans.bounds, EdgeTable.chain([k.borders(names) for k in known]), spans.model)
    at_cell, at_name = np.nonzero(sums.n.T)
    n, mean, m2, low, high = (table[at_name, at_cell] for table in (sums.n, sums.mean, sums.m2, sums.low, sums.high))
    pair = at_cell * len(names) + at_name
    bins, tails = np.append(sums.ptr[pair], sums.ptr[-1]), np.append(sums.tail_ptr[pair], sums.tail_ptr[-1])
    versions = np.array([[e.version if (e := k.edges.get(name)) else 0 for name in names] for k in known], np.int64)
    ends, values = _values(values, spans, versions == 0, pair)
    index = _NameIndex.of(spans.model[at_cell], at_name, len(names), spans.models)
    cell, n, name, bin_n = map(narrow, (spans.within[at_cell], n, index.place, sums.bin_n))
    for model, (first, last) in enumerate(itertools.pairwise(spans.cuts(at_cell))):
        if first == last:
            yield NumericRows.none(), None
            continue
        used = index.used(model)
        bin_ptr, value_ptr = bins[first : last + 1], ends[first : last + 1]
        rows = NumericRows(
            names=[names[key] for key in used.tolist()],
            edges=versions[model, used].tolist(),
            cell=cell[first:last],
            name=name[first:last],
            n=n[first:last],
            mean=mean[first:last],
            m2=m2[first:last],
            low=low[first:last],
            high=high[first:last],
            bin_ptr=narrow(bin_ptr - bin_ptr[0]),
            bin_at=sums.bin_at[bin_ptr[0] : bin_ptr[-1]],
            bin_n=bin_n[bin_ptr[0] : bin_ptr[-1]],
            value_ptr=narrow(value_ptr - value_ptr[0]),
            values=values[value_ptr[0] : value_ptr[-1]],
        )
        yield rows, _tails(sums, tails[first : last + 1])


def _tails(sums: Sums, ptr: I64) -> TailRows | None:
    """The tails of adjacent rows; `ptr` (rows + 1,) is the index of the first entry of each."""
    first, last = ptr[0], ptr[-1]
    if first == last:
        return None
    return TailRows(ptr=narrow(ptr - first), at=sums.tail_at[first:last], n=narrow(sums.tail_n[first:last]))


@dataclass(slots=True)
class _NameIndex:
    """The keys that each model of a block uses, and for each entry the index of its key among those of its model."""

    place: I64
    _keys: I64
    _cuts: list[int]

    @classmethod
    def of(cls, model: I64, key: I64, keys: int, models: int) -> _NameIndex:
        """The index of entries that are sorted by model; keys are 0 to `keys` - 1."""
        pairs, place = distinct(model * keys + key)
        cuts = np.searchsorted(pairs, np.arange(models + 1) * keys)
        return cls(place - cuts[model], pairs % max(keys, 1), cuts.tolist())

    def used(self, model: int) -> I64:
        """The keys of a model, ascending."""
        return self._keys[self._cuts[model] : self._cuts[model + 1]]


def _values(values: F64, spans: _CellRanges, unknown: Bool, rows: I64) -> tuple[I64, F64]:
    """The raw values of rows (cell · measures + measure) whose model has no edges for the measure yet."""
    ends = np.zeros(len(rows) + 1, np.int64)
    some = np.flatnonzero(unknown.any(axis=0))
    if not len(some):
        return ends, np.empty(0)
    kept = values[some]
    cell = np.repeat(np.arange(len(spans.model)), np.diff(spans.bounds))
    there = ~np.isnan(kept) & unknown.T[some][:, spans.model[cell]]
    key = np.broadcast_to(cell * unknown.shape[1], kept.shape) + some[:, None]
    order = np.argsort(key[there], kind="stable")
    np.cumsum(np.bincount(np.searchsorted(rows, key[there]), minlength=len(rows)), out=ends[1:])
    return ends, kept[there][order]


def _add_categories(
    columns: Mapping[str, Coded], spans: _CellRanges, known: Sequence[KnownBins]
) -> Iterator[CategoricalRows]:
    """Yield the rows of all categorical columns, model by model."""
    each = list(columns.items())
    codes = np.empty((len(each), len(spans.row)), np.int64)
    for i, (_, column) in enumerate(each):
        column.codes.take(spans.row, out=codes[i], mode="clip")
    widest = max((len(column.names) for _, column in each), default=0)
    sums = count_categories(codes, spans.bounds, widest)
    pair = np.repeat(np.arange(len(sums.ptr) - 1), np.diff(sums.ptr))
    cell, name = np.divmod(pair, max(len(each), 1))
    counts = np.stack([cell, name, sums.code, sums.count])
    if widest > NEW_CATEGORIES:
        cuts = itertools.pairwise(spans.cuts(cell))
        counts = np.concatenate(
            [_bounded(counts[:, a:b], each, k.categories) for k, (a, b) in zip(known, cuts, strict=True)], axis=1
        )
    yield from _categorical_rows(spans, each, counts, widest)


def _bounded(counts: I64, columns: Sequence[tuple[str, Coded]], known: Mapping[str, frozenset[str]]) -> I64:
    """A model's (cell, column, code, count), limited by cell and column.

    It keeps the known categories, and of the others the smallest by `keep_order`.
    """
    kept = np.ones(counts.shape[1], np.bool_)
    for i, (name, column) in enumerate(columns):
        cap = UNKNOWN_CATEGORIES if name not in known else NEW_CATEGORIES
        if len(column.names) <= cap:
            continue
        own = np.flatnonzero(counts[1] == i)
        codes = np.unique(counts[2, own])
        if len(codes) > cap:
            seen = [column.names[code] for code in codes.tolist()]
            places = np.searchsorted(codes, counts[2, own])
            kept[own] = _smallest(counts[0, own], places, seen, known.get(name, frozenset()), cap)
    return counts if kept.all() else counts[:, kept]


def _smallest(cell: I64, code: I64, seen: Sequence[str], known: frozenset[str], cap: int) -> Bool:
    """Which (cell, code) pairs to keep: the known categories, and `cap` others a cell."""
    rank = np.empty(len(seen), np.int64)
    rank[keep_order(seen, known)] = np.arange(len(seen))
    always = np.array([category in known for category in seen])
    by = np.lexsort((rank[code], cell))
    new = ~always[code[by]]
    starts = np.flatnonzero(np.diff(cell[by], prepend=-1))
    before = np.cumsum(new) - new
    within = before - np.repeat(before[starts], np.diff(np.append(starts, len(by))))
    kept = np.empty(len(by), np.bool_)
    kept[by] = ~new | (within < cap)
    return kept


def _categorical_rows(
    spans: _CellRanges, columns: Sequence[tuple[str, Coded]], counts: I64, widest: int
) -> Iterator[CategoricalRows]:
    """Yield the rows of counts (cell, column, code, count), model by model; the counts are sorted by cell, column."""
    cell, name, code, count = counts
    model = spans.model[cell]
    starts = np.flatnonzero(np.diff(cell * len(columns) + name, prepend=-1))
    ptr = np.append(starts, len(cell))
    names = _NameIndex.of(model[starts], name[starts], len(columns), spans.models)
    categories = _NameIndex.of(model, name * widest + code, len(columns) * widest, spans.models)
    n = np.add.reduceat(count, starts) if len(starts) else count
    cells, at_name, n, codes, count = map(narrow, (spans.within[cell[starts]], names.place, n, categories.place, count))
    for index, (first, last) in enumerate(itertools.pairwise(spans.cuts(cell[starts]))):
        if first == last:
            yield CategoricalRows.none()
            continue
        ends = ptr[first : last + 1]
        yield CategoricalRows(
            names=[columns[key][0] for key in names.used(index).tolist()],
            categories=[columns[key // widest][1].names[key % widest] for key in categories.used(index).tolist()],
            cell=cells[first:last],
            name=at_name[first:last],
            n=n[first:last],
            ptr=narrow(ends - ends[0]),
            code=codes[ends[0] : ends[-1]],
            count=count[ends[0] : ends[-1]],
        )
