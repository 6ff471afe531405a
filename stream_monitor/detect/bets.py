"""Bets that a candidate is worse, or better, than a line that a primary draws; valid at every look.

A stratum holds what is alike in time, weight and age of labels: counts a_j of the primary and b_j of the candidate on
values g_j (0 and 1 for a rate). The line is m_B = r m_A + d. With the side s (+1: above the line, -1: below it) and an
effect e in standard deviations of the primary a stratum adds to the log of a bet

    Σ b_j log(1 + s l_B (g_j - m_B)) + Σ a_j log(1 - s l_A (g_j - m_A)),    n_A l_A = r n_B l_B.

By log(1 + x) ≤ x its mean worth is at most exp(s n_B l_B [mean_B - r mean_A - d]), so at most 1 while the candidate is
not on that side of the line, whatever the rates and the split of this stratum are. The product over strata is an
e-process: the probability that it ever reaches 1/α is at most α (Ville 1939). The bets are of the family of Turner, Ly
and Grünwald (arXiv 2106.02693) and of Waudby-Smith and Ramdas (2024). A bet is a mixture over the effects `EFFECTS`.

The guarantee needs mean and variance that were known before the stratum: `Usual` learns them from earlier strata. It
needs independent requests; the log of a bet is divided by the factor f of `bet_dependence` where they are not.

All state is arrays with a leading axis of R rows. A row is an experiment of its own: a rollout has one row, a
simulation has thousands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from stream_monitor.detect.bet_dependence import Dependence
from stream_monitor.detect.bet_kernels import add_two_arms
from stream_monitor.types import F64

HARM, PASS = 1, -1
"""Sides of a line where more is worse."""
EFFECTS = 0.0125 * 2.0 ** np.arange(8)
"""(E,) in standard deviations of the primary."""
PRIOR = np.array([1.0, 1, 2, 3, 3, 2, 1, 1]) / 14
"""(E,) weight of each effect in the mixture."""
KEPT = 0.95
"""The most of its worth that a bet stakes on a value: it is never lost for good."""
KNOWN = 2_000.0
"""Values that a baseline is worth."""
MEMORY = 20_000.0
"""Values beyond which older ones are forgotten in proportion."""


class Lines(NamedTuple):
    """L lines that share strata: the candidate's mean against `times` · the primary's + `plus`."""

    times: F64
    """(L,) r, above 0."""
    plus: F64
    """(L,) d."""
    side: F64
    """(L,) s."""


class Usual(msgspec.Struct):
    """What values of the primary were in earlier strata."""

    n: np.ndarray
    """(R,) values."""
    total: np.ndarray
    squares: np.ndarray

    @classmethod
    def unknown(cls, rows: int = 1) -> Usual:
        """Nothing was seen: the first stratum is only learned from."""
        return cls(np.zeros(rows), np.zeros(rows), np.zeros(rows))

    @classmethod
    def baseline(cls, mean: F64, square: F64, n: float = KNOWN) -> Usual:
        """A baseline with mean and mean square (R,), worth n values."""
        return cls(np.full(len(mean), n), n * mean, n * square)

    def moments(self, values: F64) -> tuple[F64, F64]:
        """(R,) mean and variance. A rate has half a hit of one value besides, so that it is neither 0 nor 1."""
        more = 1.0 if len(values) == 2 and np.any(self.n) else 0.0
        n = np.maximum(self.n + more, 1.0)
        mean = (self.total + more * values.mean()) / n
        return mean, np.maximum((self.squares + more * (values**2).mean()) / n - mean**2, 0.0)

    def learn(self, counts: F64, values: F64) -> None:
        """Take in the counts (R, J) of the primary's values, once the stratum has been bet on."""
        n, total, squares = counts.sum(axis=-1), counts @ values, counts @ values**2
        kept = np.minimum(1.0, MEMORY / np.maximum(self.n + n, 1.0))
        self.n, self.total, self.squares = (
            kept * (self.n + n),
            kept * (self.total + total),
            kept * (self.squares + squares),
        )


class TwoArmBets(msgspec.Struct):
    """The bets of one measure of two versions, on L lines.

    An error rate of 10 % against 5 %, in strata of 40 requests, against the line 1.1 · primary: the bet on harm
    reaches 20, and the one on a pass is lost.

    >>> rng, lines = np.random.default_rng(0), Lines(np.full(2, 1.1), np.zeros(2), np.array([1.0, -1.0]))
    >>> bets, rates = TwoArmBets.start(Usual.baseline(np.full(1, 0.05), np.full(1, 0.05)), 2), np.array([0.0, 1.0])
    >>> counts = lambda p: np.array([[20.0 - (hits := rng.binomial(20, p)), hits]])
    >>> for _ in range(60):
    ...     bets.take(counts(0.05), counts(0.1), rates, lines)
    >>> np.exp(bets.log_worth()).round(3).tolist()
    [[700.231, 0.018]]
    """

    usual: Usual
    dependence: Dependence
    log_bets: np.ndarray
    """(R, L, E) log of the worth of each bet, before f."""

    @classmethod
    def start(cls, usual: Usual, lines: int) -> TwoArmBets:
        """Bets worth 1."""
        rows = len(usual.n)
        return cls(usual, Dependence.none(rows), np.zeros((rows, lines, len(EFFECTS))))

    def take(self, primary: F64, candidate: F64, values: F64, lines: Lines, weight: float | None = None) -> None:
        """Bet on a stratum of counts (R, J), then learn from it; values (J,) ascend.

        `weight` is the candidate's share of requests that a router draws one by one; None: it draws none.
        """
        usual = self.usual.moments(values)
        gains = two_arm_gains(primary, candidate, values, usual, lines)
        if (
            len(values) > 2
        ):  # the last value is a cap: a line that is not below it says nothing, and its bets stand still
            line = lines.times * usual[0][:, None] + lines.plus
            gains = gains * ((line > values[0]) & (line < values[-1]))[:, :, None]
        self.log_bets = self.log_bets + gains
        self._learn(primary, candidate, values, usual[0], weight)

    def take_each(
        self, primary: F64, candidates: Sequence[F64], values: F64, lines: Lines, weight: float | None = None
    ) -> None:
        """As `take`, where the candidate's counts differ by line; those of the first line tell the dependence."""
        usual = self.usual.moments(values)
        gains = [
            two_arm_gains(primary, candidate, values, usual, Lines(*(column[i : i + 1] for column in lines)))
            for i, candidate in enumerate(candidates)
        ]
        self.log_bets = self.log_bets + np.concatenate(gains, axis=1)
        self._learn(primary, candidates[0], values, usual[0], weight)

    def _learn(self, primary: F64, candidate: F64, values: F64, mean: F64, weight: float | None) -> None:
        high = values > mean[:, None]
        hits = (primary * high).sum(axis=-1), (candidate * high).sum(axis=-1)
        self.dependence.take(hits, (primary.sum(axis=-1), candidate.sum(axis=-1)), weight)
        self.usual.learn(primary, values)

    def log_worth(self, f: F64 | float = 1.0) -> F64:
        """(R, L) log of the worth of each line's mixture; f (R,) is the dependence factor."""
        return log_mixture(self.log_bets, f)


class OneSampleBets(msgspec.Struct):
    """The bets of one sample x, such as the difference of a pair's errors less what is allowed: is its mean above 0?

    >>> bets = OneSampleBets.start(1, 1)
    >>> for wrong in (2, 1, 3, 2, 1, 3):  # of 20 audits each, against a limit of 20 %
    ...     bets.take(np.array([[20.0 - wrong, wrong]]), np.array([[-0.2, 0.8]]), np.array([-1.0]))
    >>> np.exp(bets.log_worth()).round(1).tolist()
    [[16.9]]
    """

    n: np.ndarray
    """(R, J) earlier counts of each value."""
    log_bets: np.ndarray
    """(R, L, E)"""

    @classmethod
    def start(cls, rows: int, lines: int, known: F64 | None = None) -> OneSampleBets:
        """Bets worth 1; `known` (R, J) counts are as if seen before."""
        known = np.ones((rows, 2)) if known is None else known
        return cls(known.astype(np.float64), np.zeros((rows, lines, len(EFFECTS))))

    def take(self, counts: F64, values: F64, side: F64) -> None:
        """Bet on counts (R, J) of the values (L, J) of each line, on the sides (L,), then learn from them."""
        share = self.n / self.n.sum(axis=-1, keepdims=True)
        mean = share @ values.T
        self.log_bets = self.log_bets + one_sample_gains(counts, values, share @ (values**2).T - mean**2, side)
        self.n = self.n + counts
        self.n = self.n * np.minimum(1.0, MEMORY / self.n.sum(axis=-1, keepdims=True))

    def log_worth(self, f: F64 | float = 1.0) -> F64:
        """(R, L) log of the worth of each line's mixture."""
        return log_mixture(self.log_bets, f)


def two_arm_gains(primary: F64, candidate: F64, values: F64, usual: tuple[F64, F64], lines: Lines) -> F64:
    """(R, L, E) what a stratum of counts (R, J) adds to the logs of the bets; `usual`: mean and variance, each (R,).

    It is 0 where an arm has nothing, and where the primary's values never vary.
    """
    mean, variance = (np.ascontiguousarray(moment, np.float64) for moment in usual)
    a, b, g = (np.ascontiguousarray(counts, np.float64) for counts in (primary, candidate, values))
    gains = np.zeros((len(mean), len(lines.times), len(EFFECTS)))
    add_two_arms(a, b, g, mean, variance, np.stack(lines), EFFECTS, KEPT, gains)
    return gains


def one_sample_gains(counts: F64, values: F64, variance: F64, side: F64) -> F64:
    """(R, L, E) what counts (R, J) of the values (L, J) add to the logs of bets that side · mean > 0.

    `variance` (R, L) is that of earlier values; where it is 0 nothing is bet.
    """
    used = variance[..., None] > 0
    lost = (-side[:, None] * values).max(axis=-1)[None, :, None]
    bet = np.minimum(EFFECTS / np.sqrt(np.where(used, variance[..., None], 1.0)), _cut(lost))
    won = np.log1p((side[:, None] * bet)[..., None] * values[None, :, None, :]) @ counts[:, None, :, None]
    return np.where(used, won[..., 0], 0.0)


def log_mixture(log_bets: F64, f: F64 | float = 1.0) -> F64:
    """(R, L) log of the mixture over effects of bets (R, L, E), the log of each divided by f (R,)."""
    scaled = log_bets / (np.asarray(f)[:, None, None] if np.ndim(f) else f)
    top = scaled.max(axis=-1)
    return np.asarray(top + np.log(np.exp(scaled - top[..., None]) @ PRIOR))


def _cut(lost: F64) -> F64:
    """The largest stake that keeps every factor at 1 - `KEPT`, where a value may lose so much of it."""
    return np.where(lost > 0, KEPT / np.where(lost > 0, lost, 1.0), np.inf)
