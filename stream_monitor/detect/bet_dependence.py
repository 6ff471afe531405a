"""The factor f by which the log of a bet is divided where requests do not come alone.

Where a router draws each request alone, outcomes that go together make a bet only smaller. Where it draws lumps of
requests (sessions, batches), a lump is one draw, and bets grow f times too fast. Both the hits and the draw itself show
the lumps:

- z = hits of the candidate less those expected of all hits k, n_B k / n. Its variance v is that of single draws at the
  arms' own rates so far, so that harm is no scatter. φ is the variance of z²/v over strata, and over blocks of 2, 4 and
  8 strata, for lumps that outlast a stratum.
- (n_B - n w)² / (n w (1 - w)), where the router draws at a known weight w.

f is the largest of 1, a given number, φ (1 + √(2/N)) of single strata, the same of blocks where φ > 1 + 2 √(2/N), and,
until 30 f hits are expected of the candidate, the same of the split. Below 8 strata with hits f is 20, so that only a
disaster acts. It does not see users who stay in one arm for days: give the factor 1 + (requests a user - 1) ·
correlation (Kish 1965).
"""

from __future__ import annotations

import msgspec
import numpy as np

from stream_monitor.detect.bet_kernels import add_scatter, factors
from stream_monitor.types import F64

LEVELS = 4
"""Blocks of 1, 2, 4 and 8 strata."""
ENOUGH = 8
"""Strata, or blocks of them, from which a variance is believed."""
UNKNOWN = 20.0
"""f until then."""
HITS = 30.0
"""Hits of the candidate, times f of the split, from which on hits show by themselves how they scatter."""


def scattered(counts: F64, x: F64, variance: F64) -> F64:
    """(4, R) what a stratum of counts (R, J) of values x (J,) adds to a scatter: z, v, z²/v, 1.

    z is the sum of the values, v its variance if requests come alone, by the variance (R,) of one value.
    """
    n = counts.sum(axis=-1)
    z, v = counts @ x, np.maximum(n * variance, 1e-9)
    return np.asarray((n > 0) * np.stack([z, v, z * z / v, np.ones(len(n))]))


def scatter_factor(scatter: F64) -> F64:
    """(R,) variance of z over strata as a multiple of v, of the sums (4, R) of `scattered`; 1 below 8 strata."""
    z, v, squares, count = scatter
    known = count >= ENOUGH
    phi = (squares - z**2 / np.where(v > 0, v, 1.0)) / np.where(known, count - 1, 1.0)
    error = np.sqrt(2 / np.where(known, count, 1.0))
    return np.where(known & (phi > 1 + 2 * error), phi * (1 + error), 1.0)


class Dependence(msgspec.Struct):
    """What strata have shown of the scatter of hits and of the split, for R rows."""

    strata: int
    hits: np.ndarray
    """(R, 2) of primary and candidate."""
    expected: np.ndarray
    """(R, 2) of all hits, by each arm's share of the values of its stratum."""
    drawn: np.ndarray
    """(R,) sum of the squared standardised deviations of the split."""
    draws: int
    open: np.ndarray
    """(2, R, LEVELS) z and v of the block that is being filled."""
    sums: np.ndarray
    """(4, R, LEVELS) of blocks that are full: z, v, z²/v and their number."""

    @classmethod
    def none(cls, rows: int = 1) -> Dependence:
        """Nothing was seen."""
        two, levels = np.zeros((rows, 2)), np.zeros((rows, LEVELS))
        return cls(0, two, two.copy(), np.zeros(rows), 0, np.stack([levels] * 2), np.stack([levels] * 4))

    def take(self, hits: tuple[F64, F64], n: tuple[F64, F64], weight: float | None = None) -> None:
        """Take in a stratum: hits and values (R,) of primary and candidate, and the weight that the router drew by."""
        self.strata += 1
        self.hits, self.expected = self.hits.copy(), self.expected.copy()
        self.open, self.sums = self.open.copy(), self.sums.copy()
        a, b, n_a, n_b = (np.ascontiguousarray(column, np.float64) for column in (*hits, *n))
        add_scatter(a, b, n_a, n_b, self.strata, self.hits, self.expected, self.open, self.sums)
        if weight is not None and 0 < weight < 1:
            total = n[0] + n[1]
            variance = np.maximum(total * weight * (1 - weight), 1e-9)
            self.drawn = self.drawn + (n[1] - total * weight) ** 2 / variance
            self.draws += 1

    def factor(self, given: float = 1.0) -> F64:
        """(R,) f."""
        found = np.empty(len(self.hits))
        factors(self.sums, self.expected, self.drawn, float(self.draws), float(given), (ENOUGH, UNKNOWN, HITS), found)
        return found
