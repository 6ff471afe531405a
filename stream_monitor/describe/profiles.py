"""Profiles: exact, mergeable summaries of measures, and their layout on the wire.

Adding up is one pass over columns, sorted by cell. A *cell* is one (version, segment, pane) of a model; a *row* is one
measure in one cell. Bin counts, category counts and n are exact whatever the order and batching of events; means and
centred sums of squares are merged by the pairwise formula of Chan, Golub and LeVeque (1979).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
import xxhash

from stream_monitor.describe.columns import Coded
from stream_monitor.describe.edges import Edges
from stream_monitor.describe.sums import add_up
from stream_monitor.types import F64, I64

DENSE_LIMIT = 4_000_000
"""Bin counts are taken in a dense table up to this many places, by sorting above it."""


NEW_CATEGORIES = 256
"""New categories of a measure that a pane counts by name, beside those of its baseline."""

UNKNOWN_CATEGORIES = 4_096
"""Categories that a delta counts by name while its worker does not know the baseline's."""


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


@dataclass(slots=True)
class Known:
    """What describe has heard of a model's lane from the judge: edges and baseline categories by measure."""

    edges: dict[str, Edges] = field(default_factory=dict)
    categories: dict[str, frozenset[str]] = field(default_factory=dict)


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
    return (
        add_numbers(numeric, row, cell, known.edges),
        add_categories(categorical, row, cell, known.categories),
    )


def add_numbers(columns: Mapping[str, F64], row: I64, cell: I64, edges: Mapping[str, Edges]) -> NumericRows:
    """Rows of all numeric columns; `cell` is sorted."""
    names = list(columns)
    if not names or not len(row):
        return _no_numbers()
    values = np.empty((len(names), len(row)))
    for i, name in enumerate(names):
        np.take(columns[name], row, out=values[i])
    values += 0.0  # -0.0 becomes 0.0, as the generic decoder reads an integer -0
    present, starts = np.unique(cell, return_index=True)
    bounds = np.append(starts, len(cell))
    bins = [edges.get(name) for name in names]
    sums = add_up(values, bounds, bins)
    at_cell, at_name = np.nonzero(sums.n.T)
    dense = np.repeat(np.arange(len(present)), np.diff(bounds))
    value_ptr, kept = _values(values, dense, bins, (at_cell, at_name))
    return NumericRows(
        names=names,
        edges=[e.version if e else 0 for e in bins],
        cell=present[at_cell].astype(np.uint32),
        name=at_name.astype(np.uint16),
        n=sums.n[at_name, at_cell],
        mean=sums.mean[at_name, at_cell],
        m2=sums.m2[at_name, at_cell],
        low=sums.low[at_name, at_cell],
        high=sums.high[at_name, at_cell],
        bin_ptr=np.append(sums.ptr[at_cell * len(names) + at_name], sums.ptr[-1]),
        bin_at=sums.bin_at,
        bin_n=sums.bin_n,
        value_ptr=value_ptr,
        values=kept,
    )


def _values(values: F64, cell: I64, edges: Sequence[Edges | None], at: tuple[I64, I64]) -> tuple[I64, F64]:
    """The values themselves of rows whose measure has no edges yet."""
    unknown = np.array([i for i, e in enumerate(edges) if e is None], np.int64)
    keys = at[0] * len(edges) + at[1]
    if not len(unknown):
        return np.zeros(len(keys) + 1, np.int64), np.empty(0)
    kept = values[unknown]
    key = cell[None, :] * len(edges) + unknown[:, None]
    there = ~np.isnan(kept)
    flat, key = kept[there], key[there]
    order = np.argsort(key, kind="stable")
    return np.searchsorted(key[order], np.append(keys, np.iinfo(np.int64).max)), flat[order]


def _no_numbers() -> NumericRows:
    f, u4, none = np.empty(0), np.empty(0, np.uint32), np.zeros(1, np.int64)
    return NumericRows(
        names=[], edges=[], cell=u4, name=np.empty(0, np.uint16), n=np.empty(0, np.int64), mean=f, m2=f, low=f,
        high=f, bin_ptr=none, bin_at=np.empty(0, np.uint8), bin_n=u4, value_ptr=none, values=f,
    )  # fmt: skip


def add_categories(
    columns: Mapping[str, Coded], row: I64, cell: I64, known: Mapping[str, frozenset[str]]
) -> CategoricalRows:
    """Rows of all categorical columns; `cell` is sorted; `known` are the categories of the baselines in force."""
    names, categories = list(columns), list[str]()
    parts = [np.empty((4, 0), np.int64)]
    for i, name in enumerate(names):
        codes, seen = columns[name].codes, columns[name].names
        tally = _tally(codes[row], cell, len(seen))
        tally = _bounded(tally, seen, known.get(name))
        parts.append(np.stack([tally[0], np.full(tally.shape[1], i), tally[1] + len(categories), tally[2]]))
        categories += seen
    return _categorical_rows(names, categories, np.concatenate(parts, axis=1))


def _tally(codes: I64, cell: I64, seen: int) -> I64:
    """(cell, code, count) of the categories seen, by cell: shape (3, m)."""
    there = codes >= 0
    if not there.all():
        codes, cell = codes[there], cell[there]
    flat = cell * seen + codes
    if len(flat) and flat[-1] < DENSE_LIMIT:
        table = np.bincount(flat)
        places = np.flatnonzero(table)
        counts = table[places]
    else:
        places, counts = np.unique(flat, return_counts=True)
    return np.stack([places // max(seen, 1), places % max(seen, 1), counts])


def _bounded(tally: I64, seen: Sequence[str], known: frozenset[str] | None) -> I64:
    """Of each cell the categories of the baseline, and of others those of smallest hash (see `keep_categories`)."""
    cap = UNKNOWN_CATEGORIES if known is None else NEW_CATEGORIES
    if len(seen) <= cap:
        return tally
    order = keep_order(seen, known or frozenset())
    rank = np.empty(len(seen), np.int64)
    rank[order] = np.arange(len(seen))
    always = np.array([category in (known or ()) for category in seen])
    by = np.lexsort((rank[tally[1]], tally[0]))
    tally = tally[:, by]
    new = ~always[tally[1]]
    starts = np.flatnonzero(np.diff(tally[0], prepend=-1))
    before = np.cumsum(new) - new
    within = before - np.repeat(before[starts], np.diff(np.append(starts, len(by))))
    return tally[:, ~new | (within < cap)]


def keep_order(categories: Sequence[str], known: frozenset[str]) -> I64:
    """The order in which categories are kept when there are too many: known ones, then by hash, smallest first.

    The k smallest hashes of a union are among the k smallest of each part that holds them, so that bounded counts
    stay exact, mergeable, and independent of order (k minimum values, Beyer et al. 2007).
    """
    hashes = np.array([xxhash.xxh3_64_intdigest(category.encode()) for category in categories], np.uint64)
    new = np.array([category not in known for category in categories])
    return np.lexsort((hashes, new))


def _categorical_rows(names: list[str], categories: list[str], tally: I64) -> CategoricalRows:
    """Rows sorted by cell, then name, of a tally (cell, name, code, count)."""
    width = max(len(names), 1)
    key = tally[0] * width + tally[1]
    order = np.argsort(key, kind="stable")
    rows, starts = np.unique(key[order], return_index=True)
    code, count = tally[2][order], tally[3][order]
    return CategoricalRows(
        names=names,
        categories=categories,
        cell=(rows // width).astype(np.uint32),
        name=(rows % width).astype(np.uint16),
        n=np.add.reduceat(count, starts) if len(rows) else np.empty(0, np.int64),
        ptr=np.append(starts, len(code)),
        code=code.astype(np.uint32),
        count=count.astype(np.uint32),
    )
