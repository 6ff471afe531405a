"""Counts of categories, a row a measure of a group: as they came in a pane, and many panes added up."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, repeat
from operator import add

import msgspec
import numpy as np

from stream_monitor.types import I64

DENSE = 64
"""Places for each entry up to which it is quicker to add them up in a table than to sort."""

Tally = tuple[int, list[str], list[int]]
"""How many values in all, categories, and beside them their counts."""


class Counted(msgspec.Struct):
    """The categorical rows of a part, as they came: row r counts categories[code[i]] for i in [ptr[r], ptr[r + 1])."""

    keys: list[tuple[int, str]]
    """(group, measure) of each row."""
    n: list[int]
    ptr: np.ndarray
    code: np.ndarray
    count: np.ndarray
    categories: list[str]

    def tallies(self) -> dict[tuple[int, str], Tally]:
        """The same by (group, measure)."""
        found: dict[tuple[int, str], Tally] = {}
        codes, counts, ptr = self.code.tolist(), self.count.tolist(), self.ptr.tolist()
        for key, n, first, last in zip(self.keys, self.n, ptr, ptr[1:], strict=False):
            tally = n, [*map(self.categories.__getitem__, codes[first:last])], counts[first:last]
            known = found.get(key)
            found[key] = tally if known is None else together(known, tally)
        return found


def add_counted(parts: Sequence[Counted]) -> dict[tuple[int, str], Tally]:
    """The rows of several panes together. Names become numbers, for numbers are added a thousand at once."""
    number_of: dict[str, int] = {}
    place_of: dict[tuple[int, str], int] = {}
    names = [*chain.from_iterable([part.categories for part in parts])]
    number, size = np.array([*map(number_of.setdefault, names, range(len(names)))], np.int64), len(names)
    place = np.array([place_of.setdefault(key, len(place_of)) for part in parts for key in part.keys], np.int64)
    total = np.zeros(len(place_of), np.int64)
    np.add.at(total, place, np.array([n for part in parts for n in part.n], np.int64))
    code, n = (np.concatenate([getattr(part, name) for part in parts]) for name in ("code", "count"))
    before = np.cumsum([0, *[len(part.categories) for part in parts[:-1]]])
    number = number[np.repeat(before, [len(part.code) for part in parts]) + code]
    sizes = np.concatenate([part.ptr[1:] for part in parts]) - np.concatenate([part.ptr[:-1] for part in parts])
    used, sums = _sums(np.repeat(place * size, sizes) + number, n, len(total) * size)
    counts, at = sums.astype(np.int64).tolist(), used % max(size, 1)
    named = [*map(names.__getitem__, at.tolist())]
    ends = np.searchsorted(used, np.arange(len(total) + 1) * size).tolist()
    return {
        key: (n, named[first:last], counts[first:last])
        for key, n, first, last in zip(place_of, total.tolist(), ends, ends[1:], strict=False)
    }


def _sums(at: I64, n: np.ndarray, size: int) -> tuple[I64, np.ndarray]:
    """Places below `size` that occur, ascending, and the sum of `n` at each."""
    if size > DENSE * len(at):
        used, where = np.unique(at, return_inverse=True)
        return used, np.bincount(where, n, len(used))
    sums = np.bincount(at, n, size)
    used = np.flatnonzero(sums)
    return used, sums[used]


def together(a: Tally, b: Tally) -> Tally:
    """Two rows of the same measure and group as one."""
    merged: dict[str, int] = {}
    add_counts(merged, [a, b])
    return a[0] + b[0], [*merged], [*merged.values()]


def add_counts(into: dict[str, int], tallies: Sequence[Tally]) -> None:
    """Add counts of categories; iterators in C, for this is done for every category of a pane."""
    names, again = (chain.from_iterable([tally[1] for tally in tallies]) for _ in range(2))
    counts = chain.from_iterable([tally[2] for tally in tallies])
    into.update(zip(names, map(add, counts, map(into.get, again, repeat(0))), strict=True))
