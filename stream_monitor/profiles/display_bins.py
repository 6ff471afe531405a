"""Display bins: the at most 16 bins on which records show how the values of a window are distributed.

They depend on the edges of a measure (numbers) or on its baseline (categories) alone, and not on the window. So the
shapes of two windows can be laid side by side, and the shapes of the windows of an hour add up to that of the hour.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import islice

import numpy as np

from stream_monitor.profiles.bins import DOUBLINGS
from stream_monitor.types import F64, I64

INNER = 14
"""Display bins between the least and the largest value that made the edges. One more lies on either side."""
NAMES = 12
"""Categories with a display bin of their own: the most frequent ones of the baseline."""


@lru_cache(maxsize=256)
def _last_bins(borders: int) -> I64:
    """The last bin of each display bin but the last one, for so many borders."""
    below, top = (DOUBLINGS, borders - DOUBLINGS - 1) if borders > 2 * DOUBLINGS else (0, borders - 1)
    return np.unique(np.linspace(below, top, INNER + 1).round().astype(np.int64))


def display_edges(borders: F64) -> list[float]:
    """The upper ends of all display bins but the last one, which has none.

    >>> display_edges(np.arange(4.0))
    [0.0, 1.0, 2.0, 3.0]
    """
    return [float(x) for x in borders[_last_bins(len(borders))]]


def numeric_shape(counts: I64, borders: F64) -> list[int]:
    """The values in each display bin, from the (BINS,) counts on the edges.

    >>> numeric_shape(np.array([1, 2, 3, 4, 5, 0]), np.arange(4.0))
    [1, 2, 3, 4, 5]
    """
    starts = np.concatenate([[0], _last_bins(len(borders)) + 1])
    shape: list[int] = np.add.reduceat(counts, starts).tolist()
    return shape


def display_names(categories: Iterable[str]) -> list[str]:
    """The categories with a display bin, from those of a baseline, the most frequent first."""
    return [*islice(categories, NAMES)]


def category_shape(baseline: Mapping[str, int], counts: Mapping[str, int], n: int) -> list[int]:
    """The values of each of `display_names`, of the baseline's other categories, and of all that it does not name.

    >>> category_shape({"a": 5, "b": 4}, {"a": 1, "c": 2}, 3)
    [1, 0, 0, 2]
    """
    shown = [counts.get(name, 0) for name in display_names(baseline)]
    others = sum(counts.get(name, 0) for name in islice(baseline, NAMES, None))
    return [*shown, others, n - sum(shown) - others]
