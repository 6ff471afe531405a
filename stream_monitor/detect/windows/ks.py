"""The Kolmogorov-Smirnov distance."""

from __future__ import annotations

import numpy as np

from stream_monitor.detect.windows.binned import Compared, Tested, cdf_of, scale_of


def test(data: Compared, tolerance: float) -> Tested:
    """Kolmogorov-Smirnov distance on the bin borders; p by the inequality of Dvoretzky, Kiefer and Wolfowitz.

    A distance measured on borders is never above the true one, and the inequality holds for discrete values too.
    """
    gap = np.abs(cdf_of(data.base) - cdf_of(data.now))
    score = gap.max(axis=1)
    excess = np.maximum(score - tolerance, 0.0)
    return Tested(score, np.minimum(1.0, 2 * np.exp(-2 * excess**2 / scale_of(data))))
