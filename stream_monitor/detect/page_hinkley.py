"""Page-Hinkley: cumulative deviations from the running mean, both ways.

Page, "Continuous inspection schemes" (1954); Hinkley (1971); with the fading factor that River uses, and on panes
of one value exactly River's behaviour. A pane of n values enters as n values at the pane's mean.
Memory: five numbers. The threshold is in the unit it is fed, here baseline standard deviations.
"""

from __future__ import annotations

import math

import msgspec

from stream_monitor.detect.adwin import Change

ALPHA = 1 - 0.0001
MIN_INSTANCES = 30


class PageHinkley(msgspec.Struct, tag="page_hinkley"):
    """One measure's Page-Hinkley test in both directions."""

    threshold: float
    delta: float
    n: int = 0
    mean: float = 0.0
    up: float = 0.0
    down: float = 0.0
    least: float = math.inf
    most: float = -1.0
    since: int | None = None

    def update(self, n: int, mean: float, m2: float, ts: int) -> Change | None:
        """Take in a pane of n values; a Change, and a fresh start, when a sum passes the threshold."""
        before = self.mean
        for _ in range(n):
            self._value(mean)
            score = max(self.up - self.least, self.most - self.down)
            if self.n >= MIN_INSTANCES and score > self.threshold:
                rose = self.up - self.least > self.threshold
                found = Change(score if rose else -score, self.threshold, before, mean, self.since or ts)
                self._restart()
                return found
        if self.since is None:
            self.since = ts
        return None

    def _value(self, x: float) -> None:
        self.n += 1
        self.mean += (x - self.mean) / self.n
        deviation = x - self.mean
        self.up = ALPHA * self.up + deviation - self.delta
        self.down = ALPHA * self.down + deviation + self.delta
        self.least = min(self.least, self.up)
        self.most = max(self.most, self.down)

    def _restart(self) -> None:
        self.n, self.mean, self.up, self.down = 0, 0.0, 0.0, 0.0
        self.least, self.most, self.since = math.inf, -1.0, None
