"""The check of the mirror: does the candidate answer the primary's requests, too?

A one-sample bet that more than 1 % of the primary's requests have no pair. It holds and never rolls back: answers that
did not come say nothing of those that did. A request waits for its pair until its grain has the first age that is at
least as long as a grain.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np

from stream_monitor.detect.bets import HARM, OneSampleBets

PAIRED = 0.99
"""Share of the primary's requests that must have a pair."""
FURTHER = 1_000
"""Requests with enough pairs that end a check that holds."""


class PairedCheck(msgspec.Struct):
    """The bet since the start, or since a person said to go on."""

    bets: OneSampleBets
    n: float = 0.0
    paired: float = 0.0
    fired: bool = False
    further: float = 0.0
    further_paired: float = 0.0
    open: dict[int, int] = {}
    """By start of a grain: pairs so far."""

    @classmethod
    def start(cls) -> PairedCheck:
        """A bet worth 1."""
        return cls(OneSampleBets.start(1, 1, np.array([[PAIRED, 1 - PAIRED]]) * FURTHER / 10))

    def count(self, grain: int, pairs: int) -> int:
        """Add pairs of a grain; return all of them so far."""
        self.open[grain] = self.open.get(grain, 0) + pairs
        return self.open[grain]

    def watch(self, grain: int, requests: float, alpha: float) -> None:
        """Judge a grain by the requests of the primary; fire at 1/alpha, and begin anew when there are enough pairs."""
        paired = min(float(self.open.pop(grain, 0)), requests)
        counts, x = np.array([[paired, requests - paired]]), np.array([[PAIRED - 1, PAIRED]])
        self.bets.take(counts, x, np.array([float(HARM)]))
        self.n, self.paired = self.n + requests, self.paired + paired
        if not self.fired:
            self.fired = self.log_worth() >= -math.log(alpha)
            return
        self.further, self.further_paired = self.further + requests, self.further_paired + paired
        if self.further >= FURTHER:
            spread = math.sqrt(self.further * PAIRED * (1 - PAIRED))
            if self.further_paired >= PAIRED * self.further - 2 * spread:
                self.reset()
            self.further = self.further_paired = 0.0

    def log_worth(self) -> float:
        """Log of what the bet is worth."""
        return float(self.bets.log_worth()[0, 0])

    def reset(self) -> None:
        """Begin anew: there are enough pairs, or a person knows why not."""
        fresh = PairedCheck.start()
        self.bets, self.n, self.paired, self.fired = fresh.bets, 0.0, 0.0, False
        self.further = self.further_paired = 0.0

    @property
    def share(self) -> float:
        """Share of requests with a pair; 1 without requests."""
        return self.paired / self.n if self.n else 1.0
