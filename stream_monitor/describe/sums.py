"""Moments and bin counts of columns, cell by cell, in one compiled pass over the values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from stream_monitor.compiling import compiled, inlined
from stream_monitor.describe.edges import BINS, Edges
from stream_monitor.types import F64, I64

_LARGEST = np.finfo(np.float64).max


@dataclass(slots=True)
class Sums:
    """Moments, each (measures, cells), and sparse bin counts: those of (cell, measure) lie at ptr[cell, measure]."""

    n: I64
    mean: F64
    m2: F64
    low: F64
    high: F64
    ptr: I64
    """(cells · measures + 1,): first entry of each pair, cell by cell."""
    bin_at: np.ndarray[Any, Any]
    bin_n: np.ndarray[Any, Any]


def add_up(values: F64, bounds: I64, edges: list[Edges | None]) -> Sums:
    """Add up the columns `values` (measures, n), of which rows bounds[c] to bounds[c + 1] belong to cell c.

    NaN is no value. Bins are counted where there are edges. Sums beyond the largest double stay at it.
    """
    measures, cells = len(values), len(bounds) - 1
    borders = [e.borders if e is not None else np.empty(0) for e in edges]
    first = np.cumsum([0, *map(len, borders)])
    counted = sum(e is not None for e in edges)
    room = min(counted * values.shape[1], counted * cells * BINS)
    sums = Sums(
        n=np.zeros((measures, cells), np.int64),
        mean=np.zeros((measures, cells)),
        m2=np.zeros((measures, cells)),
        low=np.zeros((measures, cells)),
        high=np.zeros((measures, cells)),
        ptr=np.zeros(measures * cells + 1, np.int64),
        bin_at=np.empty(room, np.uint8),
        bin_n=np.empty(room, np.uint32),
    )
    moments = (sums.n, sums.mean, sums.m2, sums.low, sums.high)
    used = _add_up(
        values, bounds, np.concatenate([*borders, np.empty(0)]), first, moments, (sums.ptr, sums.bin_at, sums.bin_n),
        np.zeros(BINS, np.uint32),
    )  # fmt: skip
    sums.bin_at, sums.bin_n = sums.bin_at[:used], sums.bin_n[:used]
    return sums


@inlined
def _finite(x: float) -> float:
    return 0.0 if x != x else min(max(x, -_LARGEST), _LARGEST)


@compiled
def _add_up(values: Any, bounds: Any, borders: Any, first: Any, moments: Any, bins: Any, counts: Any) -> int:
    ns, means, m2s, lows, highs = moments
    ptr, bin_at, bin_n = bins
    used = 0
    for cell in range(len(bounds) - 1):
        start, end = bounds[cell], bounds[cell + 1]
        for measure in range(len(values)):
            column = values[measure]
            n, total, low, high = 0, 0.0, np.inf, -np.inf
            for i in range(start, end):
                x = column[i]
                if x == x:
                    n += 1
                    total += x
                    low, high = min(low, x), max(high, x)
            if n and low == high:
                mean, m2 = low, 0.0  # exactly constant, whatever rounding says
            else:
                mean, m2 = _finite(total / max(n, 1)), 0.0
                for i in range(start, end):
                    x = column[i]
                    if x == x:
                        m2 += (x - mean) * (x - mean)
            at = measure, cell
            ns[at], means[at], m2s[at], lows[at], highs[at] = n, mean, _finite(m2), low, high
            if n and first[measure] < first[measure + 1]:
                used = _count(
                    column, start, end, borders, first[measure], first[measure + 1], counts, bin_at, bin_n, used
                )
            ptr[cell * len(values) + measure + 1] = used
    return used


@compiled
def _count(
    column: Any,
    start: int,
    end: int,
    borders: Any,
    low: int,
    high: int,
    counts: Any,
    bin_at: Any,
    bin_n: Any,
    used: int,
) -> int:
    """Sparse counts of one column and cell from `used` on; the bin of x is the number of borders below x."""
    counts[:] = 0
    for i in range(start, end):
        x = column[i]
        if x == x:
            base, length = low, high - low
            while length > 1:  # without a branch that depends on the value, so that nothing is mispredicted
                half = length >> 1
                base += half if borders[base + half - 1] < x else 0
                length -= half
            counts[base - low + (1 if borders[base] < x else 0)] += 1
    for place in range(len(counts)):
        if counts[place]:
            bin_at[used], bin_n[used] = place, counts[place]
            used += 1
    return used
