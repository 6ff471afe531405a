"""The largest difference between two shares of a category."""

from __future__ import annotations

import numpy as np

from stream_monitor.detect.windows.binned import Compared, Tested
from stream_monitor.detect.windows.shares import share


def test(data: Compared, tolerance: float) -> Tested:
    """Largest difference of a category's share, 0 to 1.

    p is the smallest p-value of `share` over the categories that occur, multiplied by their number (Bonferroni). If the
    largest true difference is within the tolerance, all differences are. The test is conservative if many shares move
    together.

    The first window has the shares of the baseline, the second one does not:

    >>> base, now = np.array([[50, 30, 20], [50, 30, 20]]), np.array([[50, 30, 20], [20, 30, 50]])
    >>> test(Compared(base, now, widths=np.ones((2, 3))), tolerance=0.0).score.round(3).tolist()
    [0.0, 0.3]
    """
    base, now = data.base, data.now
    row, category = np.nonzero(base + now)
    m, n = base.sum(axis=1), now.sum(axis=1)
    each = share((base[row, category], m[row]), (now[row, category], n[row]), tolerance)
    score, p = np.zeros(len(base)), np.ones(len(base))
    np.maximum.at(score, row, np.abs(each.score))
    np.minimum.at(p, row, each.p)
    return Tested(score, np.minimum(1.0, p * np.bincount(row, minlength=len(base)).clip(1)))
