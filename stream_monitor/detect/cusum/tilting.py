"""The ten CUSUMs of a row: the change that each tests against, and its threshold.

The tilt theta determines a CUSUM: exp(theta score - psi) is the likelihood ratio of one value. psi is the cumulant of
the baseline's scores at theta. Because the mean of the scores is 0, psi is also the Kullback-Leibler divergence
KL(baseline || tilted baseline).
"""

from __future__ import annotations

import numpy as np

from stream_monitor.types import F64, I64

SIZES = np.array([0.15, 0.24, 0.38, 0.61, 0.98])
"""Sizes of the changes to detect, in standard deviations of the baseline's scores; each in both directions."""
DIRECTED = np.concatenate([SIZES, -SIZES])[:, None]
COLUMNS = len(DIRECTED)
SHARES = np.array([0.33, 0.19, 0.115, 0.093, 0.03])
"""Shares of the nominal rate of false alarms that the sizes get, in each direction.

The CUSUMs of small changes take longest to reach a threshold, so small sizes get a larger share. The sum is .76 in each
direction and 1.5 in both: neighbouring CUSUMs raise alarms together, and an inner size seldom raises one alone. The
shares were found by simulation, see docs/detection/cusum.md.
"""


def thresholds(psi: F64, arl0: F64) -> F64:
    """(COLUMNS, R): the x that solves e^x - x - 1 = arl0 psi / share of the size; not exact where x is below 1."""
    y = arl0 * psi / np.tile(SHARES, 2)[:, None]
    x = np.log1p(y)
    for _ in range(12):
        x = np.log1p(x + y)
    return np.asarray(x)


def tilts(counts: I64, scores: F64) -> tuple[F64, F64]:
    """Tilts theta and psi(theta) = ln mean exp(theta score), (COLUMNS, R).

    theta solves psi = size²/2; where |theta| would exceed `size`, it is `size`. We use Newton's method on sqrt(2 psi),
    which for a normal is theta itself. A constant has psi = 0.
    """
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    theta, psi = np.empty((COLUMNS, len(counts))), np.empty((COLUMNS, len(counts)))
    for column, size in enumerate(DIRECTED[:, 0]):
        t = np.full(len(counts), abs(size))
        for _ in range(12):
            value, slope = _cumulant(share, scores, np.copysign(t, size))
            root = np.sqrt(2 * np.maximum(value, 1e-12))
            slope = np.maximum(np.abs(slope), 1e-12)
            t = np.clip(t + (abs(size) - root) * root / slope, t / 4, abs(size))
        theta[column] = np.copysign(t, size)
        psi[column] = np.maximum(_cumulant(share, scores, theta[column])[0], 0.0)
    return theta, psi


def reach_of(counts: I64, scores: F64, theta: F64, psi: F64) -> F64:
    """(COLUMNS, R): theta score - psi of the baseline's largest score in the direction of the tilt."""
    used = counts > 0
    low, high = np.where(used, scores, np.inf).min(axis=1), np.where(used, scores, -np.inf).max(axis=1)
    reach = np.where(theta > 0, theta * high, theta * low) - psi
    return np.where(used.any(axis=1), reach, np.inf)


def _cumulant(share: F64, scores: F64, theta: F64) -> tuple[F64, F64]:
    exponent = theta[:, None] * scores
    most = exponent.max(axis=1, keepdims=True, initial=0.0)
    weight = share * np.exp(exponent - most)
    mass = weight.sum(axis=1)
    safe = np.maximum(mass, 1e-300)
    return np.where(mass > 0, np.log(safe) + most[:, 0], 0.0), (weight * scores).sum(axis=1) / safe
