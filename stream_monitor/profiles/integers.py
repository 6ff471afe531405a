"""Measures of whole numbers: counts, ratings, 0 and 1. Their quantiles are whole numbers too."""

from __future__ import annotations

import math

import numpy as np

from stream_monitor.profiles.bins import DOUBLINGS, point_bins
from stream_monitor.profiles.tails import NO_TAIL, tail_edges
from stream_monitor.types import F64


def are_whole(borders: F64, ends: tuple[float, float]) -> bool:
    """Whether a measure has only whole numbers, judged by its ends (least, largest value) and its edges.

    The edges of the body are values of the measure, but for those just below atoms. A measure with other numbers would
    have some among them, unless fewer than one in a hundred of its values is not whole.
    """
    below_atom = np.append(point_bins(borders)[1:-1], [False])
    body = borders[DOUBLINGS:-DOUBLINGS][~below_atom[DOUBLINGS:-DOUBLINGS]]
    low, high = ends
    return -np.inf < low <= high < np.inf and bool(len(body)) and bool(np.all(np.mod([*body, low, high], 1) == 0))


def whole(quantile: float, tail: float = NO_TAIL) -> float:
    """The least whole number at or below which as many values lie as below the interpolated `quantile`.

    In the tail that starts at `tail` it is the whole number of the quantile's bin that is nearest to the quantile.
    """
    if tail != NO_TAIL and quantile > tail:
        edges = tail_edges(tail)
        place = int(np.searchsorted(edges, quantile)) - 1
        least = math.floor(edges[place]) + 1
        most = math.floor(edges[place + 1]) if place + 1 < len(edges) else max(round(quantile), least)
        if least <= most:
            return float(min(max(round(quantile), least), most))
    return float(math.ceil(quantile))


def name_of(above: float | None, to: float | None, ends: tuple[float, float]) -> str | None:
    """The whole numbers of a bin (above, to] as a name; None if it has several and no bound on a side, or has none."""
    first = None if above is None else math.floor(above) + 1
    last = None if to is None else math.floor(to)
    least = ends[0] if first is None else max(first, ends[0])
    most = ends[1] if last is None else min(last, ends[1])
    if least == most or (first is not None and first == last):
        return f"{most if first is None else max(least, first):.6g}"
    return None if first is None or last is None or least > most else f"{first:.6g} … {last:.6g}"


def name_of_atom(borders: F64, above: float | None, to: float | None) -> str | None:
    """The value of a bin (above, to] that holds an atom alone, or that it ends just below an atom; else None."""
    if above is None or to is None:
        return None
    place, points = int(np.searchsorted(borders, to)), np.append(point_bins(borders), False)
    if points[place] and borders[place - 1] == above:
        return f"{to:.6g}"
    return f"between {above:.6g} and {borders[place + 1]:.6g}" if points[place + 1] else None
