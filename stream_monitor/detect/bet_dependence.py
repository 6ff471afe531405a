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

from stream_monitor.types import F64, Bool

LEVELS = 4
"""Blocks of 1, 2, 4 and 8 strata."""
ENOUGH = 8
"""Strata, or blocks of them, from which a variance is believed."""
UNKNOWN = 20.0
"""f until then."""
HITS = 30.0
"""Hits of the candidate, times f of the split, from which on hits show by themselves how they scatter."""


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
        share = np.stack(n, axis=-1) / np.maximum(n[0] + n[1], 1)[:, None]
        self.hits = self.hits + np.stack(hits, axis=-1)
        self.expected = self.expected + share * (hits[0] + hits[1])[:, None]
        self.strata += 1
        self.open = self.open + np.stack(contrast(hits, n, (self.hits + 1) / (self.expected + 1)))[..., None]
        full = self.strata % (1 << np.arange(LEVELS)) == 0
        z, v = self.open
        counted = full & (v > 0)
        self.sums = self.sums + counted * np.stack([z, v, z**2 / np.where(v > 0, v, 1.0), np.ones_like(v)])
        self.open = np.where(counted, 0.0, self.open)
        if weight is not None and 0 < weight < 1:
            total = n[0] + n[1]
            variance = np.maximum(total * weight * (1 - weight), 1e-9)
            self.drawn = self.drawn + (n[1] - total * weight) ** 2 / variance
            self.draws += 1

    def factor(self, given: float = 1.0) -> F64:
        """(R,) f."""
        lumps = _effect(self.drawn / self.draws, self.draws, False) if self.draws else np.ones(len(self.hits))
        z, v, squares, count = self.sums
        f = np.where(count[:, 0] >= ENOUGH, max(1.0, given), max(UNKNOWN, given))
        f = np.where(self.expected[:, 1] < HITS * lumps, np.maximum(f, lumps), f)
        known = count >= ENOUGH
        phi = (squares - z**2 / np.where(v > 0, v, 1.0)) / np.where(known, count - 1, 1.0)
        single = np.arange(LEVELS) == 0
        effects = np.where(known, _effect(phi, np.where(known, count, 1.0), single), 1.0)
        return np.asarray(np.maximum(f, effects.max(axis=-1)))


def contrast(hits: tuple[F64, F64], n: tuple[F64, F64], ratio: F64) -> tuple[F64, F64]:
    """(R,) hits of the candidate less those expected of all hits, and the variance of that for single draws.

    `ratio` (R, 2): how many times the expected hits each arm had so far. With 1 and 1 it is hypergeometric.
    """
    (a, b), (n_a, n_b) = hits, n
    total, k = n_a + n_b, a + b
    used = (n_a > 0) & (n_b > 0) & (total >= 2) & (k > 0) & (k < total)
    total = np.where(used, total, 2.0)
    p_a, p_b = (np.minimum(ratio[:, arm] * k / total, 1.0) for arm in (0, 1))
    v = (n_a * n_a * n_b * p_b * (1 - p_b) + n_b * n_b * n_a * p_a * (1 - p_a)) / (total * (total - 1.0))
    return np.where(used, b - n_b * k / total, 0.0), np.where(used, v, 0.0)


def _effect(phi: F64, n: F64 | float, single: Bool | bool) -> F64:
    """The design effect that n squared standardised contrasts with mean phi show."""
    error = np.sqrt(2.0 / n)
    return np.where(np.asarray(single) | (phi > 1 + 2 * error), phi * (1 + error), 1.0)
