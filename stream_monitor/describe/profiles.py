"""Profiles: exact, mergeable summaries of measures, and their layout on the wire.

Adding up is one pass over columns, sorted by cell. A *cell* is one (version, segment, pane) of a model; a *row* is one
measure in one cell. Bin counts, category counts and n are exact whatever the order and batching of events; means and
centred sums of squares are merged by the pairwise formula of Chan, Golub and LeVeque (1979).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import xxhash

from stream_monitor.describe.columns import Coded, distinct
from stream_monitor.describe.edges import Edges
from stream_monitor.describe.sums import Borders, add_up, tally
from stream_monitor.types import F64, I64, Bool

NEW_CATEGORIES = 256
"""New categories of a measure that a pane counts by name, beside those of its baseline."""

UNKNOWN_CATEGORIES = 4_096
"""Categories that a delta counts by name while its worker does not know the baseline's."""

KEPT_TABLES = 4
"""Sets of measures of a lane whose borders are kept laid out."""


class NumericRows(msgspec.Struct):
    """Numeric rows of a delta, column-wise; row r has bins [bin_ptr[r], bin_ptr[r+1]) or values likewise."""

    names: list[str]
    edges: list[int]
    cell: np.ndarray
    name: np.ndarray
    n: np.ndarray
    mean: np.ndarray
    m2: np.ndarray
    low: np.ndarray
    high: np.ndarray
    bin_ptr: np.ndarray
    bin_at: np.ndarray
    bin_n: np.ndarray
    value_ptr: np.ndarray
    values: np.ndarray


class CategoricalRows(msgspec.Struct):
    """Categorical rows of a delta; row r counts categories[code[i]] for i in [ptr[r], ptr[r+1])."""

    names: list[str]
    categories: list[str]
    cell: np.ndarray
    name: np.ndarray
    n: np.ndarray
    ptr: np.ndarray
    code: np.ndarray
    count: np.ndarray


class Delta(msgspec.Struct):
    """One worker's share of the profiles of one model and lane: what came in since its last commit."""

    model: str
    lane: str
    version: list[str]
    segment: list[str]
    pane: np.ndarray
    """Start of each cell's pane, epoch ms."""
    counts: np.ndarray
    """(cells, 3): accepted events, duplicates, late ones."""
    numeric: NumericRows
    categorical: CategoricalRows


class Known:
    """What describe has heard of a model's lane from the judge: edges and baseline categories by measure."""

    def __init__(
        self, edges: Mapping[str, Edges] | None = None, categories: Mapping[str, frozenset[str]] | None = None
    ) -> None:
        self.edges, self.categories = dict(edges or {}), dict(categories or {})
        self._borders: dict[tuple[str, ...], Borders] = {}

    def add_edges(self, measure: str, edges: Edges) -> None:
        """Take in the edges of a measure."""
        self.edges[measure] = edges
        self._borders.clear()

    def borders(self, measures: tuple[str, ...]) -> Borders:
        """The borders of these measures; kept, for most commits bring the same ones."""
        made = self._borders.get(measures)
        if made is None:
            if len(self._borders) >= KEPT_TABLES:
                self._borders.clear()
            made = self._borders[measures] = Borders.of([self.edges.get(name) for name in measures])
        return made


@dataclass(slots=True)
class Cells:
    """The cells of a block of rows: `row` and `cell` pair each event with each of its cells (segments overlap)."""

    version: list[str]
    segment: list[str]
    pane: I64
    counts: I64
    row: I64
    cell: I64


def summarise(
    cells: Cells, numeric: Mapping[str, F64], categorical: Mapping[str, Coded], known: Known
) -> tuple[NumericRows, CategoricalRows]:
    """Add columns up to rows."""
    row, cell = cells.row, cells.cell
    if len(cell) and (np.diff(cell) < 0).any():
        order = np.argsort(cell, kind="stable")
        row, cell = row[order], cell[order]
    return add_numbers(numeric, row, cell, known), add_categories(categorical, row, cell, known.categories)


def _spans(cell: I64) -> tuple[I64, I64]:
    """(the cells that occur, where each one's entries begin and the last one's end) of sorted cells."""
    starts = np.flatnonzero(np.diff(cell, prepend=-1))
    return cell[starts], np.append(starts, len(cell))


def narrow(counts: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Counts or places in the smallest of the wire's types that holds them; readers take any."""
    most = int(counts.max()) if len(counts) else 0
    return counts.astype(np.uint8 if most < 1 << 8 else np.uint16 if most < 1 << 16 else np.uint32)


def add_numbers(columns: Mapping[str, F64], row: I64, cell: I64, known: Known) -> NumericRows:
    """Rows of all numeric columns; `cell` is sorted."""
    names = list(columns)
    if not names or not len(row):
        return _no_numbers()
    values = np.empty((len(names), len(row)))
    for i, column in enumerate(columns.values()):
        column.take(row, out=values[i], mode="clip")  # "raise" would copy twice
    values += 0.0  # -0.0 becomes 0.0, as the generic decoder reads an integer -0
    present, bounds = _spans(cell)
    edges = [known.edges.get(name) for name in names]
    sums = add_up(values, bounds, known.borders(tuple(names)))
    at_cell, at_name = np.nonzero(sums.n.T)
    value_ptr, kept = _values(values, bounds, edges, (at_cell, at_name))
    return NumericRows(
        names=names,
        edges=[e.version if e else 0 for e in edges],
        cell=narrow(present[at_cell]),
        name=narrow(at_name),
        n=narrow(sums.n[at_name, at_cell]),
        mean=sums.mean[at_name, at_cell],
        m2=sums.m2[at_name, at_cell],
        low=sums.low[at_name, at_cell],
        high=sums.high[at_name, at_cell],
        bin_ptr=narrow(np.append(sums.ptr[at_cell * len(names) + at_name], sums.ptr[-1])),
        bin_at=sums.bin_at,
        bin_n=narrow(sums.bin_n),
        value_ptr=value_ptr,
        values=kept,
    )


def _values(values: F64, bounds: I64, edges: Sequence[Edges | None], at: tuple[I64, I64]) -> tuple[I64, F64]:
    """The values themselves of rows whose measure has no edges yet."""
    unknown = np.array([i for i, e in enumerate(edges) if e is None], np.int64)
    keys = at[0] * len(edges) + at[1]
    if not len(unknown):
        return np.zeros(len(keys) + 1, np.uint8), np.empty(0)
    kept = values[unknown]
    cell = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    key = cell[None, :] * len(edges) + unknown[:, None]
    there = ~np.isnan(kept)
    flat, key = kept[there], key[there]
    order = np.argsort(key, kind="stable")
    return narrow(np.searchsorted(key[order], np.append(keys, np.iinfo(np.int64).max))), flat[order]


def _no_numbers() -> NumericRows:
    f, none, zero = np.empty(0), np.empty(0, np.uint8), np.zeros(1, np.uint8)
    return NumericRows(
        names=[], edges=[], cell=none, name=none, n=none, mean=f, m2=f, low=f, high=f, bin_ptr=zero, bin_at=none,
        bin_n=none, value_ptr=zero, values=f,
    )  # fmt: skip


def add_categories(
    columns: Mapping[str, Coded], row: I64, cell: I64, known: Mapping[str, frozenset[str]]
) -> CategoricalRows:
    """Rows of all categorical columns; `cell` is sorted; `known` are the categories of the baselines in force."""
    names = list(columns)
    if not names or not len(row):
        return _no_categories()
    codes = np.empty((len(names), len(row)), np.int64)
    for i, column in enumerate(columns.values()):
        column.codes.take(row, out=codes[i], mode="clip")
    widest = max(1, *(len(column.names) for column in columns.values()))
    present, bounds = _spans(cell)
    found = tally(codes, bounds, widest)
    pair = np.repeat(np.arange(len(present) * len(names)), np.diff(found.ptr))
    cells, name = np.divmod(pair, len(names))
    counts = _bounded(np.stack([cells, name, found.code, found.count]), list(columns.items()), known)
    return _categorical_rows(present, list(columns.items()), counts, widest)


def _bounded(counts: I64, columns: Sequence[tuple[str, Coded]], known: Mapping[str, frozenset[str]]) -> I64:
    """Of (cell, column, code, count), by cell and column, what is known and of others the smallest by `keep_order`."""
    kept = np.ones(counts.shape[1], np.bool_)
    for at, (name, column) in enumerate(columns):
        cap = UNKNOWN_CATEGORIES if name not in known else NEW_CATEGORIES
        if len(column.names) <= cap:
            continue
        mine = np.flatnonzero(counts[1] == at)
        codes = np.unique(counts[2, mine])
        if len(codes) > cap:
            seen = [column.names[code] for code in codes.tolist()]
            places = np.searchsorted(codes, counts[2, mine])
            kept[mine] = _smallest(counts[0, mine], places, seen, known.get(name, frozenset()), cap)
    return counts if kept.all() else counts[:, kept]


def _smallest(cell: I64, code: I64, seen: Sequence[str], known: frozenset[str], cap: int) -> Bool:
    """Which of (cell, code) to keep: what is known, and `cap` others a cell."""
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


def keep_order(categories: Sequence[str], known: frozenset[str]) -> I64:
    """The order in which categories are kept when there are too many: known ones, then by hash, smallest first.

    The k smallest hashes of a union are among the k smallest of each part that holds them, so that bounded counts
    stay exact, mergeable, and independent of order (k minimum values, Beyer et al. 2007).
    """
    hashes = np.array([xxhash.xxh3_64_intdigest(category.encode()) for category in categories], np.uint64)
    new = np.array([category not in known for category in categories])
    return np.lexsort((hashes, new))


def _categorical_rows(present: I64, columns: Sequence[tuple[str, Coded]], counts: I64, widest: int) -> CategoricalRows:
    """Rows of counts (cell, column, code, count) that are sorted by cell, then column."""
    cell, name, code, count = counts
    used, place = distinct(name * widest + code)
    rows = np.flatnonzero(np.diff(cell * len(columns) + name, prepend=-1))
    categories = [columns[at // widest][1].names[at % widest] for at in used.tolist()]
    return CategoricalRows(
        names=[name for name, _ in columns],
        categories=categories,
        cell=narrow(present[cell[rows]]),
        name=narrow(name[rows]),
        n=narrow(np.add.reduceat(count, rows)) if len(rows) else np.empty(0, np.uint8),
        ptr=narrow(np.append(rows, len(code))),
        code=narrow(place),
        count=narrow(count),
    )


def _no_categories() -> CategoricalRows:
    none = np.empty(0, np.uint8)
    return CategoricalRows(
        names=[], categories=[], cell=none, name=none, n=none, ptr=np.zeros(1, np.uint8), code=none, count=none
    )
