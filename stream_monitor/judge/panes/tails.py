"""The tails of the rows of deltas, by group and measure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from stream_monitor.errors import FormatError
from stream_monitor.judge.panes.category_counts import spread
from stream_monitor.profiles.delta import TailRows
from stream_monitor.profiles.tails import TAIL_BINS, tail_key
from stream_monitor.types import I64, Bool
from stream_monitor.wire.concat import concat_tables
from stream_monitor.wire.msgpack_arrays import Table

TailEntries = tuple[I64, I64]
"""(key, n), as `profiles.tails.TailTable.add` takes them."""

T = TypeVar("T", bound=Table)


def once(tables: Sequence[T]) -> tuple[list[T], list[int]]:
    """Each distinct table once, and for every given table its index there. Many parts may share a table."""
    number: dict[int, int] = {}
    which = [number.setdefault(id(table), len(number)) for table in tables]
    return list({id(table): table for table in tables}.values()), which


def tail_entries(tables: Sequence[TailRows], firsts: Sequence[int], rows: Sequence[tuple[I64, I64]]) -> TailEntries:
    """The entries of the tails of parts: part i has the rows of tables[i] from firsts[i] on.

    `rows` has the group and the measure of each row of a part. A row whose group is below 0 is left out.

    Raises:
        FormatError: the entries of a row lie outside the arrays.
    """
    distinct, which = once(tables)
    joined = concat_tables(TailRows, distinct)
    joined.require("at", "n")
    sizes, first_rows = np.array([len(group) for group, _ in rows]), np.array(firsts)
    if (first_rows + sizes >= joined.size("ptr")[which]).any():
        raise FormatError("the tails of a delta do not fit its rows")
    row, table = spread(joined.start("ptr")[which] + first_rows, sizes), np.repeat(which, sizes)
    ptr, at = joined.ints("ptr"), joined.ints("at")
    first, last = ptr[row], ptr[row + 1]
    inside = (first >= 0) & (first <= last) & (last <= joined.size("at")[table])
    if not inside.all() or (len(at) and not 0 <= at.min() <= at.max() < TAIL_BINS):
        raise FormatError("the tails of a delta do not fit its rows")
    group, measure = (np.concatenate(column) for column in zip(*rows, strict=True))
    lengths = np.where(group < 0, 0, last - first)
    entry = spread(joined.start("at")[table] + first, lengths)
    return np.repeat(tail_key(group, measure, 0), lengths) + at[entry], joined.ints("n")[entry]


def lengths_of(rows: TailRows) -> I64:
    """The number of entries of each row."""
    ptr: I64 = rows.ptr.astype(np.int64)
    return np.asarray(ptr[1:] - ptr[:-1])


def some_tails(rows: TailRows | None, kept: Bool) -> TailRows | None:
    """The tails of the rows where `kept` is True."""
    if rows is None:
        return None
    sizes = lengths_of(rows)
    inside = np.repeat(kept, sizes)
    return TailRows(ptr=np.append(0, np.cumsum(sizes[kept])), at=rows.at[inside], n=rows.n[inside])


def without_tails(rows: TailRows | None, dropped: Sequence[int]) -> TailRows | None:
    """The tails of all rows, empty for those that are dropped."""
    if rows is None:
        return None
    sizes = lengths_of(rows)
    kept = np.ones(len(sizes), np.bool_)
    kept[list(dropped)] = False
    inside = np.repeat(kept, sizes)
    ptr = np.append(0, np.cumsum(np.where(kept, sizes, 0)))
    return TailRows(ptr=ptr, at=rows.at[inside], n=rows.n[inside])
