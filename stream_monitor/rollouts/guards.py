"""Guards: the bets of one measure of one segment, and what they say.

| guard | values | bets |
|---|---|---|
| rate (`error`, `null_answer`, a category, a signal) | 0, 1 by version | two arms |
| mean of a number | upper borders of bins, capped | two arms |
| `.p99`, margin 20 % | primary above t, candidate above 1.2 t; t: p99 of the first values | two arms, r = 1 and d = 0 |
| `limit` | the candidate's value less the limit | one sample |
| in shadow `error`, `absolute_error`, `agrees` | see `pair_guard` | one sample |

Each guard bets on harm at its margin, and on a pass at 1, 2 and 4 margins. Of outcomes the bet on a pass takes each
grain once, at the age `settle`, and what the candidate has too many without a label by then counts as wrong: all
settled grains together, against the primary's share. Harm of an outcome has two bets with half of its α each: one on
settled grains, where the primary's too many count as wrong, and one on labels as they come, muted for good once the
candidate's labels surely come sooner.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import msgspec
import numpy as np

from stream_monitor.detect.bets import HARM, KNOWN, PASS, Lines, OneSampleBets, TwoArmBets, Usual
from stream_monitor.rollouts.pair_guard import PairGuard, Said
from stream_monitor.rollouts.plan import FACTORS, PAIR_MEASURES, Guard
from stream_monitor.rollouts.strata import Arms, InputStratum, LabelStratum, SettledGrain
from stream_monitor.types import F64

RATES = np.array([0.0, 1.0])
QUANTILE_LINES = Lines(np.ones(4), np.zeros(4), np.array([1.0, -1.0, -1.0, -1.0]))
SOONER, MUTED_AT = 1.05, math.log(20)
"""The early bet is muted when it is surely not so that the candidate's share of early labels is within 1.05 of the
primary's."""
LEARN = 1_000
"""Values of the primary from which a quantile is read where there is no baseline."""


class Known(NamedTuple):
    """The primary's baseline of a measure: counts (J,) on values (J,)."""

    values: F64
    counts: F64

    def usual(self, rows: int = 1) -> Usual:
        """Mean and mean square, worth `KNOWN` values."""
        share = self.counts / self.counts.sum()
        return Usual.baseline(np.full(rows, share @ self.values), np.full(rows, share @ self.values**2), KNOWN)

    def quantile(self, q: float) -> float:
        """The border at or above a quantile."""
        cumulated = np.cumsum(self.counts) / self.counts.sum()
        return float(self.values[min(int(np.searchsorted(cumulated, q)), len(self.values) - 1)])


def lines_of(guard: Guard) -> Lines:
    """The lines of a guard: harm at one margin, then a pass at each factor."""
    factors, side = (1, *FACTORS), 1 if guard.worse == "up" else -1
    r, d = zip(*(guard.margin.line(factor, guard.worse) for factor in factors), strict=True)
    sides = [side * HARM, *(side * PASS for _ in FACTORS)]
    return Lines(np.array(r), np.array(d), np.array(sides, np.float64))


def some(lines: Lines, part: slice) -> Lines:
    """Some of the lines."""
    return Lines(*(column[part] for column in lines))


class InputGuard(msgspec.Struct, tag="input"):
    """A rate, or the mean of a number, of predictions."""

    bets: TwoArmBets

    @classmethod
    def start(cls, known: Known | None, rows: int = 1) -> InputGuard:
        """Bets worth 1; without a baseline the first stratum is only learned from."""
        usual = known.usual(rows) if known is not None else Usual.unknown(rows)
        return cls(TwoArmBets.start(usual, 1 + len(FACTORS)))

    def take(self, guard: Guard, stratum: InputStratum, weight: float | None) -> None:
        """Bet on a stratum."""
        values, primary, candidate = stratum.arms
        self.bets.take(primary, candidate, values, lines_of(guard), weight)

    def said(self, given: float) -> Said:
        """What it says, by a given design effect."""
        return _said(self.bets, given)


class QuantileGuard(msgspec.Struct, tag="quantile"):
    """A quantile: how often the primary is above t, and the candidate above t and so many margins.

    Borders of bins stand for t and its multiples: the next one above.
    """

    border: float
    """t; NaN: it is not known yet."""
    bets: TwoArmBets
    values: np.ndarray
    learned: np.ndarray
    """(J,) counts of the primary until t is known."""

    @classmethod
    def start(cls, guard: Guard, known: Known | None, rows: int = 1) -> QuantileGuard:
        """Bets worth 1; without a baseline the first `LEARN` values of the primary tell t."""
        own = cls(math.nan, TwoArmBets.start(Usual.unknown(rows), 1 + len(FACTORS)), np.zeros(0), np.zeros(0))
        if known is not None:
            own._learn(guard, known)
        return own

    def _learn(self, guard: Guard, known: Known) -> None:
        self.border = known.quantile(guard.quantile or 0.0)
        share = known.counts[known.values > self.border].sum() / known.counts.sum()
        rate = np.full(len(self.bets.usual.n), share)
        self.bets.usual = Usual.baseline(rate, rate, min(KNOWN, float(known.counts.sum())))

    def take(self, guard: Guard, stratum: InputStratum, weight: float | None) -> None:
        """Bet on a stratum."""
        values, primary, candidate = stratum.arms
        if math.isnan(self.border):
            same = np.array_equal(self.values, values)
            self.learned = (self.learned if same else 0.0) + primary.sum(axis=0)
            self.values = values
            if self.learned.sum() >= LEARN:
                self._learn(guard, Known(values, self.learned))
            return
        beyond = [_two(candidate, values > self.judged(guard, factor, values)) for factor in FACTORS]
        above = _two(primary, values > self.border)
        self.bets.take_each(above, [beyond[0], *beyond], RATES, QUANTILE_LINES, weight)

    def judged(self, guard: Guard, factor: float, values: F64) -> float:
        """The border that stands for t and so many margins."""
        wanted = self.border * (1 + factor * guard.margin.share)
        return float(values[min(int(np.searchsorted(values, wanted * (1 - 1e-9))), len(values) - 1)])

    def said(self, given: float) -> Said:
        """What it says."""
        return _said(self.bets, given)


class LimitGuard(msgspec.Struct, tag="limit"):
    """The candidate's mean against a number; nothing is compared with the primary."""

    bets: OneSampleBets
    strata: int = 0

    @classmethod
    def start(cls, rows: int = 1) -> LimitGuard:
        """Bets worth 1."""
        return cls(OneSampleBets.start(rows, 2))

    def take(self, guard: Guard, stratum: InputStratum) -> None:
        """Bet on a stratum."""
        values, _, candidate = stratum.arms
        if candidate.shape != self.bets.n.shape:  # other bins: what was usual begins anew
            self.bets.n = np.ones(candidate.shape)
        side = 1.0 if guard.worse == "up" else -1.0
        self.bets.take(candidate, np.stack([values - (guard.limit or 0.0)] * 2), np.array([side, -side]))
        self.strata += 1

    def said(self, given: float) -> Said:
        """What it says; all factors say the same."""
        f = np.full(len(self.bets.n), given)
        harm, passed = self.bets.log_worth(f).T
        return Said((harm,), dict.fromkeys(FACTORS, passed), f, self.strata)


class OutcomeGuard(msgspec.Struct, tag="outcome"):
    """A rate or a mean of outcomes, which needs labels."""

    harm: TwoArmBets
    """On settled grains; the primary's too many without a label count as wrong."""
    passes: TwoArmBets
    """On settled grains; the candidate's too many without a label count as wrong."""
    early: TwoArmBets
    """On labels as they come."""
    usual: list[Usual]
    """Of early labels, by age."""
    sooner: TwoArmBets
    """That the candidate's share of labels at the youngest age is above the primary's."""
    muted: np.ndarray
    """(R,)"""
    excess: np.ndarray
    """(R, 2) unlabelled predictions of primary and candidate beyond the share of the other one."""
    counted: np.ndarray
    """(R, 2) how many of these have been counted as wrong."""

    @classmethod
    def start(cls, known: Known | None, ages: int, rows: int = 1) -> OutcomeGuard:
        """Bets worth 1."""

        def usual() -> Usual:
            return known.usual(rows) if known is not None else Usual.unknown(rows)

        two = np.zeros((rows, 2))
        return cls(
            TwoArmBets.start(usual(), 1), TwoArmBets.start(usual(), len(FACTORS)), TwoArmBets.start(usual(), 1),
            [usual() for _ in range(ages)], TwoArmBets.start(Usual.unknown(rows), 1),
            np.zeros(rows, np.bool_), two, two.copy(),
        )  # fmt: skip

    def take_early(self, guard: Guard, stratum: LabelStratum, predictions: F64, weight: float | None) -> None:
        """Bet on labels between two ages; `predictions` (R, 2) of their grain tell who is labelled sooner."""
        values, primary, candidate = stratum.arms
        if stratum.age == 0:
            a, b = (np.stack([n - got, got], axis=-1) for n, got in _labelled(predictions, primary, candidate))
            self.sooner.take(a, b, RATES, Lines(np.full(1, SOONER), np.zeros(1), np.full(1, float(HARM))))
            self.muted = self.muted | (self.sooner.log_worth()[:, 0] >= MUTED_AT)
        self.early.usual = self.usual[stratum.age]
        self.early.take(primary, candidate, values, some(lines_of(guard), slice(1)), weight)

    def take_settled(self, guard: Guard, grain: SettledGrain, weight: float | None) -> None:
        """Bet on a grain at the age `settle`."""
        values, primary, candidate = grain.arms
        n = grain.predictions
        late = np.maximum(n - np.stack([primary.sum(axis=-1), candidate.sum(axis=-1)], axis=-1), 0.0)
        self.excess = self.excess + late - n * (late / np.maximum(n, 1.0))[:, ::-1]
        more = np.maximum(np.floor(self.excess) - self.counted, 0.0)
        self.counted = self.counted + more
        wrong = np.zeros(len(values))
        wrong[-1 if guard.worse == "up" else 0] = 1.0
        lines = lines_of(guard)
        self.harm.take(primary + more[:, :1] * wrong, candidate, values, some(lines, slice(1)), weight)
        self.passes.take(primary, candidate + more[:, 1:] * wrong, values, some(lines, slice(1, None)), weight)

    def said(self, given: float) -> Said:
        """What it says; a muted bet is worth nothing."""
        f, of_early = self.passes.dependence.factor(given), self.early.dependence.factor(given)
        early = np.where(self.muted, -np.inf, self.early.log_worth(of_early)[:, 0])
        harm = self.harm.log_worth(self.harm.dependence.factor(given))[:, 0]
        passes = dict(zip(FACTORS, self.passes.log_worth(f).T, strict=True))
        return Said((early, harm), passes, f, self.passes.dependence.strata)


AnyGuard = InputGuard | QuantileGuard | LimitGuard | OutcomeGuard | PairGuard


def start_guard(guard: Guard, known: Known | None, ages: int, in_pairs: bool = False) -> AnyGuard:
    """The bets of a guard at the start of a rollout; `in_pairs` where two versions answer each request."""
    if in_pairs and guard.measure in PAIR_MEASURES:
        return PairGuard.start(guard)
    if guard.limit is not None:
        return LimitGuard.start()
    if guard.is_outcome:
        return OutcomeGuard.start(known, ages)
    return QuantileGuard.start(guard, known) if guard.quantile is not None else InputGuard.start(known)


def means(arms: Arms) -> tuple[tuple[float, float], tuple[float, float]]:
    """(n, sum) of primary and candidate in a stratum."""
    sides = (arms.primary, arms.candidate)
    a, b = ((float(counts.sum()), float((counts @ arms.values).sum())) for counts in sides)
    return a, b


def _said(bets: TwoArmBets, given: float) -> Said:
    """What bets on harm, and on a pass at each factor, say."""
    f = bets.dependence.factor(given)
    harm, *passes = bets.log_worth(f).T
    return Said((harm,), dict(zip(FACTORS, passes, strict=True)), f, bets.dependence.strata)


def _two(counts: F64, above: np.ndarray) -> F64:
    """(R, 2) counts up to a border and above it."""
    beyond = counts[:, above].sum(axis=-1)
    return np.stack([counts.sum(axis=-1) - beyond, beyond], axis=-1)


def _labelled(predictions: F64, primary: F64, candidate: F64) -> list[tuple[F64, F64]]:
    """(predictions, labelled ones) by version; labels may come before their predictions."""
    got = primary.sum(axis=-1), candidate.sum(axis=-1)
    return [(np.maximum(predictions[:, arm], got[arm]), got[arm]) for arm in (0, 1)]
