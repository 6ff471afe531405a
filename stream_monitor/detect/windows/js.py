"""The Jensen-Shannon distance."""

from __future__ import annotations

import numpy as np

from stream_monitor.detect.windows.binned import Compared, Tested, coarse, noncentral_tail, scale_of, smoothed, steadied


def test(data: Compared, tolerance: float) -> Tested:
    """Jensen-Shannon distance (base 2, 0 to 1). 8 JS[nats] / (1/n + 1/m) is asymptotically χ² without drift."""
    base, now, degrees = coarse(data.base, data.now)
    p, q = smoothed(base), smoothed(steadied(base, now))
    middle = (p + q) / 2
    used = base + now > 0
    nats = np.where(used, p * np.log(p / middle) + q * np.log(q / middle), 0.0).sum(axis=1) / 2
    nats = np.maximum(nats, 0.0)
    limit = 8 * tolerance**2 * np.log(2)
    return Tested(np.sqrt(nats / np.log(2)), noncentral_tail(8 * nats, limit, scale_of(data), degrees))
