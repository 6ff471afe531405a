"""The earth mover's distance."""

from __future__ import annotations

import numpy as np

from stream_monitor.detect.windows.binned import Compared, Tested, cdf_of, scale_of
from stream_monitor.types import F64


def test(data: Compared, tolerance: float) -> Tested:
    """Earth mover's distance in baseline standard deviations; p by concentration (Bousquet 2002, Bernstein's form).

    The distance is the largest difference of means of a function whose slope is at most 1 (Kantorovich, Rubinstein).
    Without drift its mean is at most e = ∫ sqrt(F (1 - F)) sqrt(2/π (1/n + 1/m)). It exceeds e by t with a probability
    below exp(-t² / 2 (v + b t / 3)), where

    - v = σ² (1/n + 1/m), in units of the baseline's standard deviation. σ is the standard deviation of both samples
      together, or 1 if that is less;
    - b is the most that one value can add: the mean distance from the farthest value to the others, divided by the
      smaller number of values. So a single value in a heavy tail is no drift.

    Bousquet's v also contains 2 e b. We leave that out: e is itself a bound and leaves room for it, and we found no
    tail for which the test rejects too often.

    The first window has the shares of the baseline, the second one does not:

    >>> base, now = np.array([[50, 30, 20], [50, 30, 20]]), np.array([[50, 30, 20], [20, 30, 50]])
    >>> test(Compared(base, now, widths=np.ones((2, 3))), tolerance=0.0).score.round(3).tolist()
    [0.0, 0.6]
    """
    cdf = cdf_of(data.base)
    score = (np.abs(cdf - cdf_of(data.now)) * data.widths).sum(axis=1)
    scale = scale_of(data)
    expected = (np.sqrt(np.maximum(cdf * (1 - cdf), 0)) * data.widths).sum(axis=1) * np.sqrt(2 / np.pi * scale)
    excess = np.maximum(score - tolerance - expected, 0.0)
    most = _farthest(data, cdf) / np.maximum(np.minimum(data.base.sum(axis=1), data.now.sum(axis=1)), 1)
    variance = np.maximum(_spread(data), 1.0) * scale
    return Tested(score, np.exp(-(excess**2) / (2 * (variance + most * excess / 3))))


def _farthest(data: Compared, cdf: F64) -> F64:
    """(R,) mean distance of the baseline's values from the farthest value of both samples, in the unit of `widths`."""
    used = (data.base > 0) | (data.now > 0)
    reached = np.logical_or.accumulate(used, axis=1) & np.logical_or.accumulate(used[:, ::-1], axis=1)[:, ::-1]
    inside = data.widths * reached
    return np.asarray(np.maximum((cdf * inside).sum(axis=1), ((1 - cdf) * inside).sum(axis=1)))


def _spread(data: Compared) -> F64:
    """(R,) variance of both samples together, 2 ∫∫ F(x) (1 - F(y)) over x < y (Hoeffding)."""
    cdf = cdf_of(data.base + data.now)
    below = cdf * data.widths
    return np.asarray(((1 - cdf) * data.widths * (2 * np.cumsum(below, axis=1) - below)).sum(axis=1))
