"""Log likelihood ratios of a CUSUM's n latest values against the N - n before them, where the baseline is not known.

Both hypotheses are taken at their best baseline: that of all N values where nothing changed, and else the one that fits
what came before together with the tilted n. Where values are dependent the ratio is divided by f, see `dependence`.
"""

from __future__ import annotations

import numpy as np

from stream_monitor.types import F64


def of_values(n: F64, s: F64, total: F64, gain: F64, cost: F64) -> F64:
    """Of scores whose sums are near normal: the baseline's mean is not known, its variance is; (COLUMNS, R).

    With N, T the totals it is (theta (s - n mean) - n psi) / f (1 + n / (N - n)), where mean = (T - s) / (N - n);
    written with the mean of all, T / N, that is theta (s - n T / N) / f - n (1 - n / N) psi / f.
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
    """Of scores that are one of two, for f = 1; exact, however rare one of them is; (COLUMNS, R).

    `pair` (2, R) are the lower score and by how much the other is higher, d. With k of the n and K of all N the higher
    one, the tilt multiplies the odds by r = exp(theta d). The rate p before the change solves
    (N - n) p + n p r / (1 + (r - 1) p) = K, and the ratio is k ln r - n ln(1 + (r - 1) p) - N KL(K / N || p).
    """
    low, apart = pair
    count = total[0]
    hits = np.clip((total[1] - count * low) / apart, 0.5, count - 0.5)
    tilt = np.clip(theta * apart, -50, 50)
    more, before = np.expm1(tilt), count - n
    square, linear = more * before, before + n * (1 + more) - hits * more
    root = np.sqrt(np.maximum(linear * linear + 4 * square * hits, 0.0))
    falls = linear < 0  # then `square` > 0, and the other form of the root would cancel
    p = np.where(falls, root - linear, 2 * hits) / np.where(falls, 2 * square, linear + root)
    p = np.clip(p, 1e-300, 1 - 1e-15)
    share = hits / count
    k = np.clip((s - n * low) / apart, 0.0, n)  # less than none may be left without a season; it says no more than none
    apart_from = hits * np.log(share / p) + (count - hits) * np.log((1 - share) / (1 - p))
    return np.asarray(tilt * k - n * np.log1p(more * p) - apart_from)
