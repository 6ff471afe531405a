"""The Jensen-Shannon distance."""

from __future__ import annotations

import numpy as np

from stream_monitor.detect.windows.binned import Compared, Tested, coarse, noncentral_tail, scale_of, smoothed, steadied


def test(data: Compared, tolerance: float) -> Tested:
    """Jensen-Shannon distance (base 2, 0 to 1).

    Without drift 8 JS[nats] / (1/n + 1/m) is asymptotically χ², where JS is the squared distance in nats.

    The first window has the shares of the baseline, the second one does not:

    >>> base, now = np.array([[50, 30, 20], [50, 30, 20]]), np.array([[50, 30, 20], [20, 30, 50]])
    >>> test(Compared(base, now, widths=np.ones((2, 3))), tolerance=0.0).score.round(3).tolist()
    [0.0, 0.3]
    """
    base, now, degrees = coarse(data.base, data.now, data.order)
    p, q = smoothed(base), smoothed(steadied(base, now))
    middle = (p + q) / 2
    used = base + now > 0
    nats = np.where(used, p * np.log(p / middle) + q * np.log(q / middle), 0.0).sum(axis=1) / 2
    nats = np.maximum(nats, 0.0)
    limit = 8 * tolerance**2 * np.log(2)
    return Tested(np.sqrt(nats / np.log(2)), noncentral_tail(8 * nats, limit, scale_of(data), degrees))
