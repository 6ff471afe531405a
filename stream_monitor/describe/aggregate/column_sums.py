"""Moments, bin counts and category counts of columns by cell, in one compiled pass over the values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stream_monitor.kernels.numba_backend import compiled, inlined
from stream_monitor.profiles.bins import BINS
from stream_monitor.profiles.known_bins import EdgeTable, _body
from stream_monitor.profiles.tails import MULTIPLES, TAIL_BINS, count_tail
from stream_monitor.types import F64, I64

_LARGEST = np.finfo(np.float64).max


@dataclass(slots=True)
class Sums:
    """Moments, each (measures, cells), and sparse bin counts.

    The entries of (cell, measure) are [ptr[i], ptr[i + 1]) with i = cell * measures + measure.
    """

    n: I64
    mean: F64
    m2: F64
    low: F64
    high: F64
    ptr: I64
    """(cells · measures + 1,): index of the first entry of each pair, cell by cell."""
    bin_at: npt.NDArray[np.uint8]
    bin_n: npt.NDArray[np.uint32]
    tail_ptr: I64
    """As `ptr`, for the entries of tails."""
    tail_at: npt.NDArray[np.uint8]
    tail_n: npt.NDArray[np.uint32]


def add_up(values: F64, bounds: I64, table: EdgeTable, model: I64 | None = None) -> Sums:
    """Add up the columns `values` (measures, n); the rows [bounds[c], bounds[c + 1]) belong to cell c.

    Cell c uses the edges of model[c], or of the only model if `model` is None. NaN means absent. Values are counted in
    bins where the model has edges for the measure. Sums beyond the largest double stay at it.
    """
    measures, cells = len(values), len(bounds) - 1
    room = min(values.size, measures * cells * BINS) if len(table.borders) else 0
    moments = np.zeros((4, measures, cells))
    n, ptr = np.zeros((measures, cells), np.int64), np.zeros(measures * cells + 1, np.int64)
    bin_at, bin_n = np.empty(room, np.uint8), np.empty(room, np.uint32)
    tail_ptr, tail_room = np.zeros_like(ptr), min(values.size, measures * cells * TAIL_BINS) if table.tails.any() else 0
    tail_at, tail_n = np.empty(tail_room, np.uint8), np.empty(tail_room, np.uint32)
    used, tail_used = _add_up(
        values, bounds, np.zeros(cells, np.int64) if model is None else model,
        (table.borders, table.first, table.guides, table.tails, MULTIPLES), (n, moments),
        (ptr, bin_at, bin_n, np.zeros(BINS, np.uint32)), (tail_ptr, tail_at, tail_n, np.zeros(TAIL_BINS, np.uint32)),
    )  # fmt: skip
    mean, m2, low, high = moments
    tails = tail_ptr, tail_at[:tail_used], tail_n[:tail_used]
    return Sums(n, mean, m2, low, high, ptr, bin_at[:used], bin_n[:used], *tails)


@dataclass(slots=True)
class CategorySums:
    """Sparse counts of codes, in order of first occurrence.

    The entries of (cell, column) are [ptr[i], ptr[i + 1]) with i = cell * columns + column.
    """

    ptr: I64
    """(cells · columns + 1,): index of the first entry of each pair, cell by cell."""
    code: I64
    count: I64


def count_categories(codes: I64, bounds: I64, distinct: int) -> CategorySums:
    """Count the codes (columns, n), 0 to `distinct` - 1, of each cell (see `add_up`); -1 means absent."""
    columns, cells = len(codes), len(bounds) - 1
    room = min(codes.size, columns * cells * distinct)
    sums = CategorySums(np.zeros(columns * cells + 1, np.int64), np.empty(room, np.int64), np.empty(room, np.int64))
    used = _tally(codes, bounds, np.zeros(distinct, np.int64), (sums.ptr, sums.code, sums.count))
    sums.code, sums.count = sums.code[:used], sums.count[:used]
    return sums


@compiled
def _tally(codes: Any, bounds: Any, counts: Any, into: Any) -> int:
    ptr, seen, times = into
    used = 0
    for cell in range(len(bounds) - 1):
        for column in range(len(codes)):
            first = used
            for code in codes[column][bounds[cell] : bounds[cell + 1]]:
                if code >= 0:
                    if counts[code] == 0:
                        seen[used] = code
                        used += 1
                    counts[code] += 1
            for place in range(first, used):
                times[place] = counts[seen[place]]
                counts[seen[place]] = 0
            ptr[cell * len(codes) + column + 1] = used
    return used


@inlined
def _finite(x: float) -> float:
    return 0.0 if x != x else min(max(x, -_LARGEST), _LARGEST)


@compiled
def _add_up(values: Any, bounds: Any, models: Any, table: Any, moments: Any, bins: Any, tails: Any) -> Any:
    borders, first, guides, starts, multiples = table
    ns, (means, m2s, lows, highs) = moments[0], moments[1]
    ptr, bin_at, bin_n, counts = bins
    tail_ptr, tail_at, tail_n, tail_counts = tails
    used, tail_used = 0, 0
    for cell in range(len(bounds) - 1):
        for measure in range(len(values)):
            column, at = values[measure][bounds[cell] : bounds[cell + 1]], (measure, cell)
            edge = models[cell] * len(values) + measure
            ns[at], means[at], m2s[at], lows[at], highs[at] = _moments(column)
            if ns[at] and first[edge] < first[edge + 1]:
                _count(column, borders[first[edge] : first[edge + 1]], guides[edge], counts)
                used = _write(counts, bin_at, bin_n, used)
                if 0.0 < starts[edge] < highs[at]:
                    count_tail(column, starts[edge], multiples, tail_counts)
                    tail_used = _write(tail_counts, tail_at, tail_n, tail_used)
            ptr[cell * len(values) + measure + 1] = used
            tail_ptr[cell * len(values) + measure + 1] = tail_used
    return used, tail_used


@compiled
def _moments(column: Any) -> Any:
    """(n, mean, centred sum of squares, least, most) of the values that are not NaN."""
    n, total, low, high = 0, 0.0, np.inf, -np.inf
    for x in column:
        if x == x:
            n += 1
            total += x
            low, high = min(low, x), max(high, x)
    if low == high:
        return n, low, 0.0, low, high  # a constant stays exact in spite of rounding
    mean, m2 = _finite(total / max(n, 1)), 0.0
    for x in column:
        if x == x:
            m2 += (x - mean) * (x - mean)
    return n, mean, _finite(m2), low, high


@compiled
def _write(counts: Any, bin_at: Any, bin_n: Any, used: int) -> int:
    """Append the counts that are not zero to the bins written so far, and set them to zero."""
    for place in range(len(counts)):
        if counts[place]:
            bin_at[used], bin_n[used] = place, counts[place]
            counts[place] = 0
            used += 1
    return used


@inlined
def _bin(borders: Any, x: float) -> int:
    """The number of edges below x, by bisection without a branch that depends on x: nothing is mispredicted."""
    base, length = 0, len(borders)
    while length > 1:
        half = length >> 1
        base += half if borders[base + half - 1] < x else 0
        length -= half
    return base + (1 if borders[base] < x else 0)


@compiled
def _count(column: Any, borders: Any, guide: Any, counts: Any) -> None:
    """Count values by bin; the bin of x is the number of edges below x.

    Within its range the guide gives the bin at which the search begins, one step early so that rounding cannot matter.
    Outside its range `_bin` bisects.
    """
    least, most = _body(borders)
    scale = len(guide) / (most - least)
    for x in column:
        if least < x < most:
            step: Any = np.int64((x - least) * scale)
            place: Any = np.int64(guide[max(min(step, len(guide) - 1) - 1, 0)])
            while borders[place] < x:
                place += 1
            counts[place] += 1
        elif x == x:
            counts[_bin(borders, x)] += 1
