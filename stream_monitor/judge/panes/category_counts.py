"""Counts of categories, one row for each (group, measure): those of a pane, and sums over many panes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from operator import add
from typing import NamedTuple

import numpy as np

from stream_monitor.errors import FormatError
from stream_monitor.profiles.delta import CategoricalRows
from stream_monitor.types import I64
from stream_monitor.wire.concat import ConcatenatedTables, concat_tables
from stream_monitor.wire.string_dictionary import number

DENSE = 64
"""Up to this many table slots per entry, summing in a dense table is faster than sorting."""

CategoryCounts = tuple[int, list[str], list[int]]
"""(number of all values, categories, their counts)."""


class CountedRows(NamedTuple):
    """Adjacent rows of a table, from `first` on, and the (group, measure) of each. A group below 0 is left out."""

    table: int
    first: int
    keys: Sequence[tuple[int, str]]


def sum_counts(
    tables: Sequence[CategoricalRows], parts: Sequence[CountedRows]
) -> dict[tuple[int, str], CategoryCounts]:
    """The sums of rows of several tables, by (group, measure)."""
    combined = concat_tables(CategoricalRows, tables)
    combined.require("cell", "name", "n", "ptr", more=1)
    combined.require("code", "count")
    named = number([table.packed_late for table in tables])
    size = len(named.texts)
    place_of: dict[tuple[int, str], int] = {}
    place = np.array([place_of.setdefault(key, len(place_of)) for part in parts for key in part.keys], np.int64)
    table, row = _which(parts, combined)
    total = np.zeros(len(place_of), np.int64)
    np.add.at(total, place, combined.ints("n")[row])
    entry, sizes = _entries(combined, table, row)
    code, first, last = combined.ints("code")[entry], *(np.repeat(named.first[table + i], sizes) for i in (0, 1))
    code += first
    if ((code < first) | (code >= last)).any():
        raise FormatError("a delta counts a category that it does not name")
    used, sums = _sums(
        np.repeat(place * size, sizes) + named.number[code], combined.ints("count")[entry], len(total) * size
    )
    counts, which = sums.astype(np.int64).tolist(), used % max(size, 1)
    names = [*map(named.texts.__getitem__, which.tolist())]
    ends = np.searchsorted(used, np.arange(len(total) + 1) * size).tolist()
    return {
        key: (n, names[first:last], counts[first:last])
        for key, n, first, last in zip(place_of, total.tolist(), ends, ends[1:], strict=False)
        if key[0] >= 0
    }


def _which(parts: Sequence[CountedRows], tables: ConcatenatedTables) -> tuple[I64, I64]:
    """The table of each row, and its index among the rows of all tables."""
    sizes, first = [len(part.keys) for part in parts], tables.start("n")
    begins = [int(first[part.table]) + part.first for part in parts]
    table = np.repeat(np.array([part.table for part in parts], np.int64), sizes)
    return table, spread(np.array(begins, np.int64), np.array(sizes, np.int64))


def _entries(tables: ConcatenatedTables, table: I64, row: I64) -> tuple[I64, I64]:
    """Indexes of the entries of all rows, concatenated, and the number of entries of each row.

    A table has one more pointer than rows.
    """
    ptr, begin, entries_in_table = tables.ints("ptr"), tables.start("code")[table], tables.size("code")[table]
    first, last = ptr[row + table], ptr[row + table + 1]
    if ((first < 0) | (last < first) | (last > entries_in_table)).any():
        raise FormatError("the categories of a delta do not fit its rows")
    return spread(begin + first, last - first), last - first


def spread(first: I64, sizes: I64) -> I64:
    """Concatenated ranges: sizes[0] numbers from first[0] on, then sizes[1] numbers from first[1] on, and so on."""
    return np.repeat(first - (np.cumsum(sizes) - sizes), sizes) + np.arange(int(sizes.sum()))


def _sums(at: I64, n: np.ndarray, size: int) -> tuple[I64, np.ndarray]:
    """The distinct indexes in `at` (all below `size`), ascending, and the sum of `n` at each."""
    if size > DENSE * len(at):
        at, n = at[n != 0], n[n != 0]
        used, where = np.unique(at, return_inverse=True)
        return used, np.bincount(where, n, len(used))
    sums = np.bincount(at, n, size)
    used = np.flatnonzero(sums)
    return used, sums[used]


def merge_pair(a: CategoryCounts, b: CategoryCounts) -> CategoryCounts:
    """The sum of two rows of the same measure and group."""
    merged: dict[str, int] = {}
    add_counts(merged, [a, b])
    return a[0] + b[0], [*merged], [*merged.values()]


def add_counts(into: dict[str, int], tallies: Sequence[CategoryCounts]) -> None:
    """Add counts of categories to `into`. C iterators, because this runs for every category of a pane."""
    names, names_again = (itertools.chain.from_iterable([tally[1] for tally in tallies]) for _ in range(2))
    counts = itertools.chain.from_iterable([tally[2] for tally in tallies])
    into.update(zip(names, map(add, counts, map(into.get, names_again, itertools.repeat(0))), strict=True))
