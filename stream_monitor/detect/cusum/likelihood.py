"""Log likelihood ratios of a CUSUM's n latest values against the N - n before them, with an unknown baseline.

Each hypothesis takes the baseline that fits it best. Without a change that is the baseline of all N values. With a
change it is the one that fits the N - n values together with the n tilted ones. For dependent values the ratio is
divided by the long-run variance ratio f (`autocorrelation`).
"""

from __future__ import annotations

import numpy as np

from stream_monitor.types import F64


def of_values(n: F64, s: F64, total: F64, gain: F64, cost: F64) -> F64:
    """The ratio for scores whose sums are nearly normal, with unknown mean and known variance; (COLUMNS, R).

    N and T are the totals of values and scores. The ratio is (theta (s - n mean) - n psi) / f (1 + n / (N - n)), where
    mean = (T - s) / (N - n). With the mean of all values, T / N, it becomes
    theta (s - n T / N) / f - n (1 - n / N) psi / f.
    """
    w: F64 = n * (total[1] / total[0])
    np.subtract(s, w, out=w)
    w *= gain
    rest: F64 = n * (1 / total[0])
    rest -= 1
    rest *= n
    rest *= cost
    w += rest
    return w


def of_two_values(n: F64, s: F64, total: F64, theta: F64, pair: F64) -> F64:
    """The ratio for scores that take two values, for f = 1; exact, however rare one of them is; (COLUMNS, R).

    `pair` (2, R) holds the lower score, and the difference d to the higher one. k of the n values and K of all N have
    the higher score. The tilt multiplies the odds by r = exp(theta d). The rate p before the change solves
    (N - n) p + n p r / (1 + (r - 1) p) = K, and the ratio is k ln r - n ln(1 + (r - 1) p) - N KL(K / N || p).
    """
    low, apart = pair
    count = total[0]
    hits = np.clip((total[1] - count * low) / apart, 0.5, count - 0.5)
    tilt = np.clip(theta * apart, -50, 50)
    more, before = np.expm1(tilt), count - n
    square, linear = more * before, before + n * (1 + more) - hits * more
    root = np.sqrt(np.maximum(linear * linear + 4 * square * hits, 0.0))
    falls = linear < 0  # then `square` > 0, and the other form of the root would suffer from cancellation
    p = np.where(falls, root - linear, 2 * hits) / np.where(falls, 2 * square, linear + root)
    p = np.clip(p, 1e-300, 1 - 1e-15)
    share = hits / count
    k = np.clip((s - n * low) / apart, 0.0, n)  # a season may subtract more than there is: take it as none
    apart_from = hits * np.log(share / p) + (count - hits) * np.log((1 - share) / (1 - p))
    return np.asarray(tilt * k - n * np.log1p(more * p) - apart_from)
