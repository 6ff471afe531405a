"""Tests of a window against its baseline, on bin counts, all measures of a group at once.

Every p-value answers "is the true effect *above its tolerance*?", not "is there any effect?": with a million events
everything differs significantly, and nobody wants to be woken for it. With a tolerance of 0 the classical tests remain.

Arrays: `base` and `now` are counts (R, B), one row a measure; results are (R,).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import special

from stream_monitor.types import F64, I64

GROUPS = 10
TOLERANCE = {
    "psi": 0.1,
    "ks": 0.1,
    "js": 0.1,
    "wasserstein": 0.1,
    "chi2": 0.3,
    "missing": 0.02,
    "new_categories": 0.01,
    "type_change": 0.01,
    "volume": 2.0,
}
"""Effects that are still no drift; each in its test's own unit."""


class Tested(NamedTuple):
    """Scores in the test's unit, and p-values of "the effect is at most the tolerance"."""

    score: F64
    p: F64


class Compared(NamedTuple):
    """What a test may look at."""

    base: I64
    now: I64
    widths: F64
    """(R, B): width of each bin in baseline standard deviations; 0 for categories."""


def psi(data: Compared, tolerance: float) -> Tested:
    """Population stability index over at most ten groups of equal baseline mass.

    Without drift PSI ≈ (1/n + 1/m) χ²(groups - 1) (Yurdakul 2018); around a true value of `tolerance` the χ² is
    noncentral. Fewer groups are used when a group would expect fewer than ten values.
    """
    base, now, degrees = coarse(data.base, data.now)
    p, q = _smoothed(base), _smoothed(now)
    score = np.where(base + now > 0, (q - p) * np.log(q / p), 0.0).sum(axis=1)
    return Tested(score, _noncentral(score, tolerance, _scale(data), degrees))


def js(data: Compared, tolerance: float) -> Tested:
    """Jensen-Shannon distance (base 2, 0 to 1). 8 JS[nats] / (1/n + 1/m) is asymptotically χ² without drift."""
    base, now, degrees = coarse(data.base, data.now)
    p, q = _smoothed(base), _smoothed(now)
    middle = (p + q) / 2
    used = base + now > 0
    nats = np.where(used, p * np.log(p / middle) + q * np.log(q / middle), 0.0).sum(axis=1) / 2
    nats = np.maximum(nats, 0.0)
    limit = 8 * tolerance**2 * np.log(2)
    return Tested(np.sqrt(nats / np.log(2)), _noncentral(8 * nats, limit, _scale(data), degrees))


def chi2(data: Compared, tolerance: float) -> Tested:
    """Cohen's w between the two samples, sqrt(Σ (p - q)² / mean share); the statistic is the χ² test of homogeneity."""
    base, now, degrees = coarse(data.base, data.now)
    n, m = now.sum(axis=1), base.sum(axis=1)
    both = base + now
    expected = both * (n / np.maximum(n + m, 1))[:, None]
    safe = np.maximum(expected, 1e-12)
    other = np.maximum(both - expected, 1e-12)
    statistic = np.where(both > 0, (now - expected) ** 2 * (1 / safe + 1 / other), 0.0).sum(axis=1)
    effect = statistic * _scale(data)
    return Tested(np.sqrt(effect), _noncentral(effect, tolerance**2, _scale(data), degrees))


def ks(data: Compared, tolerance: float) -> Tested:
    """Kolmogorov-Smirnov distance on the bin borders; p by the inequality of Dvoretzky, Kiefer and Wolfowitz.

    A distance measured on borders is never above the true one, and the inequality holds for discrete values too.
    """
    gap = np.abs(_cdf(data.base) - _cdf(data.now))
    score = gap.max(axis=1)
    excess = np.maximum(score - tolerance, 0.0)
    return Tested(score, np.minimum(1.0, 2 * np.exp(-2 * excess**2 / _scale(data))))


def wasserstein(data: Compared, tolerance: float) -> Tested:
    """Earth mover's distance in baseline standard deviations; p by Gaussian concentration (Borell, TIS).

    The distance of two samples without drift is at most ∫ sqrt(F (1 - F)) sqrt(2/π (1/n + 1/m)) on average, and exceeds
    its mean by t with probability below exp(-t² / 2 (1/n + 1/m)), in units of the standard deviation.
    """
    cdf = _cdf(data.base)
    score = (np.abs(cdf - _cdf(data.now)) * data.widths).sum(axis=1)
    scale = _scale(data)
    expected = (np.sqrt(np.maximum(cdf * (1 - cdf), 0)) * data.widths).sum(axis=1) * np.sqrt(2 / np.pi * scale)
    excess = np.maximum(score - tolerance - expected, 0.0)
    return Tested(score, np.minimum(1.0, 2 * np.exp(-(excess**2) / (2 * scale))))


TESTS: dict[str, Callable[[Compared, float], Tested]] = {
    "psi": psi,
    "ks": ks,
    "js": js,
    "wasserstein": wasserstein,
    "chi2": chi2,
}
"""A new test is one function here, one name in `DetectionSettings`, one row in docs/detection.md."""


def share(base: tuple[I64, I64], now: tuple[I64, I64], tolerance: float) -> Tested:
    """Two shares, each (hits, of how many), with one pseudo-observation a side; p that they differ by more."""
    p, q = ((x + 1) / (n + 2) for x, n in (base, now))
    error = np.sqrt(p * (1 - p) / (base[1] + 2) + q * (1 - q) / (now[1] + 2))
    raw = now[0] / np.maximum(now[1], 1) - base[0] / np.maximum(base[1], 1)
    return Tested(raw, np.minimum(1.0, 2 * special.ndtr(-(np.abs(q - p) - tolerance) / error)))


def shift(base: I64, now: I64) -> F64:
    """P(now > baseline) - P(now < baseline), from -1 to 1: which way the values moved (Mann-Whitney)."""
    p, q = base / np.maximum(base.sum(axis=1), 1)[:, None], now / np.maximum(now.sum(axis=1), 1)[:, None]
    below = np.cumsum(p, axis=1) - p
    above = 1 - np.cumsum(p, axis=1)
    return np.asarray((q * (below - above)).sum(axis=1))


def coarse(base: I64, now: I64) -> tuple[F64, F64, I64]:
    """Counts merged into groups of nearly equal baseline mass (R, GROUPS), and the degrees of freedom (R,)."""
    n, m = now.sum(axis=1), base.sum(axis=1)
    wanted = np.clip(np.minimum(n, m) // 10, 2, GROUPS)
    middle = (np.cumsum(base, axis=1) - base / 2) / np.maximum(m, 1)[:, None]
    group = np.minimum((middle * wanted[:, None]).astype(np.int64), (wanted - 1)[:, None])
    flat = (group + np.arange(len(base))[:, None] * GROUPS).ravel()
    size = len(base) * GROUPS
    merged = np.bincount(flat, base.ravel(), size).astype(float).reshape(-1, GROUPS)
    current = np.bincount(flat, now.ravel(), size).astype(float).reshape(-1, GROUPS)
    return merged, current, np.maximum((merged + current > 0).sum(axis=1) - 1, 1)


def _smoothed(counts: F64) -> F64:
    return np.asarray((counts + 0.5) / (counts.sum(axis=1, keepdims=True) + 0.5 * GROUPS))


def _scale(data: Compared) -> F64:
    n, m = data.now.sum(axis=1), data.base.sum(axis=1)
    return np.asarray(1 / np.maximum(n, 1) + 1 / np.maximum(m, 1))


def _cdf(counts: I64) -> F64:
    return np.asarray(np.cumsum(counts, axis=1) / np.maximum(counts.sum(axis=1), 1)[:, None])


def _noncentral(statistic: F64, limit: float | F64, scale: F64, degrees: I64) -> F64:
    """P(noncentral χ² with noncentrality limit/scale >= statistic/scale); normal approximation for large ones."""
    x, centre = statistic / scale, limit / scale
    exact = 1 - special.chndtr(x, degrees, np.minimum(centre, 1_000.0))
    normal = special.ndtr(-(x - degrees - centre) / np.sqrt(2 * (degrees + 2 * centre)))
    return np.asarray(np.clip(np.where(centre <= 1_000, exact, normal), 1e-300, 1.0))


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
