"""The tail of a measure: counts on fine bins from just below the baseline's p95 on, beside the bins of its edges.

The edges resolve the body of a baseline. Beyond its p95 they are too wide for quantiles. So values above the tail's
start are counted a second time, on bins that are `RATIO` - 1 wide relative to their values. A quantile that is read as
the middle of such a bin is off by at most 2 %.

A tail has a start above 0. Of a measure whose p95 is not positive, it begins at the least positive value that the bins
can reach from. A measure without positive values has no tail.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import msgspec
import numpy as np

from stream_monitor.kernels.numba_backend import compiled
from stream_monitor.types import F64, I64

TINY, LARGEST = float(np.finfo(np.float64).tiny), float(np.finfo(np.float64).max)
RATIO = 1.039
"""The upper edge of a bin as a multiple of its lower edge."""
TAIL_BINS = 256
"""Bins of a tail. The last one has no upper edge; it begins at 17,000 times the start."""
START = 92
"""The quantile, of 0 to 99, at which a tail starts: about the p93. Few windows have a p95 below it."""
BELOW = 200
"""Bins of a tail below the largest value of a baseline whose p93 is not positive."""
STEPS = 1 / math.log(RATIO)
"""Bins in a factor of e."""
NO_TAIL = 0.0
MULTIPLES: F64 = np.multiply.accumulate(np.append(1.0, np.full(TAIL_BINS - 1, RATIO)))
"""(TAIL_BINS,) the lower edges as multiples of the start; products in a fixed order are the same on every machine."""


def tail_edges(start: float) -> F64:
    """(TAIL_BINS,) the lower edge of each bin: bin k contains b_k < x <= b_k+1.

    >>> tail_edges(100.0)[:3].round(6).tolist()
    [100.0, 103.9, 107.9521]
    """
    return np.asarray(start * MULTIPLES)


def tail_start(ordered: F64, start: float) -> float:
    """The start of the tail of a baseline's values (ascending); `start` is their quantile number `START`.

    `NO_TAIL` if none of them is positive, or if the bins would reach beyond the largest double.
    """
    if start <= 0:
        reached = ordered[ordered > max(float(ordered[-1]) / RATIO**BELOW, 0.0)]
        start = float(reached[0]) / RATIO if len(reached) else NO_TAIL
    return start if TINY < start < LARGEST / MULTIPLES[-1] else NO_TAIL


def tail_counts(start: float, values: F64) -> I64:
    """(TAIL_BINS,) the number of values in each bin; NaN, and values up to the start, are in none."""
    above = values[values > start]
    return np.bincount(np.searchsorted(tail_edges(start), above, side="left") - 1, minlength=TAIL_BINS)


class Tail(NamedTuple):
    """The tail of a sample."""

    start: float
    counts: I64
    """(TAIL_BINS,)"""


class TailTable(msgspec.Struct):
    """Sparse tails of the measures of all groups, (K,) entries; they merge by addition."""

    key: np.ndarray = msgspec.field(default_factory=lambda: np.zeros(0, np.int64))
    """The key of group, measure and bin, ascending and distinct; see `tail_key`."""
    n: np.ndarray = msgspec.field(default_factory=lambda: np.zeros(0, np.int64))

    def add(self, key: I64, n: I64) -> None:
        """Add entries in any order; the same key may come several times."""
        if not len(key):
            return
        keys, place = np.unique(np.concatenate([self.key, key]), return_inverse=True)
        total = np.zeros(len(keys), np.int64)
        np.add.at(total, place, np.concatenate([self.n, n]))
        self.key, self.n = keys, total

    def of(self, group: int, measure: int) -> I64:
        """(TAIL_BINS,) the tail of a measure of a group."""
        first = tail_key(group, measure, 0)
        begin, end = np.searchsorted(self.key, (first, first + TAIL_BINS))
        counts = np.zeros(TAIL_BINS, np.int64)
        counts[self.key[begin:end] - first] = self.n[begin:end]
        return counts

    def tail(self, group: int, measure: int, start: float) -> Tail | None:
        """The tail of a measure of a group; None if its edges have none."""
        return None if start == NO_TAIL else Tail(start, self.of(group, measure))

    def drop(self, measure: int) -> None:
        """Forget the tails of a measure, because its edges have changed."""
        kept = self.key // TAIL_BINS % MEASURES != measure
        self.key, self.n = self.key[kept], self.n[kept]


MEASURES = 2**24


def tail_key(group: Any, measure: Any, place: Any) -> Any:
    """The key of a bin of a tail, or an array of keys."""
    return (group * MEASURES + measure) * TAIL_BINS + place


def keyed(group: int, measure: int, counts: I64) -> tuple[I64, I64]:
    """The entries (key, n) of the tail of a measure of a group."""
    used = np.flatnonzero(counts)
    return np.asarray(tail_key(group, measure, used)), counts[used]


@compiled
def count_tail(column: Any, start: float, multiples: Any, counts: Any) -> None:
    """Add the values above `start` to `counts` (TAIL_BINS,), as `tail_counts` does.

    A logarithm gives a bin near that of the value; comparisons with the edges decide.
    """
    last = len(multiples) - 1
    for x in column:
        if x > start:
            place: Any = np.int64(min(math.log(x / start) * STEPS, float(last)))
            while place < last and start * multiples[place + 1] < x:
                place += 1
            while start * multiples[place] >= x:
                place -= 1
            counts[place] += 1
