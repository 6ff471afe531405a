"""The check of the split: does the router send the candidate the share that was decided?

Two one-sample bets: the share is above w · 1.05, or below w · .95 (Lindon and Malek 2022). The log of their mean worth
is divided by how much the split scatters by itself, so that a router that draws lumps is not suspected. A check holds
and never rolls back: what is wrong is the comparison.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np

from stream_monitor.detect.bet_dependence import scatter_factor
from stream_monitor.detect.bets import EFFECTS, log_mixture, one_sample_gains
from stream_monitor.types import F64

TOLERANCE = 0.05
"""Part of the weight by which the share may be off."""
FURTHER = 1_000
"""Requests on the weight that end a check that holds."""
SIDES = np.array([1.0, -1.0])


class SplitCheck(msgspec.Struct):
    """The bets of R rows since a weight was decided."""

    log_bets: np.ndarray
    """(R, 2, E)"""
    scatter: np.ndarray
    """(4, R) of z = requests of the candidate less those expected: z, variance v, z²/v, strata."""
    n: float = 0.0
    to_candidate: float = 0.0
    fired: bool = False
    further: float = 0.0
    further_to_candidate: float = 0.0

    @classmethod
    def start(cls, rows: int = 1) -> SplitCheck:
        """Bets worth 1."""
        return cls(np.zeros((rows, 2, len(EFFECTS))), np.zeros((4, rows)))

    def take(self, primary: F64, candidate: F64, weight: float) -> None:
        """Take in requests (R,) of both versions at a weight."""
        lines = np.array([min(weight * (1 + TOLERANCE), 1 - 1e-9), weight * (1 - TOLERANCE)])
        spread = weight * (1 - weight)
        variance, x = np.full((len(primary), 2), spread), np.stack([-lines, 1 - lines], axis=-1)
        self.log_bets = self.log_bets + one_sample_gains(np.stack([primary, candidate], -1), x, variance, SIDES)
        n = primary + candidate
        z, v = candidate - n * weight, np.maximum(n * spread, 1e-9)
        self.scatter = self.scatter + (n > 0) * np.stack([z, v, z * z / v, np.ones(len(n))])

    def factor(self) -> F64:
        """(R,) variance of the split over strata, as a multiple of that of single draws; 1 below 8 strata."""
        return scatter_factor(self.scatter)

    def log_worth(self) -> F64:
        """(R,) log of the mean of both bets."""
        return np.asarray(np.logaddexp(*log_mixture(self.log_bets, self.factor()).T) - math.log(2))

    def watch(self, primary: float, candidate: float, weight: float, alpha: float) -> None:
        """Take in a pane of one rollout; fire at 1/alpha, and begin anew after so many requests on the weight."""
        self.take(np.array([primary]), np.array([candidate]), weight)
        self.n, self.to_candidate = self.n + primary + candidate, self.to_candidate + candidate
        if not self.fired:
            self.fired = bool(self.log_worth()[0] >= -math.log(alpha))
            return
        self.further, self.further_to_candidate = (
            self.further + primary + candidate,
            self.further_to_candidate + candidate,
        )
        if self.further >= FURTHER:
            expected, spread = self.further * weight, math.sqrt(self.further * weight * (1 - weight))
            if abs(self.further_to_candidate - expected) <= TOLERANCE * expected + 2 * spread:
                self.reset()
            self.further = self.further_to_candidate = 0.0

    def reset(self) -> None:
        """Begin anew: a weight was decided, or a person knows why."""
        fresh = SplitCheck.start(len(self.log_bets))
        for name in self.__struct_fields__:
            setattr(self, name, getattr(fresh, name))

    @property
    def share(self) -> float:
        """The candidate's share since the weight was decided."""
        return self.to_candidate / self.n if self.n else 0.0
