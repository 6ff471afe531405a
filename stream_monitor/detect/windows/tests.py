"""Tests of a window against its baseline, on bin counts, all measures of a group at once.

Every p-value answers "is the true effect *above its tolerance*?", not "is there any effect?": with a million events
everything differs significantly, and nobody wants to be woken for it. With a tolerance of 0 the classical tests remain.

Arrays: `base` and `now` are counts (R, B), one row a measure; results are (R,). Counts need not be whole: those of
values that depend on each other are divided by how much more they scatter (see `dispersion`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import special

from stream_monitor.types import F64, I64

GROUPS = 10
FEW = 20
"""Expected values of a group below which the χ² is not trusted with its tail."""
SPARSE = 5
"""Expected values of a group below which steps of a single value are too coarse for a χ²."""
TOLERANCE = {
    "psi": 0.1,
    "ks": 0.1,
    "js": 0.1,
    "hellinger": 0.1,
    "l_infinity": 0.1,
    "wasserstein": 0.1,
    "chi2": 0.3,
    "missing": 0.02,
    "new_categories": 0.01,
    "type_change": 0.01,
    "volume": 2.0,
    "domain_classifier": 0.1,
    "mmd": 0.05,
    "pca_error": 0.1,
}
"""Effects that are still no drift; each in its test's own unit."""


Counts = I64 | F64
"""Whole, or divided by how much more they scatter."""


class Tested(NamedTuple):
    """Scores in the test's unit, and p-values of "the effect is at most the tolerance"."""

    score: F64
    p: F64


class Compared(NamedTuple):
    """What a test may look at."""

    base: Counts
    now: Counts
    widths: F64
    """(R, B): width of each bin in baseline standard deviations; 0 for categories, and where no test asks for it."""


def psi(data: Compared, tolerance: float) -> Tested:
    """Population stability index over at most ten groups of equal baseline mass.

    Without drift PSI ≈ (1/n + 1/m) χ²(groups - 1) (Yurdakul 2018); around a true value of `tolerance` the χ² is
    noncentral. Fewer groups are used when a group would expect fewer than ten values, and a value is added to each, for
    the logarithm of a nearly empty group goes far beyond the χ².
    """
    base, now, degrees = coarse(data.base, data.now)
    p, q = _with_one_more(base, now)
    score = np.where(base + now > 0, (q - p) * np.log(q / p), 0.0).sum(axis=1)
    return Tested(score, _noncentral(score, tolerance, _scale(data), degrees))


def js(data: Compared, tolerance: float) -> Tested:
    """Jensen-Shannon distance (base 2, 0 to 1). 8 JS[nats] / (1/n + 1/m) is asymptotically χ² without drift."""
    base, now, degrees = coarse(data.base, data.now)
    p, q = _smoothed(base), _smoothed(_steadied(base, now))
    middle = (p + q) / 2
    used = base + now > 0
    nats = np.where(used, p * np.log(p / middle) + q * np.log(q / middle), 0.0).sum(axis=1) / 2
    nats = np.maximum(nats, 0.0)
    limit = 8 * tolerance**2 * np.log(2)
    return Tested(np.sqrt(nats / np.log(2)), _noncentral(8 * nats, limit, _scale(data), degrees))


def chi2(data: Compared, tolerance: float) -> Tested:
    """Cohen's w between the two samples, sqrt(Σ (p - q)² / mean share); the statistic is the χ² test of homogeneity.

    Where a group expects few values, a handful more of them is far in the tail of the χ² but not of their true law:
    there the likelihood ratio (G) is the statistic, if it is the smaller one. Around a true effect the two samples
    differ, and the χ² of their mean would be too sure of it: with a tolerance its scale is stretched (`_stretch`).
    """
    base, now, degrees = coarse(data.base, data.now)
    n, m = now.sum(axis=1), base.sum(axis=1)
    both = base + now
    expected = both * (n / np.maximum(n + m, 1))[:, None]
    safe = np.maximum(expected, 1e-12)
    other = np.maximum(both - expected, 1e-12)
    statistic = np.where(both > 0, (now - expected) ** 2 * (1 / safe + 1 / other), 0.0).sum(axis=1)
    effect = statistic * _scale(data)
    ratio = 2 * (special.rel_entr(now, safe) + special.rel_entr(base, other)).sum(axis=1) * _scale(data)
    few = np.where(both > 0, np.minimum(expected, other), np.inf).min(axis=1) < FEW
    tested = np.where(few, np.minimum(effect, ratio), effect)
    scale = _scale(data) * (_stretch(base, now) if tolerance > 0 else 1.0)
    return Tested(np.sqrt(effect), _noncentral(tested, tolerance**2, scale, degrees))


def _stretch(base: F64, now: F64) -> F64:
    """By how much more the χ² of two samples that differ varies than it does around their mean share; at least 1.

    To first order the effect moves with Σ a_k (q_k - p_k), a_k = (q_k - p_k) / mean share; this is the variance of that
    sum with each sample's own shares, over the one with the mean share for both (delta method).
    """
    sizes = [np.maximum(counts.sum(axis=1), 1)[:, None] for counts in (base, now)]
    p, q = base / sizes[0], now / sizes[1]
    mean = (base + now) / (sizes[0] + sizes[1])
    a = np.where(mean > 0, (q - p) / np.where(mean > 0, mean, 1.0), 0.0)
    own = [((a * a * x).sum(axis=1) - (a * x).sum(axis=1) ** 2) / n[:, 0] for x, n in ((p, sizes[0]), (q, sizes[1]))]
    common = (a * a * mean).sum(axis=1) * (1 / sizes[0] + 1 / sizes[1])[:, 0]
    return np.asarray(np.maximum(1.0, (own[0] + own[1]) / np.where(common > 0, common, 1.0)))


def hellinger(data: Compared, tolerance: float) -> Tested:
    """Hellinger distance H over the groups of `psi`, 0 to 1: H² = Σ (√p - √q)² / 2 (Hellinger 1909).

    Without drift 8 H² / (1/n + 1/m) is asymptotically χ²: roots of shares have the same variance (Freeman, Tukey 1950).
    """
    base, now, degrees = coarse(data.base, data.now)
    p, q = _with_one_more(base, now)
    square = np.where(base + now > 0, (np.sqrt(p) - np.sqrt(q)) ** 2, 0.0).sum(axis=1) / 2
    return Tested(np.sqrt(square), _noncentral(8 * square, 8 * tolerance**2, _scale(data), degrees))


def l_infinity(data: Compared, tolerance: float) -> Tested:
    """Largest difference of a category's share, 0 to 1.

    p is the smallest of `share` over those that occur, times their number (Bonferroni): if the largest true difference
    is within the tolerance, all are. Conservative where many move together.
    """
    base, now = data.base, data.now
    row, at = np.nonzero(base + now)
    m, n = base.sum(axis=1), now.sum(axis=1)
    each = share((base[row, at], m[row]), (now[row, at], n[row]), tolerance)
    score, p = np.zeros(len(base)), np.ones(len(base))
    np.maximum.at(score, row, np.abs(each.score))
    np.minimum.at(p, row, each.p)
    return Tested(score, np.minimum(1.0, p * np.bincount(row, minlength=len(base)).clip(1)))


def ks(data: Compared, tolerance: float) -> Tested:
    """Kolmogorov-Smirnov distance on the bin borders; p by the inequality of Dvoretzky, Kiefer and Wolfowitz.

    A distance measured on borders is never above the true one, and the inequality holds for discrete values too.
    """
    gap = np.abs(_cdf(data.base) - _cdf(data.now))
    score = gap.max(axis=1)
    excess = np.maximum(score - tolerance, 0.0)
    return Tested(score, np.minimum(1.0, 2 * np.exp(-2 * excess**2 / _scale(data))))


def wasserstein(data: Compared, tolerance: float) -> Tested:
    """Earth mover's distance in baseline standard deviations; p by concentration (Bousquet 2002, Bernstein's form).

    The distance is the largest difference of means of a function whose slope is at most 1 (Kantorovich, Rubinstein).
    Without drift it is at most e = ∫ sqrt(F (1 - F)) sqrt(2/π (1/n + 1/m)) on average, and exceeds that by t with
    probability below exp(-t² / 2 (v + b t / 3)), v = σ² (1/n + 1/m), in units of the baseline's standard deviation; σ
    is that of both together, if it is more. b is what one value can add at most, the mean distance from the farthest
    to the others over the smaller number of values: a single value in a heavy tail is no drift. Bousquet's v has 2 e b
    too, for which e, itself a bound, leaves room: no tail was found where this rejects too often.
    """
    cdf = _cdf(data.base)
    score = (np.abs(cdf - _cdf(data.now)) * data.widths).sum(axis=1)
    scale = _scale(data)
    expected = (np.sqrt(np.maximum(cdf * (1 - cdf), 0)) * data.widths).sum(axis=1) * np.sqrt(2 / np.pi * scale)
    excess = np.maximum(score - tolerance - expected, 0.0)
    most = _farthest(data, cdf) / np.maximum(np.minimum(data.base.sum(axis=1), data.now.sum(axis=1)), 1)
    variance = np.maximum(_spread(data), 1.0) * scale
    return Tested(score, np.exp(-(excess**2) / (2 * (variance + most * excess / 3))))


def _farthest(data: Compared, cdf: F64) -> F64:
    """(R,) mean distance of a baseline value from the farthest of both samples, in widths."""
    used = (data.base > 0) | (data.now > 0)
    reached = np.logical_or.accumulate(used, axis=1) & np.logical_or.accumulate(used[:, ::-1], axis=1)[:, ::-1]
    inside = data.widths * reached
    return np.asarray(np.maximum((cdf * inside).sum(axis=1), ((1 - cdf) * inside).sum(axis=1)))


def _spread(data: Compared) -> F64:
    """(R,) variance of both samples together, 2 ∫∫ F(x) (1 - F(y)) over x < y (Hoeffding)."""
    cdf = _cdf(data.base + data.now)
    below = cdf * data.widths
    return np.asarray(((1 - cdf) * data.widths * (2 * np.cumsum(below, axis=1) - below)).sum(axis=1))


Test = Callable[[Compared, float], Tested]


def _quiet(test: Test) -> Test:
    """A test that says p = 1 where nothing can be said: fewer than two values on either side, or all the same."""

    def tested(data: Compared, tolerance: float) -> Tested:
        found = test(data, tolerance)
        few = np.minimum(data.base.sum(axis=1), data.now.sum(axis=1)) < 2
        same = ((data.base > 0) | (data.now > 0)).sum(axis=1) < 2
        return Tested(np.where(few | same, 0.0, found.score), np.where(few | same, 1.0, found.p))

    return tested


TESTS: dict[str, Test] = {
    test.__name__: _quiet(test) for test in (psi, ks, js, hellinger, l_infinity, wasserstein, chi2)
}
"""A new test is one function here, one name in `DetectionSettings`, one row in docs/detection.md."""


ON_WIDTHS = frozenset({"wasserstein"})
"""Tests that look at the widths of bins."""


def share(base: tuple[Counts, Counts], now: tuple[Counts, Counts], tolerance: float) -> Tested:
    """Two shares, each (hits, of how many) (R,); p that they differ by more, either way.

    The signed root of the likelihood ratio between any two shares and the likeliest that differ by the tolerance, with
    a correction of half a hit for continuity. Unlike a normal with its error from the shares themselves it holds in the
    tails, down to no hit at all: against exact binomials at 1e-2 to 1e-7 it says 1.4 to 3.4 times one tail.
    """
    (a, m), (b, n) = base, now
    raw = b / np.maximum(n, 1) - a / np.maximum(m, 1)
    way = np.where(raw > 0, 1.0, -1.0)
    p, q = (a + 0.5) / (m + 1), np.clip(b - way / 2, 0, n) / np.maximum(n, 1)
    said = (np.minimum(m, n) > 0) & (np.abs(raw) > tolerance)
    beyond, root = np.flatnonzero(said & (way * (q - p) > tolerance)), np.zeros(len(raw))
    if len(beyond):
        p, q, m, n, gap = p[beyond], q[beyond], m[beyond] + 1, n[beyond], way[beyond] * tolerance
        p0 = _nearest((p, m), (q, n), gap)
        root[beyond] = np.sqrt(2 * (n * _divergence(q, p0 + gap) + m * _divergence(p, p0)))
    return Tested(raw, np.minimum(1.0, 2 * special.ndtr(-root)))


def _nearest(base: tuple[F64, Counts], now: tuple[F64, Counts], gap: F64) -> F64:
    """The share p for which p and p + gap are likeliest, given (share, of how many) each; by bisection."""
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


def shift(base: Counts, now: Counts) -> F64:
    """P(now > baseline) - P(now < baseline), from -1 to 1: which way the values moved (Mann-Whitney)."""
    p, q = base / np.maximum(base.sum(axis=1), 1)[:, None], now / np.maximum(now.sum(axis=1), 1)[:, None]
    below = np.cumsum(p, axis=1) - p
    above = 1 - np.cumsum(p, axis=1)
    return np.asarray((q * (below - above)).sum(axis=1))


def coarse(base: Counts, now: Counts) -> tuple[F64, F64, I64]:
    """Counts merged into groups of nearly equal baseline mass (R, GROUPS), and the degrees of freedom (R,)."""
    n, m = now.sum(axis=1), base.sum(axis=1)
    wanted = np.clip(np.minimum(n, m) // 10, 2, GROUPS).astype(np.int64)
    group = groups_of(base, wanted)
    flat = (group + np.arange(len(base))[:, None] * GROUPS).ravel()
    size = len(base) * GROUPS
    merged = np.bincount(flat, base.ravel(), size).astype(float).reshape(-1, GROUPS)
    current = np.bincount(flat, now.ravel(), size).astype(float).reshape(-1, GROUPS)
    return merged, current, np.maximum((merged + current > 0).sum(axis=1) - 1, 1)


def groups_of(base: Counts, wanted: I64) -> I64:
    """(R, B) of each bin its group, of `wanted` (R,) groups of nearly equal mass of `base`."""
    middle = (np.cumsum(base, axis=1) - base / 2) / np.maximum(base.sum(axis=1), 1)[:, None]
    return np.asarray(np.minimum((middle * wanted[:, None]).astype(np.int64), (wanted - 1)[:, None]))


def _smoothed(counts: F64) -> F64:
    return np.asarray((counts + 0.5) / (counts.sum(axis=1, keepdims=True) + 0.5 * GROUPS))


def _with_one_more(base: F64, now: F64) -> tuple[F64, F64]:
    """Shares of groups with one value added to each that either side has (Laplace)."""
    used, now = base + now > 0, _steadied(base, now)
    p, q = ((counts + used) / np.maximum((counts + used).sum(axis=1, keepdims=True), 1) for counts in (base, now))
    return np.where(used, p, 1.0), np.where(used, q, 1.0)


def _steadied(base: F64, now: F64) -> F64:
    """Counts of a window, half a value nearer to what is expected where a group expects fewer than `SPARSE` (Yates)."""
    n, m = now.sum(axis=1, keepdims=True), base.sum(axis=1, keepdims=True)
    expected = (base + now) * n / np.maximum(n + m, 1)
    sparse = np.where(base + now > 0, expected, np.inf).min(axis=1, keepdims=True) < SPARSE
    return np.asarray(now - np.where(sparse, np.clip(now - expected, -0.5, 0.5), 0.0))


def _scale(data: Compared) -> F64:
    n, m = data.now.sum(axis=1), data.base.sum(axis=1)
    return np.asarray(1 / np.maximum(n, 1) + 1 / np.maximum(m, 1))


def _cdf(counts: Counts) -> F64:
    return np.asarray(np.cumsum(counts, axis=1) / np.maximum(counts.sum(axis=1), 1)[:, None])


def _noncentral(statistic: F64, limit: float | F64, scale: F64, degrees: I64) -> F64:
    """P(noncentral χ² with noncentrality limit/scale >= statistic/scale), never below 1e-300.

    Without noncentrality exact, else by the saddlepoint (Lugannani and Rice 1980), whose error is relative: at one
    degree it says up to 10 % too much in the tail, at nine .5 %, at 1e-7 as at 1e-2.
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


def discoveries(p: F64, rate: float) -> np.ndarray:
    """Benjamini and Hochberg (1995): which of these hypotheses to reject so that the false discovery rate is kept."""
    if not len(p):
        return np.zeros(0, np.bool_)
    order = np.argsort(p, kind="stable")
    passed = np.flatnonzero(p[order] <= rate * np.arange(1, len(p) + 1) / len(p))
    rejected = np.zeros(len(p), np.bool_)
    if len(passed):
        rejected[order[: passed[-1] + 1]] = True
    return rejected
