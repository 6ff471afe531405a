"""The Hellinger distance."""

from __future__ import annotations

import numpy as np

from stream_monitor.detect.windows.binned import Compared, Tested, coarse, noncentral_tail, scale_of, with_one_more


def test(data: Compared, tolerance: float) -> Tested:
    """Hellinger distance H over the groups of `psi`, 0 to 1: H² = Σ (√p - √q)² / 2 (Hellinger 1909).

    Without drift 8 H² / (1/n + 1/m) is asymptotically χ²: roots of shares have the same variance (Freeman, Tukey 1950).

    The first window has the shares of the baseline, the second one does not:

    >>> base, now = np.array([[50, 30, 20], [50, 30, 20]]), np.array([[50, 30, 20], [20, 30, 50]])
    >>> test(Compared(base, now, widths=np.ones((2, 3))), tolerance=0.0).score.round(3).tolist()
    [0.0, 0.252]
    """
    base, now, degrees = coarse(data.base, data.now, data.order)
    p, q = with_one_more(base, now)
    square = np.where(base + now > 0, (np.sqrt(p) - np.sqrt(q)) ** 2, 0.0).sum(axis=1) / 2
    return Tested(np.sqrt(square), noncentral_tail(8 * square, 8 * tolerance**2, scale_of(data), degrees))
