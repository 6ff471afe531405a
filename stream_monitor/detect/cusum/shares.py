"""CUSUMs of a share (Page 1954): evidence on hits among values that adds up over windows.

A share, such as that of missing values, has `COLUMNS` CUSUMs in each direction. Each adds up the log likelihood ratio
of a larger share q against the largest share u that is no change. u is the upper confidence limit of the baseline's
share (Clopper and Pearson 1934) plus half of the tolerance. As long as the true share is at most u, the ratio of a
window has a mean of at most 1, so a CUSUM with threshold h has a mean time between false alarms of at least e^h windows
(Lorden 1971), whatever the counts of the windows and however rare hits are. For dependent values hits and values are
divided by the overdispersion f.

The smallest q is so far from u that a share below the tolerance does not add up. An alarm also needs an estimate above
the tolerance. A statistic stays at its threshold while the change lasts, and falls when it ends.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import msgspec
from scipy import special

SIZES = (2.0, 4.0, 8.0, 16.0, 32.0)
"""Distances of the alternatives from u, as multiples of the tolerance."""
COLUMNS = len(SIZES)
MARGIN = 0.5
"""The part of the tolerance by which the null hypothesis exceeds the baseline's upper limit."""
UNSURE = 1e-3
"""The probability that a baseline's share is above its upper limit."""
LEAST_TOLERANCE = 0.005
"""A tolerance of 0 is taken for this: alternatives must differ from the baseline."""
FARTHEST = 0.75
"""The largest alternative lies so far on the way from u to 1."""


class CountedShare(NamedTuple):
    """Hits among the values of a baseline and of a window; `factor` is the overdispersion f of the window's."""

    base_hits: float
    base_n: float
    hits: float
    n: float
    factor: float

    @property
    def effect(self) -> float:
        """The window's share minus the baseline's."""
        return self.hits / max(self.n, 1) - self.base_hits / max(self.base_n, 1)

    def complement(self) -> CountedShare:
        """The same for the values that are no hits."""
        return CountedShare(self.base_n - self.base_hits, self.base_n, self.n - self.hits, self.n, self.factor)


class ShareAlarm(NamedTuple):
    """A CUSUM that has reached its threshold."""

    effect: float
    """The share since the change minus the baseline's."""
    share: float
    """The share since the change."""
    n: int
    """Values since the change."""
    began: int
    """Start of the first window of the change, epoch ms."""
    statistic: float
    """The log likelihood ratio of the values since the change."""


class ShareCusum(msgspec.Struct, array_like=True):
    """The state of the CUSUMs of one share in one direction."""

    w: list[float] = msgspec.field(default_factory=lambda: [0.0] * COLUMNS)
    """The statistic of each CUSUM, at most its threshold."""
    hits: list[int] = msgspec.field(default_factory=lambda: [0] * COLUMNS)
    n: list[int] = msgspec.field(default_factory=lambda: [0] * COLUMNS)
    began: list[int] = msgspec.field(default_factory=lambda: [0] * COLUMNS)
    """Hits and values since each CUSUM started, and the start of its first window (epoch ms)."""
    alarmed_column: int | None = None
    """The CUSUM that fits the values since the latest alarm best, until its statistic is 0: the change is over."""

    @property
    def idle(self) -> bool:
        """Whether nothing is known that a new row does not know."""
        return not any(self.w)

    @property
    def alarmed(self) -> bool:
        """Whether there was an alarm, and its change is not over."""
        return self.alarmed_column is not None

    def add(self, counted: CountedShare, tolerance: float, threshold: float, start: int) -> ShareAlarm | None:
        """Take in the window that starts at `start` (epoch ms).

        Args:
            counted: hits and values of the baseline and of the window; hits are what there may be more of.
            tolerance: the change of the share that is no drift.
            threshold: in nats; the mean time between false alarms of a CUSUM is at least e^threshold windows.
            start: start of the window, epoch ms.

        Returns:
            The alarm of the CUSUM that fits the values since its start best, of those at their threshold.
        """
        best: ShareAlarm | None = None
        fitting = self.alarmed_column
        usual = counted.base_hits / max(counted.base_n, 1)
        gains = _gains(counted, max(tolerance, LEAST_TOLERANCE))
        if not gains:
            self.w, self.alarmed_column = [0.0] * COLUMNS, None
            return None
        for column, (per_hit, per_other) in enumerate(gains):
            before = self.w[column]
            gain = (counted.hits * per_hit + (counted.n - counted.hits) * per_other) / counted.factor
            now = self.w[column] = min(max(before + gain, 0.0), threshold)
            if not before:
                self.began[column], self.hits[column], self.n[column] = start, 0, 0
            if not now:
                continue
            self.hits[column] += int(counted.hits)
            self.n[column] += int(counted.n)
            hits, n = self.hits[column], self.n[column]
            share = hits / max(n, 1)
            if now >= threshold and share - usual > tolerance:
                ratio = (hits * per_hit + (n - hits) * per_other) / counted.factor
                if best is None or ratio > best.statistic:
                    best, fitting = ShareAlarm(share - usual, share, n, self.began[column], ratio), column
        self.alarmed_column = fitting if fitting is not None and self.w[fitting] else None
        return best


def may_grow(counted: CountedShare, tolerance: float) -> bool:
    """Whether a window can raise a statistic from 0; a cheap necessary condition."""
    return counted.effect > MARGIN * max(tolerance, LEAST_TOLERANCE)


def _gains(counted: CountedShare, tolerance: float) -> Sequence[tuple[float, float]]:
    return _gains_of(counted.base_hits / counted.factor, counted.base_n / counted.factor, tolerance)


@lru_cache(4096)
def _gains_of(hits: float, n: float, tolerance: float) -> tuple[tuple[float, float], ...]:
    """For each CUSUM: what a hit and what another value adds, in nats; none if every share is usual."""
    usual = upper_limit(hits, n) + MARGIN * tolerance
    room = 1.0 - usual
    if room <= 0:
        return ()
    alternatives = [usual + min(size * tolerance, FARTHEST * room) for size in SIZES]
    return tuple((math.log(q / usual), math.log((1 - q) / room)) for q in alternatives)


def upper_limit(hits: float, n: float) -> float:
    """The upper confidence limit of a share of which `hits` of `n` values were seen (Clopper and Pearson 1934)."""
    return float(special.betaincinv(hits + 1, n - hits, 1 - UNSURE)) if n > hits else 1.0
