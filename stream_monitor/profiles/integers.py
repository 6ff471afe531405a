"""Measures of whole numbers: counts, ratings, 0 and 1. Their quantiles are whole numbers too."""

from __future__ import annotations

import math

import numpy as np

from stream_monitor.profiles.bins import DOUBLINGS
from stream_monitor.types import F64


def are_whole(borders: F64, ends: tuple[float, float]) -> bool:
    """Whether a measure has only whole numbers, judged by its ends (least, largest value) and its edges.

    The edges of the body are values of the measure. A measure with other numbers would have some among them, unless
    fewer than one in a hundred of its values is not whole.
    """
    body = borders[DOUBLINGS:-DOUBLINGS]
    low, high = ends
    return -np.inf < low <= high < np.inf and bool(len(body)) and bool(np.all(np.mod([*body, low, high], 1) == 0))


def whole(quantile: float) -> float:
    """The least whole number at or below which as many values lie as below the interpolated `quantile`."""
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
