"""Page-Hinkley: cumulative deviations from the running mean, both ways.

Page, "Continuous inspection schemes" (1954); Hinkley, "Inference about the change-point from cumulative sum tests"
(1971); with the fading factor that River uses, and on panes of one value exactly River's behaviour. A pane of n values
enters as n values at the pane's mean, in one compiled call. The change is estimated where the sum last was at its
extreme, which is coarse where delta is small; what changed are the values since. Memory: 14 numbers. The threshold is
in the unit it is fed, here baseline standard deviations.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np

from stream_monitor.detect.sequential.adwin import Change
from stream_monitor.kernels.numba_backend import compiled
from stream_monitor.types import F64

ALPHA = 1 - 0.0001
MIN_INSTANCES = 30


class Since(msgspec.Struct):
    """The values since a cumulative sum was last at its extreme."""

    n: int = 0
    total: float = 0.0
    ts: int | None = None
    """Of the pane of the first."""

    def update(self, taken: int, now: tuple[float, float], ts: int) -> None:
        """After a pane at `ts`, of which so many values were taken, the number and total are these."""
        n, total = now
        if n <= taken:  # the extreme lies in this pane or at its start
            self.ts = ts if n else None
        self.n, self.total = int(n), total


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
    rise: Since = msgspec.field(default_factory=Since)
    fall: Since = msgspec.field(default_factory=Since)

    def update(self, n: int, mean: float, m2: float, ts: int) -> Change | None:
        """Take in a pane of n values; a Change, and a fresh start, when a sum passes the threshold."""
        rise, fall = self.rise, self.fall
        numbers = np.array([
            self.n, self.mean, self.up, self.down, self.least, self.most, rise.n, rise.total, fall.n, fall.total
        ])  # fmt: skip
        taken, rang = _take(numbers, n, mean, self.threshold, self.delta)
        count, self.mean, self.up, self.down, self.least, self.most, *since = numbers.tolist()
        self.n = int(count)
        rise.update(taken, (since[0], since[1]), ts)
        fall.update(taken, (since[2], since[3]), ts)
        if not rang:
            return None
        found = self._change(ts)
        fresh = PageHinkley(self.threshold, self.delta)
        for name in self.__struct_fields__:
            setattr(self, name, getattr(fresh, name))
        return found

    def _change(self, ts: int) -> Change:
        rose = self.up - self.least > self.threshold
        score, since = (self.up - self.least, self.rise) if rose else (self.down - self.most, self.fall)
        earlier = self.n - since.n
        before = (self.mean * self.n - since.total) / earlier if earlier else self.mean
        after, began = since.total / max(since.n, 1), ts if since.ts is None else since.ts
        return Change(score, self.threshold, before, after, began)


@compiled
def _take(numbers: F64, n: int, x: float, threshold: float, delta: float) -> Any:
    """Take in n times the value x; how many were, and whether the last of them passed the threshold."""
    count, mean, up, down, least, most, rise_n, rise_total, fall_n, fall_total = numbers
    taken, rang = 0, False
    while taken < n and not rang:
        taken += 1
        count += 1
        mean += (x - mean) / count
        deviation = x - mean
        up = ALPHA * up + deviation - delta
        down = ALPHA * down + deviation + delta
        rise_n, rise_total = (rise_n + 1, rise_total + x) if up >= least else (0.0, 0.0)
        fall_n, fall_total = (fall_n + 1, fall_total + x) if down <= most else (0.0, 0.0)
        least, most = min(least, up), max(most, down)
        rang = count >= MIN_INSTANCES and max(up - least, most - down) > threshold
    for at, value in enumerate((count, mean, up, down, least, most, rise_n, rise_total, fall_n, fall_total)):
        numbers[at] = value
    return taken, rang
