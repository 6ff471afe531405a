"""ADWIN: a window of values that grows while its mean holds, and restarts when the means of two parts differ.

Bifet and Gavaldà, "Learning from time-changing data with adaptive windowing" (2007), with the variance-aware cut of
section 4. A pane enters as one bucket (n, mean, m2), as ADWIN's own buckets are. With panes of one value it behaves
exactly as River's ADWIN. Memory is 6 buckets a level; the number of levels grows with the logarithm of the panes. It
assumes independent values; dependence causes more false alarms. Its unit is that of its input, here baseline standard
deviations.
"""

from __future__ import annotations

import math
from itertools import pairwise

import msgspec

CLOCK = 32
MAX_BUCKETS = 5
MIN_LENGTH = 5
GRACE = 10


class Bucket(msgspec.Struct, array_like=True):
    """n values: their sum, their centred sum of squares, and the time of the first."""

    n: int
    total: float
    m2: float
    since: int


class Change(msgspec.Struct, frozen=True):
    """An alarm of a sequential detector; means are in the unit of its input."""

    score: float
    threshold: float
    before: float
    after: float
    since: int | None
    """Estimated time of the change, epoch ms."""


class Adwin(msgspec.Struct, tag="adwin"):
    """One measure's ADWIN; `levels[i]` holds buckets of 2^i panes, oldest first.

    The mean rises by 1 at value 500:

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> values = [*rng.normal(0, 1, 500).tolist(), *rng.normal(1, 1, 500).tolist()]
    >>> detector = Adwin(delta=0.002)
    >>> next(i for i, x in enumerate(values) if detector.update(1, x, 0.0, i))
    543
    """

    delta: float
    levels: list[list[Bucket]] = msgspec.field(default_factory=lambda: [[]])
    width: int = 0
    total: float = 0.0
    m2: float = 0.0
    unchecked: int = 0

    def update(self, n: int, mean: float, m2: float, ts: int) -> Change | None:
        """Take in a pane of n values; return a Change and restart, as River does, when two parts differ."""
        self._insert(Bucket(n, n * mean, m2, ts))
        self.unchecked += n
        if self.unchecked < CLOCK or self.width <= GRACE:
            return None
        self.unchecked %= CLOCK
        change = self._cut()
        if change is not None:
            self.levels, self.width, self.total, self.m2, self.unchecked = [[]], 0, 0.0, 0.0, 0
        return change

    def _insert(self, bucket: Bucket) -> None:
        self.levels[0].append(bucket)
        self.m2 += bucket.m2 + _between(self.width, self.total, bucket)
        self.width += bucket.n
        self.total += bucket.total
        level = 0
        while len(self.levels[level]) > MAX_BUCKETS:
            older, newer = self.levels[level][0], self.levels[level][1]
            del self.levels[level][:2]
            if level + 1 == len(self.levels):
                self.levels.append([])
            m2 = older.m2 + newer.m2 + _between(older.n, older.total, newer)
            self.levels[level + 1].append(Bucket(older.n + newer.n, older.total + newer.total, m2, older.since))
            level += 1

    def _cut(self) -> Change | None:
        """The oldest cut at which the means of both sides differ by more than the bound."""
        variance = self.m2 / self.width
        confidence = math.log(2 * math.log(self.width) / self.delta)
        n0, total0 = 0, 0.0
        buckets = [bucket for level in reversed(self.levels) for bucket in level]
        for bucket, newer in pairwise(buckets):
            n0 += bucket.n
            total0 += bucket.total
            n1 = self.width - n0
            if n0 < MIN_LENGTH or n1 < MIN_LENGTH:
                continue
            before, after = total0 / n0, (self.total - total0) / n1
            weight = 1 / (n0 - MIN_LENGTH + 1) + 1 / (n1 - MIN_LENGTH + 1)
            bound = math.sqrt(2 * weight * variance * confidence) + 2 / 3 * confidence * weight
            if abs(before - after) > bound:
                return Change(after - before, bound, before, after, newer.since)
        return None


def _between(n: int, total: float, bucket: Bucket) -> float:
    """The amount that merging n values of sum `total` with a bucket adds to their centred sums of squares."""
    if not n:
        return 0.0
    apart = total / n - bucket.total / bucket.n
    return n * bucket.n * apart * apart / (n + bucket.n)  # a power of a large float would raise
