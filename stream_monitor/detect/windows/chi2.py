"""The χ² test of homogeneity, with Cohen's w as its score."""

from __future__ import annotations

import numpy as np
from scipy import special

from stream_monitor.detect.windows.binned import Compared, Tested, coarse, noncentral_tail, scale_of
from stream_monitor.types import F64

FEW = 20
"""Expected values of a group below which the tail of the χ² is not accurate."""


def test(data: Compared, tolerance: float) -> Tested:
    """Cohen's w between the two samples, sqrt(Σ (p - q)² / mean share); the statistic is the χ² test of homogeneity.

    If a group expects few values, a handful more of them is far in the tail of the χ², but not in the tail of their
    true distribution. Then the statistic is the likelihood ratio (G), if that is smaller. Around a true effect the two
    samples differ, and the χ² around their mean share varies too little. So with a tolerance the test stretches its
    scale (`_stretch`).

    The first window has the shares of the baseline, the second one does not:

    >>> base, now = np.array([[50, 30, 20], [50, 30, 20]]), np.array([[50, 30, 20], [20, 30, 50]])
    >>> test(Compared(base, now, widths=np.ones((2, 3))), tolerance=0.0).score.round(3).tolist()
    [0.0, 0.717]
    """
    base, now, degrees = coarse(data.base, data.now, data.order)
    n, m = now.sum(axis=1), base.sum(axis=1)
    both = base + now
    expected = both * (n / np.maximum(n + m, 1))[:, None]
    safe = np.maximum(expected, 1e-12)
    other = np.maximum(both - expected, 1e-12)
    statistic = np.where(both > 0, (now - expected) ** 2 * (1 / safe + 1 / other), 0.0).sum(axis=1)
    effect = statistic * scale_of(data)
    ratio = 2 * (special.rel_entr(now, safe) + special.rel_entr(base, other)).sum(axis=1) * scale_of(data)
    few = np.where(both > 0, np.minimum(expected, other), np.inf).min(axis=1) < FEW
    tested = np.where(few, np.minimum(effect, ratio), effect)
    scale = scale_of(data) * (_stretch(base, now) if tolerance > 0 else 1.0)
    return Tested(np.sqrt(effect), noncentral_tail(tested, tolerance**2, scale, degrees))


def _stretch(base: F64, now: F64) -> F64:
    """The ratio of two variances of the χ²: with the shares of each sample, and with their mean share; at least 1.

    To first order the effect moves with Σ a_k (q_k - p_k), where a_k = (q_k - p_k) / mean share. The ratio is the
    variance of this sum with each sample's own shares, divided by that with the mean share for both (delta method).
    """
    sizes = [np.maximum(counts.sum(axis=1), 1)[:, None] for counts in (base, now)]
    p, q = base / sizes[0], now / sizes[1]
    mean = (base + now) / (sizes[0] + sizes[1])
    a = np.where(mean > 0, (q - p) / np.where(mean > 0, mean, 1.0), 0.0)
    own = [((a * a * x).sum(axis=1) - (a * x).sum(axis=1) ** 2) / n[:, 0] for x, n in ((p, sizes[0]), (q, sizes[1]))]
    common = (a * a * mean).sum(axis=1) * (1 / sizes[0] + 1 / sizes[1])[:, 0]
    return np.asarray(np.maximum(1.0, (own[0] + own[1]) / np.where(common > 0, common, 1.0)))
