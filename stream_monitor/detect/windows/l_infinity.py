"""The largest difference of a share."""

from __future__ import annotations

import numpy as np

from stream_monitor.detect.windows.binned import Compared, Tested
from stream_monitor.detect.windows.shares import share


def test(data: Compared, tolerance: float) -> Tested:
    """Largest difference of a category's share, 0 to 1.

    p is the smallest of `share` over those that occur, times their number (Bonferroni): if the largest true difference
    is within the tolerance, all are. Conservative where many move together.
    """
    base, now = data.base, data.now
    row, at = np.nonzero(base + now)
    m, n = base.sum(axis=1), now.sum(axis=1)
    each = share((base[row, at], m[row]), (now[row, at], n[row]), tolerance)
    score, p = np.zeros(len(base)), np.ones(len(base))
    np.maximum.at(score, row, np.abs(each.score))
    np.minimum.at(p, row, each.p)
    return Tested(score, np.minimum(1.0, p * np.bincount(row, minlength=len(base)).clip(1)))
