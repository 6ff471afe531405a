"""The population stability index."""

from __future__ import annotations

import numpy as np

from stream_monitor.detect.windows.binned import Compared, Tested, coarse, noncentral_tail, scale_of, with_one_more


def test(data: Compared, tolerance: float) -> Tested:
    """Population stability index over at most ten groups of equal baseline mass.

    Without drift PSI ≈ (1/n + 1/m) χ²(groups - 1) (Yurdakul 2018). Around a true value of `tolerance` the χ² is
    noncentral. The test uses fewer groups if a group would expect fewer than ten values. It adds one value to each
    group, because the logarithm of a nearly empty group goes far beyond the χ².

    The first window has the shares of the baseline, the second one does not:

    >>> base, now = np.array([[50, 30, 20], [50, 30, 20]]), np.array([[50, 30, 20], [20, 30, 50]])
    >>> test(Compared(base, now, widths=np.ones((2, 3))), tolerance=0.0).score.round(3).tolist()
    [0.0, 0.517]
    """
    base, now, degrees = coarse(data.base, data.now, data.order)
    p, q = with_one_more(base, now)
    score = np.where(base + now > 0, (q - p) * np.log(q / p), 0.0).sum(axis=1)
    return Tested(score, noncentral_tail(score, tolerance, scale_of(data), degrees))
