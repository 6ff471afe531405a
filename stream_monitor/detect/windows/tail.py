"""The growth of the upper tail: the shares of values above the baseline's p95 and p99."""

from __future__ import annotations

import numpy as np
from scipy import special

from stream_monitor.detect.windows.binned import Compared, Tested

CUTS = (0.05, 0.01)
"""The shares of the baseline above its p95 and p99. The test uses the edges with the nearest shares."""
LEAST = 0.5
"""Values that stand for none in the score, so that a growth from nothing is finite."""


def test(data: Compared, tolerance: float) -> Tested:
    """Relative growth of the share of values above the baseline's p95, or its p99: 1 if that share doubles.

    A tail that shrinks is no effect. Given the number of values above a cut in both samples, those of the window are
    binomial (Przyborowski and Wilenski 1940): exact for shares that are small. p is the smaller p-value of the two
    cuts, multiplied by 2 (Bonferroni).

    The first window has the shares of the baseline, the second one does not:

    >>> base, now = np.array([[950, 40, 10], [950, 40, 10]]), np.array([[950, 40, 10], [910, 50, 40]])
    >>> test(Compared(base, now, widths=np.ones((2, 3))), tolerance=0.0).score.round(3).tolist()
    [0.0, 3.0]
    """
    rows = np.arange(len(data.base))
    m, n = data.base.sum(axis=1), data.now.sum(axis=1)
    base_above, now_above = (side.sum(axis=1)[:, None] - np.cumsum(side, axis=1) for side in (data.base, data.now))
    score, p = np.zeros(len(rows)), np.ones(len(rows))
    for cut in CUTS:
        place = np.abs(base_above - cut * m[:, None]).argmin(axis=1)
        a, b = np.maximum(base_above[rows, place], 0.0), np.maximum(now_above[rows, place], 0.0)
        growth = b / np.maximum(n, 1) * np.maximum(m, 1) / np.maximum(a, LEAST) - 1
        odds = (1 + tolerance) * n
        share = odds / np.maximum(odds + m, 1)
        tail = np.where(b > 0, special.betainc(np.maximum(b, 1e-9), a + 1, share), 1.0)
        score, p = np.maximum(score, growth), np.minimum(p, tail)
    return Tested(score, np.clip(len(CUTS) * p, 1e-300, 1.0))
