"""What window tests share: their input and output, groups of bins, and the tail of a noncentral χ².

`base` and `now` are counts (R, B), one row for each measure; results are (R,). Counts may be fractions: the counts of
dependent values are divided by their overdispersion f (see `overdispersion`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import special

from stream_monitor.types import F64, I64

Counts = I64 | F64
"""(R, B) number of values in each bin; fractions if the values depend on each other."""

GROUPS = 10
UNSEEN = 0.02
SPARSE = 5
"""Expected values of a group below which counts are too discrete for a χ²."""


class Tested(NamedTuple):
    """The result of a test: scores in its own unit, and p-values of "the effect is at most the tolerance"."""

    score: F64
    p: F64


class Compared(NamedTuple):
    """The input of a test: a baseline and a window of each measure."""

    base: Counts
    now: Counts
    widths: F64
    """(R, B): width of each bin in baseline standard deviations; 0 for categories, and if no test needs widths."""
    order: I64 | None = None
    """(R, B): the bins in the order in which neighbours are merged to groups; None: as they are."""


Test = Callable[[Compared, float], Tested]
"""From the input and the tolerance to scores and p-values."""


def shift(base: Counts, now: Counts) -> F64:
    """P(now > baseline) - P(now < baseline), from -1 to 1: the direction in which values moved (Mann-Whitney)."""
    p, q = base / np.maximum(base.sum(axis=1), 1)[:, None], now / np.maximum(now.sum(axis=1), 1)[:, None]
    below = np.cumsum(p, axis=1) - p
    above = 1 - np.cumsum(p, axis=1)
    return np.asarray((q * (below - above)).sum(axis=1))


def coarse(base: Counts, now: Counts, order: I64 | None = None) -> tuple[F64, F64, I64]:
    """Counts merged into groups of nearly equal baseline mass (R, GROUPS), and the degrees of freedom (R,)."""
    n, m = now.sum(axis=1), base.sum(axis=1)
    wanted = np.clip(np.minimum(n, m) // 10, 2, GROUPS).astype(np.int64)
    group = groups_of(base, wanted, order)
    flat = (group + np.arange(len(base))[:, None] * GROUPS).ravel()
    size = len(base) * GROUPS
    merged = np.bincount(flat, base.ravel(), size).astype(float).reshape(-1, GROUPS)
    current = np.bincount(flat, now.ravel(), size).astype(float).reshape(-1, GROUPS)
    return merged, current, np.maximum((merged + current > 0).sum(axis=1) - 1, 1)


def _ordered(counts: Counts, order: I64) -> Counts:
    rows = np.arange(len(counts))[:, None]
    return counts[rows, order]


def groups_of(base: Counts, wanted: I64, order: I64 | None = None) -> I64:
    """(R, B) the group of each bin, for `wanted` (R,) groups of nearly equal mass of `base`.

    The bins of a group are neighbours in `order`, as in `Compared`.

    Empty bins between others share the last group: they lie between atoms, and a value that appears there must not
    count as one of its neighbours. They do so unless more than `UNSEEN` of all values may lie in bins that are empty by
    chance: the share of values that are alone in their bins (Good 1953).
    """
    if order is not None:
        groups = np.empty(base.shape, np.int64)
        np.put_along_axis(groups, order, groups_of(_ordered(base, order), wanted), axis=1)
        return groups
    below = np.cumsum(base, axis=1)
    between = (base == 0) & (below > 0) & (below < below[:, -1:])
    alone = ((base > 0) & (base <= 1)).sum(axis=1)
    gaps = between.any(axis=1) & (wanted > 2) & (alone <= UNSEEN * below[:, -1])
    full = wanted - gaps
    middle = (below - base / 2) / np.maximum(below[:, -1:], 1)
    group = np.minimum((middle * full[:, None]).astype(np.int64), (full - 1)[:, None])
    return np.asarray(np.where(between & gaps[:, None], full[:, None], group))


def smoothed(counts: F64) -> F64:
    """Shares of groups with half a value added to each."""
    return np.asarray((counts + 0.5) / (counts.sum(axis=1, keepdims=True) + 0.5 * GROUPS))


def with_one_more(base: F64, now: F64) -> tuple[F64, F64]:
    """Shares of groups after one value is added to each group that either side has (Laplace)."""
    used, now = base + now > 0, steadied(base, now)
    p, q = ((counts + used) / np.maximum((counts + used).sum(axis=1, keepdims=True), 1) for counts in (base, now))
    return np.where(used, p, 1.0), np.where(used, q, 1.0)


def steadied(base: F64, now: F64) -> F64:
    """Counts of a window; if a group expects fewer than `SPARSE`, half a value nearer to the expected ones (Yates)."""
    n, m = now.sum(axis=1, keepdims=True), base.sum(axis=1, keepdims=True)
    expected = (base + now) * n / np.maximum(n + m, 1)
    sparse = np.where(base + now > 0, expected, np.inf).min(axis=1, keepdims=True) < SPARSE
    return np.asarray(now - np.where(sparse, np.clip(now - expected, -0.5, 0.5), 0.0))


def scale_of(data: Compared) -> F64:
    """(R,) 1/n + 1/m, for n values in the window and m in the baseline."""
    n, m = data.now.sum(axis=1), data.base.sum(axis=1)
    return np.asarray(1 / np.maximum(n, 1) + 1 / np.maximum(m, 1))


def cdf_of(counts: Counts) -> F64:
    """(R, B) share of values up to each bin's upper edge."""
    return np.asarray(np.cumsum(counts, axis=1) / np.maximum(counts.sum(axis=1), 1)[:, None])


def noncentral_tail(statistic: F64, limit: float | F64, scale: F64, degrees: I64) -> F64:
    """P(noncentral χ² with noncentrality limit/scale >= statistic/scale), never below 1e-300.

    It is exact without noncentrality, and a saddlepoint approximation otherwise (Lugannani and Rice 1980). The error of
    the approximation is relative: with one degree of freedom the tail is up to 10 % too large, with nine .5 %, both at
    1e-7 and at 1e-2.
    """
    x, centre = np.maximum(statistic / scale, 1e-12), np.broadcast_to(limit / scale, np.shape(scale))
    inverse = 2 * x / (degrees + np.sqrt(degrees * degrees + 4 * centre * x))
    t = (1 - 1 / inverse) / 2
    cumulant = centre * t * inverse + degrees / 2 * np.log(inverse)
    w = np.copysign(np.sqrt(2 * np.maximum(t * x - cumulant, 0.0)), t)
    v = t * inverse * np.sqrt(2 * (2 * centre * inverse + degrees))
    at_mean = np.abs(w) < 1e-4
    safe_w, safe_v = np.where(at_mean, 1.0, w), np.where(at_mean, 1.0, v)
    skew = 8 * (degrees + 3 * centre) / (2 * (degrees + 2 * centre)) ** 1.5
    correction = np.where(at_mean, -skew / 6, 1 / safe_v - 1 / safe_w)
    tail = special.ndtr(-w) + np.exp(-w * w / 2) / np.sqrt(2 * np.pi) * correction
    return np.asarray(np.clip(np.where(centre > 0, tail, special.chdtrc(degrees, x)), 1e-300, 1.0))
