"""e-SR: a Shiryaev-Roberts e-detector for values between 0 and 1, whose time between false alarms is guaranteed.

Shin, Ramdas and Rinaldo, "E-detectors: a nonparametric framework for sequential change detection" (arXiv 2203.03532).
A bet has a mean worth of at most 1 while the mean of the values is at most m, and grows when the mean rises. Here a bet
is the likelihood ratio of two rates. For values between 0 and 1 it is the exponential interpolation of that ratio,
which by convexity has no higher mean. After each pane of n values the detector multiplies all bets so far, and n new
ones, by the pane's ratio. On average the worth of the bets minus the number of values does not rise. So the mean number
of values until the worth reaches `arl0` is at least `arl0`, for any independent values and without asymptotics. A
mixture of bets over several effects in both directions keeps that guarantee.

m is the upper confidence limit of the baseline's mean (for falls the lower limit), by the inequality of Chernoff; both
limits hold together with probability `CONFIDENCE`. The guarantee fails for the other baselines, and changes within the
limits are not detected. The detector ignores measures with values outside 0 to 1. Cost: about 20 µs a pane; memory:
thirty numbers.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from stream_monitor.detect.sequential.adwin import Change

SHARES = (0.03, 0.06, 0.12, 0.25, 0.5)
"""The rates to detect: they lie at these parts of the way from m to 1, and from m to 0."""
CONFIDENCE = 0.95
"""Probability that the true mean is within both limits."""
MOST_LOG = 600.0


class Bet(msgspec.Struct):
    """A bet that the rate has changed from `before` to `after`."""

    before: float
    after: float
    worth: float = 0.0
    log_ratio: float = 0.0
    """Log likelihood ratio of all values since it was last at or below 0: a CUSUM, which estimates the change."""
    since: int = 0

    def take(self, n: int, hits: float, ts: int) -> None:
        """Take in a pane of n values whose sum is `hits`."""
        gain = hits * math.log(self.after / self.before)
        gain += (n - hits) * math.log((1 - self.after) / (1 - self.before))
        self.worth = math.exp(min(gain + math.log(self.worth + n), MOST_LOG))
        if self.log_ratio <= 0:
            self.log_ratio, self.since = 0.0, ts
        self.log_ratio += gain


class ESr(msgspec.Struct, tag="e_sr"):
    """One measure's bets; it has none until it learns a baseline of values between 0 and 1.

    The rate rises at value 1000:

    >>> import numpy as np
    >>> hits = (np.random.default_rng(0).random(2000) < np.repeat([0.1, 0.3], 1000)).astype(float).tolist()
    >>> detector = ESr(arl0=10_000.0)
    >>> detector.learn(1_000, 0.1, (0.0, 1.0))
    >>> next(i for i, x in enumerate(hits) if detector.update(1, x, 0.0, i))
    1014
    """

    arl0: float
    """Least mean number of values between false alarms."""
    bets: list[Bet] = []
    learned: bool = False

    def learn(self, n: int, mean: float, ends: tuple[float, float]) -> None:
        """Learn a baseline of n values between `ends`, and their mean."""
        self.learned, self.bets = True, []
        if not n or ends[0] < 0 or ends[1] > 1:
            return
        least, most = limit_of(n, mean, "lower"), limit_of(n, mean, "upper")
        self.bets += [Bet(most, most + part * (1 - most)) for part in SHARES if most < 1]
        self.bets += [Bet(least, least - part * least) for part in SHARES if least > 0]

    def update(self, n: int, mean: float, m2: float, ts: int) -> Change | None:
        """Take in a pane of n values; return a Change and restart when the mean worth of the bets reaches `arl0`."""
        for bet in self.bets:
            bet.take(n, n * mean, ts)
        worth = sum(bet.worth for bet in self.bets)
        if not self.bets or worth < self.arl0 * len(self.bets):
            return None
        best = max(self.bets, key=lambda bet: bet.worth)
        way = 1 if best.after > best.before else -1
        change = Change(way * worth / len(self.bets), self.arl0, best.before, best.after, best.since)
        for bet in self.bets:
            bet.worth = bet.log_ratio = 0.0
        return change


def limit_of(n: int, mean: float, side: Literal["lower", "upper"]) -> float:
    """A confidence limit of the true mean of n values between 0 and 1, with c = `CONFIDENCE` for both limits.

    It solves n KL(mean, limit) = ln 2/(1 - c) by bisection; Chernoff (1952), Hoeffding (1963).
    """
    allowed = math.log(2 / (1 - CONFIDENCE)) / n
    inside, outside = min(max(mean, 0.0), 1.0), 1.0 if side == "upper" else 0.0
    for _ in range(60):
        middle = (inside + outside) / 2
        if _divergence(mean, middle) <= allowed:
            inside = middle
        else:
            outside = middle
    return outside


def _divergence(p: float, q: float) -> float:
    if not 0 < q < 1:
        return math.inf
    first = p * math.log(p / q) if p > 0 else 0.0
    return first + ((1 - p) * math.log((1 - p) / (1 - q)) if p < 1 else 0.0)
