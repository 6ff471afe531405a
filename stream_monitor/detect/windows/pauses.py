"""The pauses of a stream that comes now and then, such as labels: when is a pause longer than the usual ones?

A stream is followed minute by minute. A gap is the number of minutes from one minute with items to the next. Usual is
the p99 of past gaps, weighed by their length: 99 % of the time lay in gaps that were no longer. So the pause of a night
or a weekend is usual after it came twice, and one outage teaches nothing. A pause is silence when it has lasted

- `CLEAR` times the usual gap, and
- `LEAST` mean gaps: items that come independently make such a gap with the probability exp(-12). Items that come
  regularly, such as a batch a day, need less: the mean and `LEAST` standard deviations of the gaps above the mean one.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import msgspec

from stream_monitor.detect.windows.quiet import CLEAR, LEAST

LEAST_SEEN = 50
"""Minutes with items that must have come before a pause says anything."""
USUAL = 0.99
REPEATED = 1.5
"""A gap is usual, or regular, only if more than so many were as long; after a halving two count as one."""
STEP = 1.25
"""Gaps are counted in bins of this ratio."""
MEMORY = 28 * 24 * 60
"""Minutes; when so many are in the counts, all counts are halved."""


class Pauses(msgspec.Struct):
    """What is known of one stream, minute by minute.

    An hour with items in every minute, and then none: after 12 mean gaps the pause is longer than usual.

    >>> stream = Pauses()
    >>> for minute in range(60):
    ...     stream.arrive()
    >>> [stream.wait(least=10) for minute in range(12)].index(True) + 1
    12

    Items come once in an hour, 60 times: after 105 minutes without one it is silence.

    >>> stream = Pauses()
    >>> for minute in range(3_600):
    ...     if minute % 60:
    ...         _ = stream.wait(least=10)
    ...     else:
    ...         stream.arrive()
    >>> [stream.wait(least=10) for minute in range(800)].index(True) + 60
    105
    """

    seen: int = 0
    """Minutes with items so far."""
    lasted: int = 0
    """Minutes of the pause that goes on."""
    counts: dict[int, tuple[float, float]] = {}
    """By bin of gaps: their number and their minutes. Older ones count less."""

    def arrive(self) -> None:
        """A minute with items."""
        gap = self.lasted + 1 if self.seen else 1
        place = math.ceil(math.log(gap, STEP))
        number, minutes = self.counts.get(place, (0.0, 0.0))
        self.counts[place] = number + 1, minutes + gap
        self.seen, self.lasted = self.seen + 1, 0
        if sum(minutes for _, minutes in self.counts.values()) > MEMORY:
            halved = {place: (number / 2, minutes / 2) for place, (number, minutes) in self.counts.items()}
            self.counts = {place: one for place, one in halved.items() if one[0] > 1 / MEMORY}

    def wait(self, least: float) -> bool:
        """A minute without items; whether the pause is silence now. It never is before `least` minutes."""
        self.lasted += 1
        return self.seen >= LEAST_SEEN and self.lasted >= least and self.lasted >= self.longest(least)

    @property
    def usual(self) -> float:
        """The usual gap in minutes."""
        number, left = 0.0, (1 - USUAL) * sum(minutes for _, minutes in self.counts.values())
        for place in sorted(self.counts, reverse=True):
            number, left = number + self.counts[place][0], left - self.counts[place][1]
            if left <= 0 and number > REPEATED:
                return float(STEP**place)
        return 1.0

    def longest(self, least: float) -> float:
        """Minutes after which a pause is silence; never fewer than `least`."""
        return max(least, CLEAR * self.usual, self._expected()) if self.counts else math.inf

    def _expected(self) -> float:
        """Minutes in which an item would have come, by the mean gap or by how regular the gaps above it are."""
        number, minutes = _total(self.counts.values())
        mean = minutes / number
        long = [one for one in self.counts.values() if one[1] > mean * one[0]]
        number, minutes = _total(long)
        if number < REPEATED:
            return LEAST * mean
        middle = minutes / number
        deviation = math.sqrt(sum(n * (total / n - middle) ** 2 for n, total in long) / number)
        return min(LEAST * mean, middle + LEAST * deviation)


def _total(counts: Collection[tuple[float, float]]) -> tuple[float, float]:
    """Number and minutes of gaps."""
    numbers, minutes = zip(*counts, strict=True) if counts else ((), ())
    return sum(numbers), sum(minutes)
