"""Groups of the rows of a batch that have the same id; with them the joins need no loops."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from stream_monitor.describe.join.pending.rows import U32, U64
from stream_monitor.types import I64, Bool


@dataclass(frozen=True, slots=True)
class Groups:
    """The n rows of a batch in groups of equal id.

    `of` and `rank` (n): each row's group, and the number of rows of its group before it. `first` (groups): the position
    of each group's first row.
    """

    of: I64
    rank: I64
    first: I64

    @property
    def unique(self) -> bool:
        """Whether all ids differ; then a row's group is its position."""
        return len(self.first) == len(self.of)

    def sizes(self) -> I64:
        """Number of rows of each group."""
        return np.bincount(self.of, minlength=len(self.first))

    def expand(self, group: I64, row: I64, wanted: Bool | None = None) -> tuple[I64, I64]:
        """Expand pairs (group, stored row) to sorted pairs (position in the batch, stored row).

        `wanted` (n) selects positions; None selects all.
        """
        order = pair_order(group, row)
        group, row = group[order], row[order]
        if self.unique:
            if wanted is not None:
                keep = wanted[group]
                group, row = group[keep], row[keep]
            return group, row
        ops = np.arange(len(self.of)) if wanted is None else np.flatnonzero(wanted)
        counts = np.bincount(group, minlength=len(self.first))
        starts = np.cumsum(counts) - counts
        each = counts[self.of[ops]]
        ends = np.cumsum(each)
        within = np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - each, each)
        return np.repeat(ops, each), row[np.repeat(starts[self.of[ops]], each) + within]


def group_ids(hashes: U64, checks: U32) -> Groups:
    """Group rows of equal (hash, check)."""
    count = len(hashes)
    order, same = _ordered(hashes, checks)
    if not same.any():
        return Groups(np.arange(count), np.zeros(count, np.int64), np.arange(count))
    return _groups(order, same)


def group_rows(rows: I64) -> Groups:
    """Group equal stored rows."""
    order = np.argsort(rows, kind="stable")
    return _groups(order, rows[order[1:]] == rows[order[:-1]])


def _groups(order: I64, same: Bool) -> Groups:
    new = np.ones(len(order), np.bool_)
    new[1:] = ~same
    starts = np.flatnonzero(new)
    group, rank = np.empty(len(order), np.int64), np.empty(len(order), np.int64)
    group[order] = np.cumsum(new) - 1
    rank[order] = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    return Groups(group, rank, order[starts])


def _ordered(hashes: U64, checks: U32) -> tuple[I64, Bool]:
    """The positions sorted by id, then position, and whether each has the same id as the one before it."""
    shift = np.uint64(len(hashes).bit_length())
    # One sort of (upper bits of the hash, position) takes half the time of a stable argsort. It gives the same order
    # unless different ids agree in the upper bits; the code below detects that and sorts again.
    keys = np.sort((hashes >> shift << shift) | np.arange(len(hashes), dtype=np.uint64))
    near = (keys[1:] >> shift) == (keys[:-1] >> shift)
    order = (keys & ((np.uint64(1) << shift) - np.uint64(1))).astype(np.int64)
    if not near.any():
        return order, near
    differ = (hashes[order[1:]] != hashes[order[:-1]]) | (checks[order[1:]] != checks[order[:-1]])
    if (near & differ).any():
        order = np.lexsort((checks, hashes))
        differ = (hashes[order[1:]] != hashes[order[:-1]]) | (checks[order[1:]] != checks[order[:-1]])
    return order, ~differ


def pair_order(first: I64, second: I64) -> I64:
    """The order by `first`, then `second`; `second` has sequence numbers less than 2**40 apart."""
    if not len(first):
        return np.empty(0, np.int64)
    return np.argsort((first << 40) | (second - second.min()))


def rounds(groups: Groups, most: int) -> Iterator[I64]:
    """Yield the positions of rank 0, of rank 1, … below `most`; a group occurs at most once in each."""
    if groups.unique:
        yield np.arange(len(groups.of))
        return
    order = np.argsort(groups.rank, kind="stable")
    ends = np.cumsum(np.bincount(groups.rank))[:most].tolist()
    for start, end in zip([0, *ends], ends, strict=False):
        yield order[start:end]
