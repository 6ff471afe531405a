"""Whether a mean error rose: an estimate, its standard error, and what can be said of it.

The errors are those of predictions that were made since a change. Predictions differ in how long they have waited for
their labels, and labels that come early may have another error than labels that come late. So the errors come in strata
of equal waiting time, and each stratum is compared with errors from before the change whose labels took no longer
(direct standardisation, Armitage 1971).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

CLEAR = 3.5
"""A change by more than this many standard errors counts as moved. A watch has about 25 looks. By chance one of them
finds a rise in at most 25 of 4,300 watches (Bonferroni); as looks share labels, it is fewer."""
SURE = 2.0
"""The upper bound of the rise is this many standard errors above the estimate: one-sided, 97.7 %."""

DOUBT = 1.0
"""So few standard errors below the tolerance an estimate takes back that the error is unchanged."""

Verdict = Literal["worse", "better", "unchanged", "undecided"]


@dataclass(frozen=True, slots=True)
class Stratum:
    """Errors of predictions that have waited equally long for their labels."""

    n: int
    total: float
    squares: float
    """Sum of the squared errors."""
    expected: float
    """The mean error, before the change, of labels that took no longer."""
    base_n: int
    """The number of errors that `expected` is the mean of."""


@dataclass(frozen=True, slots=True)
class Rise:
    """The estimated rise of a mean error; all figures but `n` have the unit of the error."""

    n: int
    expected: float
    now: float
    error: float
    """Standard error of `now - expected` if the error is as variable as in the baseline or now, whichever is more."""
    null_error: float
    """Standard error if nothing changed."""
    z: float
    """How clearly the error rose (positive) or fell (negative), in standard errors under no change."""

    @property
    def value(self) -> float:
        """The estimate of the rise; negative: the error fell."""
        return self.now - self.expected

    @property
    def bound(self) -> float:
        """The upper confidence bound of the rise."""
        return self.value + SURE * self.error

    def verdict(self, tolerance: float, before: str = "") -> Verdict:
        """What can be said of a rise of which up to `tolerance` does not matter.

        What was `unchanged` before stays so until the estimate is less than `DOUBT` standard errors below the
        tolerance.
        """
        if abs(self.z) > CLEAR:
            return "worse" if self.z > 0 else "better"
        margin = DOUBT if before == "unchanged" else SURE
        return "unchanged" if self.value + margin * self.error <= tolerance else "undecided"


def rise_of(strata: Sequence[Stratum], variance: float, dispersion: float = 1.0, binary: bool = True) -> Rise | None:
    """The rise of the mean error over what was expected; None without errors.

    Args:
        strata: the errors since the change.
        variance: of an error before the change.
        dispersion: the overdispersion f of sums of errors, at least 1.
        binary: errors are 0 or 1, so their variance under no change is known; others may have a heavy tail.
    """
    n = sum(stratum.n for stratum in strata)
    if n <= 0:
        return None
    now = sum(stratum.total for stratum in strata) / n
    expected = sum(stratum.n * stratum.expected for stratum in strata) / n
    base_n = 1 / sum(stratum.n / n / math.sqrt(stratum.base_n) for stratum in strata) ** 2  # strata share their errors
    spread = max(variance, max(sum(stratum.squares for stratum in strata) / n - now * now, 0.0))
    error = math.sqrt(dispersion * (spread / n + variance / base_n))
    if not binary:
        return Rise(n, expected, now, error, error, (now - expected) / error if error > 0 else 0.0)
    null_error = math.sqrt(dispersion * variance * (1 / n + 1 / base_n))
    return Rise(n, expected, now, error, null_error, _root((now, n / dispersion), (expected, base_n / dispersion)))


def _root(now: tuple[float, float], before: tuple[float, float]) -> float:
    """The signed root of the likelihood ratio of two shares (share, n); of rare errors it is nearer normal than z."""
    (q, n), (p, m) = now, before
    pooled = (n * q + m * p) / (n + m)
    ratio = 2 * (n * _divergence(q, pooled) + m * _divergence(p, pooled))
    return math.copysign(math.sqrt(max(ratio, 0.0)), q - p)


def _divergence(share: float, of: float) -> float:
    """The Kullback-Leibler divergence of two Bernoulli laws, in nats."""
    parts = ((share, of), (1 - share, 1 - of))
    return sum(x * math.log(x / y) for x, y in parts if x > 0 and y > 0)


def dispersion_of(slices: Sequence[Mapping[int, tuple[int, float]]], variance: float) -> float:
    """The overdispersion f of sums of errors; at least 1.

    `slices` are adjacent slices of time; each holds (n, total) by stratum, and a stratum has one mean over all slices.
    f is the mean of the squared standardised sums of slices, lowered by two of its own standard errors. So independent
    errors have an f of 1 in most cases.
    """
    whole: dict[int, tuple[int, float]] = {}
    for one in slices:
        for stratum, (n, total) in one.items():
            n_before, before = whole.get(stratum, (0, 0.0))
            whole[stratum] = n_before + n, before + total
    means = {stratum: total / n for stratum, (n, total) in whole.items() if n > 0}
    squares = []
    for one in slices:
        parts = [(n, total - n * means[stratum]) for stratum, (n, total) in one.items() if stratum in means]
        n = sum(n for n, _ in parts)
        if n > 0 and variance > 0:
            apart = sum(rest for _, rest in parts)
            squares.append(apart * apart / (n * variance))  # a power of a large float would raise
    if len(squares) < 2:
        return 1.0
    return max(1.0, sum(squares) / len(squares) / (1 + 2 * math.sqrt(2 / len(squares))))
