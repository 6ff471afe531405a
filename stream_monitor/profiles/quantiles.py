"""Quantiles of a window or a baseline, and shares of its values, from its bin counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from stream_monitor.profiles.bins import point_bins
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


NO_VALUES = Extent(math.inf, -math.inf)


def quantile(counts: I64, borders: F64, share: float, low: float, high: float) -> float:
    """The value at or below which `share` of the values lie, as `quantiles` finds it without moments."""
    return quantiles(counts, borders, (share,), Extent(low, high))[0]


def quantiles(counts: I64, borders: F64, shares: Sequence[float], extent: Extent) -> list[float]:
    """The quantiles of several shares.

    In the bin of an atom it is the atom. If all values but those of one bin are atoms, and that bin holds a single
    value, it is that value: the moments tell it. In any other bin the values count as evenly spread.

    Args:
        counts: (BINS,) the bin counts.
        borders: the edges.
        shares: from 0 to 1.
        extent: the sample's ends and moments.
    """
    cumulative = counts.cumsum()
    total = int(cumulative[-1])
    points, lone = point_bins(borders), _lone_value(counts, borders, extent)
    values = list[float]()
    for share in shares:
        place = min(int(cumulative.searchsorted(share * total)), len(borders))
        right = min(float(borders[place]) if place < len(borders) else extent.high, extent.high)
        left = right if points[place] else max(float(borders[place - 1]) if place > 0 else extent.low, extent.low)
        if lone is not None and lone[0] == place:
            left = right = lone[1]
        before = int(cumulative[place - 1]) if place > 0 else 0
        inside = int(counts[place]) or 1
        values.append(left + (right - left) * min(max((share * total - before) / inside, 0.0), 1.0))
    return values


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
    rest = extent.m2 - float((counts[atoms] * apart**2).sum()) - inside * mean**2
    if not abs(rest) <= n * 1e-9 * max(extent.m2 / n, 0.0):
        return None
    error = EXACT * (abs(extent.mean) + math.sqrt(extent.m2 / n))
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
