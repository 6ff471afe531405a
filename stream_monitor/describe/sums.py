"""Moments and bin counts of columns, cell by cell, in one compiled pass over the values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from stream_monitor.compiling import compiled, inlined
from stream_monitor.describe.edges import BINS, DOUBLINGS, Edges
from stream_monitor.types import F64, I64

_LARGEST = np.finfo(np.float64).max
GUIDES = 256
GUIDED = 1_000
"""Values of a column from which on a table that says where to look pays for itself."""


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
        np.zeros(BINS, np.uint32), np.zeros((measures, GUIDES), np.int64),
    )  # fmt: skip
    sums.bin_at, sums.bin_n = sums.bin_at[:used], sums.bin_n[:used]
    return sums


@inlined
def _finite(x: float) -> float:
    return 0.0 if x != x else min(max(x, -_LARGEST), _LARGEST)


@compiled
def _add_up(
    values: Any, bounds: Any, borders: Any, first: Any, moments: Any, bins: Any, counts: Any, guides: Any
) -> int:
    ns, means, m2s, lows, highs = moments
    ptr, bin_at, bin_n = bins
    used = 0
    guided = values.shape[1] >= GUIDED
    if guided:
        for measure in range(len(values)):
            _guide(borders, first[measure], first[measure + 1], guides[measure])
    for cell in range(len(bounds) - 1):
        for measure in range(len(values)):
            column, at = values[measure][bounds[cell] : bounds[cell + 1]], (measure, cell)
            ns[at], means[at], m2s[at], lows[at], highs[at] = _moments(column)
            span = first[measure], first[measure + 1]
            if ns[at] and span[0] < span[1]:
                if guided and span[1] - span[0] > 1:
                    _count_guided(column, borders, span, guides[measure], counts)
                else:
                    _count(column, borders, span, counts)
                used = _write(counts, bin_at, bin_n, used)
            ptr[cell * len(values) + measure + 1] = used
    return used


@compiled
def _moments(column: Any) -> Any:
    """(n, mean, centred sum of squares, least, most) of what is no NaN."""
    n, total, low, high = 0, 0.0, np.inf, -np.inf
    for x in column:
        if x == x:
            n += 1
            total += x
            low, high = min(low, x), max(high, x)
    if low == high:
        return n, low, 0.0, low, high  # exactly constant, whatever rounding says
    mean, m2 = _finite(total / max(n, 1)), 0.0
    for x in column:
        if x == x:
            m2 += (x - mean) * (x - mean)
    return n, mean, _finite(m2), low, high


@compiled
def _write(counts: Any, bin_at: Any, bin_n: Any, used: int) -> int:
    """Move what was counted behind the bins written so far; the counts are zero again."""
    for place in range(len(counts)):
        if counts[place]:
            bin_at[used], bin_n[used] = place, counts[place]
            counts[place] = 0
            used += 1
    return used


@inlined
def _bin(borders: Any, low: int, high: int, x: float) -> int:
    """The number of borders below x, by halving without a branch that depends on x: nothing is mispredicted."""
    base, length = low, high - low
    while length > 1:
        half = length >> 1
        base += half if borders[base + half - 1] < x else 0
        length -= half
    return base - low + (1 if borders[base] < x else 0)


@compiled
def _count(column: Any, borders: Any, span: Any, counts: Any) -> None:
    """Count values by bin: the bin of x is the number of borders below x."""
    low, high = span
    for x in column:
        if x == x:
            counts[_bin(borders, low, high, x)] += 1


@inlined
def _body(borders: Any, low: int, high: int) -> Any:
    """(least, most) of the borders that are no doubling steps; the guide divides this range evenly."""
    outer = DOUBLINGS if high - low > 2 * DOUBLINGS + 1 else 0
    return borders[low + outer], borders[high - 1 - outer]


@compiled
def _guide(borders: Any, low: int, high: int, guide: Any) -> None:
    """For each of the even steps the first border that is not below its start, so that a search can begin there."""
    if high - low < 2:
        return
    least, most = _body(borders, low, high)
    place = low
    for step in range(len(guide)):
        start = least + (most - least) / len(guide) * step
        while place < high and borders[place] < start:
            place += 1
        guide[step] = place


@compiled
def _count_guided(column: Any, borders: Any, span: Any, guide: Any, counts: Any) -> None:
    """As `_count`, for many values: a guide says where to begin, one step early so that rounding cannot matter."""
    low, high = span
    least, most = _body(borders, low, high)
    scale = len(guide) / (most - least)
    for x in column:
        if least < x < most:
            step: Any = np.int64((x - least) * scale)
            place = guide[max(min(step, len(guide) - 1) - 1, 0)]
            while borders[place] < x:
                place += 1
            counts[place - low] += 1
        elif x == x:
            counts[_bin(borders, low, high, x)] += 1
