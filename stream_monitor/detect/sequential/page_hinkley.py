"""Page-Hinkley: cumulative deviations from the running mean, in both directions.

Page, "Continuous inspection schemes" (1954); Hinkley, "Inference about the change-point from cumulative sum tests"
(1971); with the fading factor of River. With panes of one value it behaves exactly as River's detector. A pane of n
values enters as n values at the pane's mean, in one compiled call. The estimated change is where the sum last was at
its extreme; this is coarse if delta is small. `after` is the mean of the values since then. Memory: 14 numbers. The
threshold is in the unit of the input, here baseline standard deviations.
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
    """Start of the pane that contains the first of them."""

    def update(self, taken: int, now: tuple[float, float], ts: int) -> None:
        """Set number and total, `now`, after a pane at `ts` of which `taken` values were taken in."""
        n, total = now
        if n <= taken:  # the extreme lies in this pane or at its start
            self.ts = ts if n else None
        self.n, self.total = int(n), total


class PageHinkley(msgspec.Struct, tag="page_hinkley"):
    """One measure's Page-Hinkley test in both directions.

    The mean rises by 1 at value 500:

    >>> rng = np.random.default_rng(0)
    >>> values = [*rng.normal(0, 1, 500).tolist(), *rng.normal(1, 1, 500).tolist()]
    >>> detector = PageHinkley(threshold=50.0, delta=0.05)
    >>> next(i for i, x in enumerate(values) if detector.update(1, x, 0.0, i))
    544
    """

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
        """Take in a pane of n values; return a Change and restart when a sum passes the threshold."""
        rise, fall = self.rise, self.fall
        numbers = np.array([
            self.n, self.mean, self.up, self.down, self.least, self.most, rise.n, rise.total, fall.n, fall.total
        ])  # fmt: skip
        taken, alarm = _take(numbers, n, mean, self.threshold, self.delta)
        count, self.mean, self.up, self.down, self.least, self.most, *since = numbers.tolist()
        self.n = int(count)
        rise.update(taken, (since[0], since[1]), ts)
        fall.update(taken, (since[2], since[3]), ts)
        if not alarm:
            return None
        change = self._change(ts)
        fresh = PageHinkley(self.threshold, self.delta)
        for name in self.__struct_fields__:
            setattr(self, name, getattr(fresh, name))
        return change

    def _change(self, ts: int) -> Change:
        rose = self.up - self.least > self.threshold
        score, since = (self.up - self.least, self.rise) if rose else (self.down - self.most, self.fall)
        earlier = self.n - since.n
        before = (self.mean * self.n - since.total) / earlier if earlier else self.mean
        after, began = since.total / max(since.n, 1), ts if since.ts is None else since.ts
        return Change(score, self.threshold, before, after, began)


@compiled
def _take(numbers: F64, n: int, x: float, threshold: float, delta: float) -> Any:
    """Take in n times the value x, up to an alarm; return how many were taken, and whether the last raised one."""
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
