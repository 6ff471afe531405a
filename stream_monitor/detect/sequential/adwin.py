"""ADWIN: a window that grows while its mean holds, and forgets its older part when two parts disagree.

Bifet and Gavaldà, "Learning from time-changing data with adaptive windowing" (2007); the variance-aware cut of section
4. A pane enters as one bucket (n, mean, m2), which is what ADWIN's buckets are; panes of one value behave exactly as
River's ADWIN. Memory is 6 buckets a level, levels grow with the logarithm of the panes. Assumes independent values:
dependence makes it ring more often. Unit: whatever it is fed, here baseline standard deviations.
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
    """n values: their sum, centred sum of squares, and the time of the first."""

    n: int
    total: float
    m2: float
    since: int


class Change(msgspec.Struct, frozen=True):
    """What a sequential detector found; means in the unit it is fed."""

    score: float
    threshold: float
    before: float
    after: float
    since: int | None
    """Estimated time of the change, epoch ms."""


class Adwin(msgspec.Struct, tag="adwin"):
    """One measure's ADWIN; `levels[i]` holds buckets of 2^i panes, oldest first."""

    delta: float
    levels: list[list[Bucket]] = msgspec.field(default_factory=lambda: [[]])
    width: int = 0
    total: float = 0.0
    m2: float = 0.0
    unchecked: int = 0

    def update(self, n: int, mean: float, m2: float, ts: int) -> Change | None:
        """Take in a pane of n values; a Change, and a fresh start as in River, when two parts disagree."""
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
        """The oldest place at which both sides' means differ by more than chance allows."""
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
    """What joining n values of sum `total` with a bucket adds to their centred sums of squares."""
    if not n:
        return 0.0
    return n * bucket.n * (total / n - bucket.total / bucket.n) ** 2 / (n + bucket.n)
