"""The Kolmogorov-Smirnov distance."""

from __future__ import annotations

import numpy as np

from stream_monitor.detect.windows.binned import Compared, Tested, cdf_of, scale_of


def test(data: Compared, tolerance: float) -> Tested:
    """Kolmogorov-Smirnov distance on the edges; p by the inequality of Dvoretzky, Kiefer and Wolfowitz.

    The distance on the edges is never above the true distance. The inequality holds for discrete values too.

    The first window has the shares of the baseline, the second one does not:

    >>> base, now = np.array([[50, 30, 20], [50, 30, 20]]), np.array([[50, 30, 20], [20, 30, 50]])
    >>> test(Compared(base, now, widths=np.ones((2, 3))), tolerance=0.0).score.round(3).tolist()
    [0.0, 0.3]
    """
    gap = np.abs(cdf_of(data.base) - cdf_of(data.now))
    score = gap.max(axis=1)
    excess = np.maximum(score - tolerance, 0.0)
    return Tested(score, np.minimum(1.0, 2 * np.exp(-2 * excess**2 / scale_of(data))))
