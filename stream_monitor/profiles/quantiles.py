"""Quantiles of a window or a baseline, and shares of its values, from its bin counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from stream_monitor.profiles.bins import point_bins
from stream_monitor.profiles.tails import RATIO, TAIL_BINS, Tail, tail_edges
from stream_monitor.types import F64, I64

EXACT = 1e-12
"""Error of a value that is computed from moments, as a share of their size; sums of doubles are more exact."""


class Extent(NamedTuple):
    """What is known of a sample besides its bin counts: its least and largest value, and where they are its moments."""

    low: float
    high: float
    mean: float = math.nan
    m2: float = math.nan
    """Centred sum of squares."""
    tail: Tail | None = None
    """The values above the tail's start. Values that came from workers without a tail may be missing there."""


NO_VALUES = Extent(math.inf, -math.inf)


def quantile(counts: I64, borders: F64, share: float, low: float, high: float) -> float:
    """The value at or below which `share` of the values lie, as `quantiles` finds it without moments."""
    return quantiles(counts, borders, (share,), Extent(low, high))[0]


def quantiles(counts: I64, borders: F64, shares: Sequence[float], extent: Extent) -> list[float]:
    """The quantiles of several shares, as `Quantiles` finds them."""
    reader = Quantiles(counts, borders, extent)
    return [reader.at(share) for share in shares]


class Quantiles:
    """Quantiles of a sample.

    In the bin of an atom it is the atom. If all values but those of one bin are atoms, and that bin holds a single
    value, it is that value: the moments tell it. In a bin of the tail it is the middle. In any other bin the values
    count as evenly spread.

    Args:
        counts: (BINS,) the bin counts.
        borders: the edges.
        extent: the sample's ends, moments and tail.
    """

    def __init__(self, counts: I64, borders: F64, extent: Extent) -> None:
        self.counts, self.borders, self.extent = counts, borders, extent
        self._below = counts.cumsum()
        self._points, self._lone = point_bins(borders), _lone_value(counts, borders, extent)
        self._tail, self._body = _whole_tail(self._below, borders, extent.tail)

    def _place(self, share: float) -> int:
        return min(int(self._below.searchsorted(share * int(self._below[-1]))), len(self.borders))

    def _ends(self, place: int) -> tuple[float, float]:
        """The ends of the values in a bin."""
        borders, extent = self.borders, self.extent
        right = min(float(borders[place]) if place < len(borders) else extent.high, extent.high)
        if self._lone is not None and self._lone[0] == place:
            return self._lone[1], self._lone[1]
        if self._points[place]:
            return right, right
        return max(float(borders[place - 1]) if place > 0 else extent.low, extent.low), right

    def at(self, share: float) -> float:
        """The value at or below which `share` (0 to 1) of the values lie."""
        place, wanted = self._place(share), share * int(self._below[-1])
        left, right = self._ends(place)
        if left < right and self._tail is not None and place > self._body:
            return self._in_tail(wanted - int(self._below[self._body]))
        before = int(self._below[place - 1]) if place > 0 else 0
        inside = int(self.counts[place]) or 1
        part = min(max((wanted - before) / inside, 0.0), 1.0)
        width = right - left
        inner = left + width * part if math.isfinite(width) else left * (1 - part) + right * part
        return min(max(inner, left), right)

    def is_coarse(self, share: float) -> bool:
        """Whether the quantile is interpolated in a bin that is wider than those of a tail."""
        place = self._place(share)
        left, right = self._ends(place)
        known = self._tail is not None and place > self._body
        return not known and right - left > (RATIO - 1) * max(abs(left), abs(right))

    def _in_tail(self, wanted: float) -> float:
        assert self._tail is not None
        place = min(int(self._tail.counts.cumsum().searchsorted(wanted)), TAIL_BINS - 1)
        edges, extent = tail_edges(self._tail.start), self.extent
        left = max(float(edges[place]), extent.low)
        right = min(float(edges[place + 1]) if place + 1 < TAIL_BINS else extent.high, extent.high)
        return math.sqrt(left) * math.sqrt(max(right, left))


def _whole_tail(below: I64, borders: F64, tail: Tail | None) -> tuple[Tail | None, int]:
    """The tail, if it holds all values above its start, and the last bin before it."""
    if tail is None:
        return None, 0
    body = int(np.searchsorted(borders, tail.start))
    if body >= len(borders) or borders[body] != tail.start:
        return None, 0
    return (tail if int(tail.counts.sum()) == int(below[-1] - below[body]) else None), body


def _lone_value(counts: I64, borders: F64, extent: Extent) -> tuple[int, float] | None:
    """(bin, value) of the one bin with values that are no atoms, if all its values are equal; else None.

    Its mean is what the atoms leave of the sum, and its values are equal if nothing is left of the sum of squares.
    """
    if not math.isfinite(extent.mean):
        return None
    points = point_bins(borders)
    used = np.flatnonzero(counts[: len(points)])
    others = used[~points[used]]
    if len(others) != 1 or len(used) < 2:
        return None
    place, atoms = int(others[0]), used[points[used]]
    inside, n = int(counts[place]), int(counts.sum())
    apart = borders[atoms] - extent.mean
    mean = -float((counts[atoms] * apart).sum()) / inside
    rest = extent.m2 - float((counts[atoms] * apart**2).sum()) - inside * mean * mean
    if not abs(rest) <= n * 1e-9 * max(extent.m2 / n, 0.0):
        return None
    error = EXACT * (abs(extent.mean) + math.sqrt(extent.m2 / n))
    if not 0 < error < math.inf:  # numbers at the ends of what doubles hold: their squares are 0 or infinite
        return None
    value = round(extent.mean + mean, -math.floor(math.log10(error)) - 1)
    left = float(borders[place - 1]) if place > 0 else -math.inf
    right = float(borders[place]) if place < len(borders) else math.inf
    least, most = max(left, extent.low), min(right, extent.high)
    return (place, min(max(value, least), most)) if least - error <= value <= most + error else None


def share_above(counts: I64, borders: F64, value: float) -> float | None:
    """The exact share of values above `value` if that is an edge, else None."""
    place = int(np.searchsorted(borders, value, side="left"))
    if place >= len(borders) or borders[place] != value:
        return None
    total = int(counts.sum())
    return float(counts[place + 1 :].sum()) / total if total else None
