"""The guard of two answers to each request: does the candidate err more, lie farther off, or answer otherwise?

| measure | values x of a pair | a request without a pair, for a pass |
|---|---|---|
| `error` | e_candidate - times · e_primary - plus | the primary right, the candidate wrong |
| `absolute_error` | how much farther off the candidate is, on bins, capped, less the margin | the cap |
| `agrees` | 1 if the answers differ, less the margin | they differ |

Both bets are on the mean of x, of one sample. Harm is bet on pairs as they become known, each once: both answers have
the same label, so no version's labels come sooner. Labels whose delay depends on the truth can mislead it. A pass takes
each grain once, at the age `settle`, and what the candidate left out then counts as the last column says: labelled
requests of the primary, or for `agrees` all of its requests, without a pair that can be compared. No router draws
pairs, so their dependence shows only in how much the sums of strata scatter: the logs of both bets are divided by that,
and by 20 until there are eight strata.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec
import numpy as np

from stream_monitor.detect.bet_dependence import ENOUGH, UNKNOWN, scatter_factor, scattered
from stream_monitor.detect.bets import HARM, PASS, OneSampleBets
from stream_monitor.profiles.names import NEVER
from stream_monitor.profiles.pairs import MOST, distances_of
from stream_monitor.rollouts.plan import ABSOLUTE_ERROR, AGREES, FACTORS, Guard
from stream_monitor.types import F64

ERRORS = np.array([[0.0, 0, 1, 1], [0, 1, 0, 1]])
"""Errors of the primary and of the candidate in each of the four cells."""
DIFFER = np.array([[0.0, 0], [0, 1]])
DISTANCES = np.stack([np.zeros(2 * MOST + 1), distances_of(np.arange(-MOST, MOST + 1))])
LEARN = 200
"""Pairs from which the cap of distances is read, at least; they are not bet on, nor are their grains for a pass."""
CAP = 2.0
"""The cap is so many times the largest difference among them."""


class Said(NamedTuple):
    """What a guard says, each (R,) or a tuple of those."""

    harm: tuple[F64, ...]
    """Logs of bets that share the guard's α in equal parts."""
    passes: dict[int, F64]
    """Log of the bet on a pass, by factor of the margin."""
    effect: F64
    """The dependence factor."""
    strata: int


class PairSums(NamedTuple):
    """How many pairs there are, and what both versions have on them."""

    n: float
    primary: float
    """Sum of the primary's values, as `GuardArm` shows them."""
    candidate: float


class PairGuard(msgspec.Struct, tag="pair"):
    """Bets on pairs of one measure and segment."""

    harm: OneSampleBets
    passes: OneSampleBets
    scatter: np.ndarray
    """(2, 4, R) how the sums of strata scatter: of harm, and of passes; see `scattered`."""
    cap: float = 0.0
    """The largest value of a distance that counts; 0: not known yet."""
    learned: np.ndarray | None = None
    """(R, J) pairs until the cap is known."""
    open: dict[int, dict[int, int]] = {}
    """By start of a grain: pairs by bin, until they settle."""
    labelled: dict[int, float] = {}
    """By start of a grain: labels of the primary, until they settle."""
    learned_until: int = NEVER
    """The newest grain of which pairs told the cap: no bet is on them, and no pass is on this grain or an older one."""
    strata: int = 0

    @classmethod
    def start(cls, guard: Guard, rows: int = 1) -> PairGuard:
        """Bets worth 1, as if forty pairs had been alike."""
        known = np.ones((rows, values_of(guard).shape[1]))
        known[:, 0 if guard.measure != ABSOLUTE_ERROR else MOST] = 40.0
        bets = OneSampleBets.start(rows, 1, known), OneSampleBets.start(rows, len(FACTORS), known)
        return cls(*bets, np.zeros((2, 4, rows)))

    def take(self, guard: Guard, grain: int, pairs: Mapping[int, int], labelled: float) -> PairSums:
        """Take in what became known of a grain: pairs by bin, and labels of the primary; return what it adds up to."""
        new = _counts(guard, pairs)
        if new.any() and not self.take_early(guard, new):
            self.learned_until = max(self.learned_until, grain)
        else:
            self._keep(grain, pairs, labelled)
        primary, candidate = values_of(guard) @ new[0]
        return PairSums(float(new.sum()), float(primary), float(candidate))

    def _keep(self, grain: int, pairs: Mapping[int, int], labelled: float) -> None:
        """Keep pairs and labels until their grain settles."""
        if grain > self.learned_until:
            counts = self.open.setdefault(grain, {})
            for at, n in pairs.items():
                counts[at] = counts.get(at, 0) + n
            self.labelled[grain] = self.labelled.get(grain, 0.0) + labelled

    def settle(self, guard: Guard, grain: int, requests: float) -> float:
        """Bet on all pairs of a grain for a pass, and return their number; `requests` are those of the primary."""
        pairs, labelled = self.open.pop(grain, {}), self.labelled.pop(grain, 0.0)
        if grain <= self.learned_until:
            return 0.0
        counts, wanted = _counts(guard, pairs), requests if guard.measure == AGREES else labelled
        self.take_settled(guard, counts, np.array([max(wanted - counts.sum(), 0.0)]))
        return float(counts.sum())

    def take_early(self, guard: Guard, counts: F64) -> bool:
        """Bet on harm, on counts (R, J); False where the cap was only learned from them, so that no bet may follow."""
        if guard.measure == ABSOLUTE_ERROR and not self.cap:
            self._learn(counts)
            return False
        self.strata += 1
        self._bet(self.harm, 0, counts, self._differences(guard, (1,)), HARM)
        return True

    def take_settled(self, guard: Guard, counts: F64, missing: F64) -> None:
        """Bet on a pass, on counts (R, J) of pairs and (R,) requests that have none."""
        if guard.measure == ABSOLUTE_ERROR and not self.cap:
            return
        counts = counts.copy()
        counts[:, 1 if guard.measure != ABSOLUTE_ERROR else -1] += missing
        self._bet(self.passes, 1, counts, self._differences(guard, FACTORS), PASS)

    def _bet(self, bets: OneSampleBets, number: int, counts: F64, x: F64, side: int) -> None:
        share = bets.n / bets.n.sum(axis=-1, keepdims=True)
        mean = share @ x[0]
        self.scatter = self.scatter.copy()  # what a snapshot holds cannot be written to
        self.scatter[number] += scattered(counts, x[0], share @ x[0] ** 2 - mean**2)
        bets.take(counts, x, np.full(len(x), float(side)))

    def _differences(self, guard: Guard, factors: tuple[int, ...]) -> F64:
        """(L, J) x by line. A line that is not below the cap says nothing: its values are 0."""
        primary, candidate = values_of(guard)
        if guard.measure != ABSOLUTE_ERROR:
            lines = [line_of(guard, factor) for factor in factors]
            return np.stack([candidate - times * primary - plus for times, plus in lines])
        capped = np.clip(candidate, -self.cap, self.cap)
        lines = [line_of(guard, factor) for factor in factors]
        return np.stack([(capped - plus) * (plus < self.cap) for _, plus in lines])

    def _learn(self, counts: F64) -> None:
        learned = counts if self.learned is None else self.learned + counts
        self.learned = learned
        if learned.sum() >= LEARN:
            self.cap = CAP * float(np.abs(DISTANCES[1])[learned.any(axis=0)].max())
            self.harm.n, self.passes.n = self.harm.n + learned, self.passes.n + learned

    def said(self, given: float) -> Said:
        """What it says."""
        of_harm, of_passes = (_factor(scatter, given) for scatter in self.scatter)
        passes = dict(zip(FACTORS, self.passes.log_worth(of_passes).T, strict=True))
        return Said((self.harm.log_worth(of_harm)[:, 0],), passes, np.maximum(of_harm, of_passes), self.strata)


def _factor(scatter: F64, given: float) -> F64:
    """(R,) f: until there are enough strata nobody knows how they scatter, and only a disaster acts."""
    known = np.where(scatter[3] < ENOUGH, UNKNOWN, scatter_factor(scatter))
    return np.asarray(np.maximum(known, given))


def values_of(guard: Guard) -> F64:
    """(2, J) values of the primary and of the candidate by bin."""
    return {AGREES: DIFFER, ABSOLUTE_ERROR: DISTANCES}.get(guard.measure, ERRORS)


def line_of(guard: Guard, factor: float = 1) -> tuple[float, float]:
    """(times, plus) of a line on pairs: candidate = times · primary + plus."""
    if guard.measure == AGREES:
        return 0.0, factor * (guard.margin.share + guard.margin.plus)
    return guard.margin.line(factor, "up") if guard.measure != ABSOLUTE_ERROR else (0.0, factor * guard.margin.plus)


def _counts(guard: Guard, pairs: Mapping[int, int]) -> F64:
    """(1, J) counts of pairs by bin."""
    counts = np.zeros((1, values_of(guard).shape[1]))
    first = -MOST if guard.measure == ABSOLUTE_ERROR else 0
    for at, n in pairs.items():
        counts[0, at - first] += n
    return counts
