"""Absence of events: how many were expected since the last one came.

The expected number of an empty window is the mean number of the windows before it, or a usual share of the events that
the window does hold. Expected numbers add up while nothing comes. A run of empty windows is silence when `LEAST` events
were expected in it, and `CLEAR` times as many as in the longest run but one so far: traffic that pauses every night
teaches that with its second night, and one outage teaches nothing.

For events that come independently, a gap in which `LEAST` are expected has the probability exp(-12).
"""

from __future__ import annotations

import msgspec

LEAST = 12.0
CLEAR = 1.5
LEAST_SEEN = 50
"""Events that must have come before their absence says anything."""
MEMORY = 300
"""Windows in the mean; beyond so many it is exponentially weighted."""


class QuietRun(msgspec.Struct):
    """What is known of one stream of events, window by window.

    Sixty windows of a minute with ten events each, and then none: the second empty window is silence.

    >>> run = QuietRun()
    >>> [run.observe(10, 10, minute * 60_000) for minute in range(60)].count(True)
    0
    >>> [run.observe(0, 0, minute * 60_000) for minute in (60, 61)], run.since // 60_000
    ([False, True], 60)
    """

    seen: int = 0
    """Events so far."""
    windows: int = 0
    mean: float = 0.0
    """Mean number of events of a window."""
    of: float = 0.0
    """Mean number of the events that these are a share of; equal to `mean` for a stream of its own."""
    expected: float = 0.0
    """Events that were expected since the last one came."""
    empty: int = 0
    """Empty windows since then."""
    since: int = 0
    """Start of the first of them (epoch ms)."""
    others: int = 0
    """Events of the whole in them."""
    longest: tuple[float, float] = (0.0, 0.0)
    """Most and second most events that were expected in a run which has ended."""

    @property
    def replaced(self) -> bool:
        """Whether the whole has as many events as before while this stream has none, give or take half of its share."""
        return self.empty > 0 and self.others / self.empty >= self.of - self.mean / 2

    def observe(self, count: int, whole: int, start: int, overlap: float = 1.0) -> bool:
        """Take in a window with `count` of `whole` events; whether this stream is silent now.

        `overlap` is slide / size: the part of a sliding window that the window before it does not hold.
        """
        if count:
            self._end_run()
            self._learn(count, whole)
            self.seen += count
            return False
        if self.seen < LEAST_SEEN or not self.of:
            return False
        if not self.empty:
            self.since = start
        self.empty += 1
        self.others += whole
        self.expected += overlap * self.mean * (whole / self.of if whole else 1.0)
        return self.expected >= max(LEAST, CLEAR * self.longest[1])

    def _end_run(self) -> None:
        if self.empty:
            most, second = self.longest
            self.longest = max(most, self.expected), max(second, min(most, self.expected))
            if self.expected < LEAST:  # empty windows of a pause belong to the rate, those of an outage do not
                for _ in range(self.empty):
                    self._learn(0, 0)
            self.expected, self.empty, self.others = 0.0, 0, 0

    def _learn(self, count: int, whole: int) -> None:
        self.windows = min(self.windows + 1, MEMORY)
        self.mean += (count - self.mean) / self.windows
        self.of += (whole - self.of) / self.windows
