"""Simulated rollouts, a row each: which rows reached a verdict, and how many requests of the candidate that took.

All of them drive the code that judges a rollout. `naive` and `msprt` are what others do, on the same streams.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from stream_monitor.detect.bets import HARM, Lines, TwoArmBets, Usual
from stream_monitor.evaluate.streams import Rng
from stream_monitor.rollouts.guards import OutcomeGuard
from stream_monitor.rollouts.pair_guard import PairGuard
from stream_monitor.rollouts.plan import Guard
from stream_monitor.rollouts.split import SplitCheck
from stream_monitor.rollouts.strata import Arms, LabelStratum, SettledGrain
from stream_monitor.types import F64, Bool

RATES = np.array([0.0, 1.0])
KNOWN = 2_000
"""Values of the baseline of a simulated primary."""


@dataclass(slots=True)
class Verdicts:
    """Of each row: whether there was a verdict, and the candidate's requests until then."""

    reached: Bool
    requests: F64

    @classmethod
    def none(cls, rows: int) -> Verdicts:
        """Before the first stratum."""
        return cls(np.zeros(rows, np.bool_), np.zeros(rows))

    def see(self, requests: F64 | float, verdict: Bool) -> bool:
        """Count requests of the rows without a verdict; whether all have one now."""
        self.requests += np.where(self.reached, 0.0, requests)
        self.reached |= verdict
        return bool(self.reached.all())

    @property
    def until(self) -> F64:
        """Requests until the verdict; infinite where there was none."""
        return np.where(self.reached, self.requests, np.inf)


class Traffic(NamedTuple):
    """T strata of requests: their number, the candidate's weights, the rates of both versions, and sizes of lumps."""

    requests: int
    weights: F64
    primary: F64
    candidate: F64
    lump: int = 1


class Line(NamedTuple):
    """A line, the side that is bet on, and α."""

    times: float = 1.0
    plus: float = 0.0
    side: int = HARM
    alpha: float = 0.05
    measured: bool = False
    """Whether the dependence factor divides the bets."""

    @property
    def lines(self) -> Lines:
        """As the bets take it."""
        return Lines(np.array([self.times]), np.array([self.plus]), np.array([float(self.side)]))


def draw(rng: Rng, traffic: Traffic, t: int, rows: int) -> tuple[F64, F64]:
    """(R, 2) counts of right and wrong answers of both versions in a stratum."""
    draws = traffic.requests // traffic.lump
    n_b = rng.binomial(draws, traffic.weights[t], rows)
    n_a = draws - n_b
    a, b = rng.binomial(n_a, traffic.primary[t]), rng.binomial(n_b, traffic.candidate[t])
    pair = (np.stack([n - k, k], axis=-1) * float(traffic.lump) for n, k in ((n_a, a), (n_b, b)))
    return next(pair), next(pair)


def rates(rng: Rng, rows: int, traffic: Traffic, line: Line, guards: int = 1) -> Verdicts:
    """Two versions, one rate. Of several guards the first has the candidate's rate, and all others the primary's."""
    start = traffic.primary[0]
    known = [Usual.baseline(hits := rng.binomial(KNOWN, start, rows) / KNOWN, hits) for _ in range(guards)]
    bets, found = [TwoArmBets.start(usual, 1) for usual in known], Verdicts.none(rows)
    bar = math.log(guards / line.alpha)
    for t in range(len(traffic.weights)):
        first, *others = bets
        a, b = draw(rng, traffic, t, rows)
        first.take(a, b, RATES, line.lines, float(traffic.weights[t]))
        f = first.dependence.factor() if line.measured else 1.0
        verdict = first.log_worth(f)[:, 0] >= bar
        n_a, n_b = a.sum(axis=-1).astype(np.int64), b.sum(axis=-1).astype(np.int64)
        for other in others:
            pair = [rng.binomial(n, traffic.primary[t]) for n in (n_a, n_b)]
            of_a, of_b = (np.stack([n - k, k], -1) for n, k in zip((n_a, n_b), pair, strict=True))
            other.take(of_a, of_b, RATES, line.lines)
            verdict |= other.log_worth()[:, 0] >= bar
        if found.see(n_b, verdict):
            break
    return found


def naive(rng: Rng, rows: int, traffic: Traffic, line: Line) -> Verdicts:
    """The test of two proportions at each stratum, as if it were the only look."""
    return _normal(rng, rows, traffic, lambda z, v: line.side * z / np.sqrt(v) >= 1.645)


def msprt(rng: Rng, rows: int, traffic: Traffic, line: Line) -> Verdicts:
    """A normal mixture over the differences of one side (Johari et al. 2022), variances estimated."""
    k = max(abs(traffic.candidate[0] - traffic.primary[0]), 0.2 * traffic.primary[0]) ** 2  # the effect that is wanted

    def reached(z: F64, v: F64) -> Bool:
        scaled = line.side * z * math.sqrt(k) / np.sqrt(1 + k * v)
        side = np.vectorize(math.erf)(scaled / math.sqrt(2))
        log = math.log(2) - 0.5 * np.log1p(k * v) + 0.5 * scaled**2 + np.log(np.maximum(0.5 * (1 + side), 1e-300))
        return np.asarray(log >= math.log(1 / line.alpha))

    return _normal(rng, rows, traffic, reached, scored=True)


def _normal(
    rng: Rng, rows: int, traffic: Traffic, reached: Callable[[F64, F64], Bool], scored: bool = False
) -> Verdicts:
    """Rules that know sums only: z = Σ (hits of B - expected), v its variance; `scored`: in units of the difference."""
    z, v, found = np.zeros(rows), np.zeros(rows), Verdicts.none(rows)
    total_a, total_b = np.zeros((rows, 2)), np.zeros((rows, 2))
    for t in range(len(traffic.weights)):
        a, b = draw(rng, traffic, t, rows)
        total_a, total_b = total_a + a, total_b + b
        n_a, n_b = total_a.sum(axis=-1), total_b.sum(axis=-1)
        p = (total_a[:, 1] + total_b[:, 1]) / (n_a + n_b)
        usable = (n_a > 0) & (n_b > 0) & (p > 0) & (p < 1)
        information = np.where(usable, n_a * n_b / (n_a + n_b) / np.where(usable, p * (1 - p), 1.0), 0.0)
        difference = total_b[:, 1] / np.maximum(n_b, 1) - total_a[:, 1] / np.maximum(n_a, 1)
        z, v = difference * information, information
        verdict = usable & (reached(z, v) if scored else reached(z, np.maximum(v, 1e-12)))
        if found.see(b.sum(axis=-1), verdict):
            break
    return found


def values(
    rng: Rng, rows: int, arms: tuple[F64, F64], of: tuple[F64, float, float], weights: F64, line: Line
) -> Verdicts:
    """Two versions, numbers on bins: shares of both, and values, mean and mean square (as `of`), 200 requests each."""
    g, mean, square = of
    bets = TwoArmBets.start(Usual.baseline(np.full(rows, mean), np.full(rows, square)), 1)
    found = Verdicts.none(rows)
    for weight in weights:
        n_b = rng.binomial(200, weight, rows).astype(np.float64)
        a, b = (
            rng.multinomial(n.astype(int), q).astype(np.float64) for n, q in zip((200 - n_b, n_b), arms, strict=True)
        )
        bets.take(a, b, g, line.lines)
        if found.see(n_b, bets.log_worth()[:, 0] >= math.log(1 / line.alpha)):
            break
    return found


def pairs(
    rng: Rng, rows: int, guard: Guard, cells: Sequence[float] | F64, side: int, strata: int, lump: int = 1
) -> Verdicts:
    """The guard of pairs: 20 requests a stratum, the shares of the bins of the guard, in lumps that are alike."""
    bets, found = PairGuard.start(guard, rows), Verdicts.none(rows)
    for _ in range(strata):
        counts: F64 = rng.multinomial(20 // lump, cells, rows).astype(np.float64) * lump
        if bets.take_early(guard, counts) and side != HARM:
            bets.take_settled(guard, counts, np.zeros(rows))
        said = bets.said(1.0)
        worth = said.harm[0] if side == HARM else said.passes[1]
        if found.see(20.0, worth >= math.log(1 / 0.05)):
            break
    return found


def splits(rng: Rng, rows: int, weight: float, true: float, strata: int, alpha: float) -> Verdicts:
    """The check of the split, 200 requests a stratum."""
    check, found = SplitCheck.start(rows), Verdicts.none(rows)
    for _ in range(strata):
        b = rng.binomial(200, true, rows).astype(np.float64)
        check.take(200 - b, b, weight)
        if found.see(b, check.log_worth() >= math.log(1 / alpha)):
            break
    return found


LAGS = (1, 12, 72, 288)
"""Revisions in strata; labels settle at the third. A right answer's label takes 6 strata on average, an error's 24."""


def labels(rng: Rng, rows: int, p: F64, weights: F64, slow: float, side: int, early: bool = False) -> Verdicts:
    """Equal error rates, and labels that take the candidate `slow` times as long; harm, or a pass, of an outcome."""
    guard, settle = Guard.model_validate({"measure": "error", "margin": 0}), 2
    bets, found = OutcomeGuard.start(None, len(LAGS), rows), Verdicts.none(rows)
    waiting: dict[int, tuple[F64, F64]] = {}
    bar = math.log((2 if side == HARM else 1) / 0.05)
    for now in range(len(p) + LAGS[-1] + 1):
        if now < len(p):
            waiting[now] = _arrivals(rng, rows, p[now], weights[now], slow)
        for age, lag in enumerate(LAGS):
            if now - lag not in waiting:
                continue
            counts, predictions = waiting[now - lag]
            arms = [Arms(RATES, part[:, 0], part[:, 1]) for part in (counts[:, :, age], counts[:, :, : age + 1].sum(2))]
            if early:
                bets.take_early(guard, LabelStratum(now - lag, now - lag + 1, age, arms[0]), predictions, None)
            if age == settle:
                bets.take_settled(guard, SettledGrain(now - lag, now - lag + 1, arms[1], predictions), None)
        waiting.pop(now - LAGS[-1], None)
        worth = bets.passes if side != HARM else bets.early if early else bets.harm
        verdict = worth.log_worth()[:, 0] >= bar
        if found.see(1.0, verdict & ~bets.muted if early else verdict):
            break
    return found


def _arrivals(rng: Rng, rows: int, p: float, weight: float, slow: float) -> tuple[F64, F64]:
    """(R, 2, ages, 2) labels of both versions by age and error, and (R, 2) predictions of a stratum of 200."""
    n_b = rng.binomial(200, weight, rows)
    n = np.stack([200 - n_b, n_b], axis=-1)
    wrong = rng.binomial(n, p)
    counts = np.zeros((rows, 2, len(LAGS), 2))
    for arm, times in ((0, 1.0), (1, slow)):
        for error, delay in ((0, 6.0), (1, 24.0)):
            of = wrong[:, arm] if error else n[:, arm] - wrong[:, arm]
            by = np.diff(1 - np.exp(-np.array([0.0, *LAGS]) / (delay * times)))
            counts[:, arm, :, error] = rng.multinomial(of, [*by, 1 - by.sum()])[:, :-1]
    return counts, n.astype(np.float64)
