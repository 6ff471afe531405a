"""The comparison of two shares, such as those of missing values, new categories or one category."""

from __future__ import annotations

import numpy as np
from scipy import special

from stream_monitor.detect.windows.binned import Counts, Tested
from stream_monitor.types import F64


def share(base: tuple[Counts, Counts], now: tuple[Counts, Counts], tolerance: float) -> Tested:
    """Test whether two shares differ by more than the tolerance, in either direction.

    The statistic is the signed root of the likelihood ratio between any two shares and the likeliest two that differ by
    the tolerance, with a continuity correction of half a hit. A normal approximation with the error of the shares
    themselves fails in the tails. This statistic holds there, down to no hit at all: at 1e-2 to 1e-7 its p-value is 1.4
    to 3.4 times one tail of the exact binomial.

    Args:
        base: (hits, total) of the baseline, (R,) each.
        now: (hits, total) of the window.
        tolerance: the largest difference that is no drift.
    """
    (a, m), (b, n) = base, now
    raw = b / np.maximum(n, 1) - a / np.maximum(m, 1)
    way = np.where(raw > 0, 1.0, -1.0)
    p, q = (a + 0.5) / (m + 1), np.clip(b - way / 2, 0, n) / np.maximum(n, 1)
    testable = (np.minimum(m, n) > 0) & (np.abs(raw) > tolerance)
    beyond, root = np.flatnonzero(testable & (way * (q - p) > tolerance)), np.zeros(len(raw))
    if len(beyond):
        p, q, m, n, gap = p[beyond], q[beyond], m[beyond] + 1, n[beyond], way[beyond] * tolerance
        p0 = _nearest((p, m), (q, n), gap)
        root[beyond] = np.sqrt(2 * (n * _divergence(q, p0 + gap) + m * _divergence(p, p0)))
    return Tested(raw, np.minimum(1.0, 2 * special.ndtr(-root)))


def _nearest(base: tuple[F64, Counts], now: tuple[F64, Counts], gap: F64) -> F64:
    """The share p for which p and p + gap are likeliest, given (share, total) of each; by bisection."""
    (p, m), (q, n) = base, now
    low, high = np.maximum(0.0, -gap), np.minimum(1.0, 1.0 - gap)
    for _ in range(30):
        middle = (low + high) / 2
        other = middle + gap
        slope = m * (p - middle) * other * (1 - other) + n * (q - other) * middle * (1 - middle)
        low, high = np.where(slope > 0, middle, low), np.where(slope > 0, high, middle)
    return np.asarray((low + high) / 2)


def _divergence(p: F64, q: F64) -> F64:
    """KL(p || q) of two rates."""
    q = np.clip(q, 1e-15, 1 - 1e-15)
    return np.asarray(special.rel_entr(p, q) + special.rel_entr(1 - p, 1 - q))
