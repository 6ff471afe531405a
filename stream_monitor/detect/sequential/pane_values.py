"""A pane as single values, for detectors that take one value at a time; the order within a pane is unknown."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from stream_monitor.types import F64, I64

GOLDEN = (5**0.5 - 1) / 2


class Bins(NamedTuple):
    """The bin counts of a pane: `n[i]` values in bin `at[i]`, ascending; no value is above `most`."""

    borders: F64
    at: I64
    n: I64
    most: float


def shuffled_hits(n: int, hits: int, seed: int) -> list[float]:
    """`hits` ones among n values, in a random order that follows from `seed`, as for independent values."""
    values = np.zeros(n)
    values[:hits] = 1.0
    shuffled = np.random.default_rng(abs(seed)).permutation(values) if 0 < hits < n else values
    return [float(x) for x in shuffled]


@lru_cache(512)
def evenly_spaced_hits(n: int, hits: int) -> tuple[float, ...]:
    """`hits` ones among n values, spread as evenly as whole numbers allow, with similar distances at both ends.

    Value i is a one if (2 (i + 1) hits + n) // 2n is above (2 i hits + n) // 2n: Bresenham's line.

    >>> evenly_spaced_hits(8, 2)
    (0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0)
    """
    steps = (2 * np.arange(n + 1) * hits + n) // (2 * max(n, 1))
    return tuple(np.diff(steps).astype(float).tolist())


def representative_values(bins: Bins, cap: int) -> F64:
    """At most `cap` values of a pane, in an order in which every stretch is distributed like the whole pane.

    A value is represented by the upper edge of its bin, in the last bin by `most`. That is exact for measures of few
    values. If there are more than `cap` values, those at evenly spaced ranks are taken. The order is that of the
    fractional parts of i times the golden ratio (Weyl), so that a sorted pane is no trend.
    """
    n = int(bins.n.sum())
    of_bin = np.append(bins.borders, bins.most)[bins.at]
    count = min(n, cap)
    ranks = ((_order(count) + 0.5) / max(count, 1) * n).astype(np.int64)
    return np.asarray(of_bin[np.searchsorted(np.cumsum(bins.n), ranks, side="right")])


@lru_cache(256)
def _order(count: int) -> I64:
    """A permutation of 0 … count - 1."""
    return np.argsort(np.argsort(np.arange(count) * GOLDEN % 1.0))
