"""Volume: a window's event count against the range that was normal over a day."""

from __future__ import annotations

import msgspec

from stream_monitor.events.contracts import Finding

DAY = 86_400_000
LEAST_WINDOWS = 7


class VolumeRange(msgspec.Struct):
    """Smallest and largest count of the first day of windows (at least seven).

    A range over a whole day is what a count can be held against without knowing the season: traffic that falls tenfold
    every night is normal, and a window outside the range by the tolerated factor is not.
    """

    windows: int = 0
    least: int = 0
    most: int = 0
    total: int = 0
    partial: int = 0
    """Windows that were not learned, because they had begun before the first event."""

    def learned(self, slide: int) -> bool:
        """Whether enough windows have been seen, of which one ends every `slide` ms."""
        return self.windows >= max(LEAST_WINDOWS, DAY // slide)

    def train(self, count: int, partial: int = 0) -> None:
        """Take in a window that is part of the baseline, but not the first few that are `partial`.

        The first windows that slide over the first event hold a slide of traffic, two, three and so on.
        """
        if self.partial < partial:
            self.partial += 1
            return
        self.least = count if not self.windows else min(self.least, count)
        self.most = max(self.most, count)
        self.total += count
        self.windows += 1

    def check(self, count: int, slide: int, tolerance: float) -> Finding | None:
        """A finding when a window lies outside the range by more than the tolerated factor."""
        if not self.learned(slide) or self.least / tolerance <= count <= self.most * tolerance:
            return None
        up = count > self.most
        bound = self.most * tolerance if up else self.least / tolerance
        evidence = {
            "baseline": {"n": self.windows, "mean": self.total / self.windows, "min": self.least, "max": self.most}
        }
        return Finding(
            detector="volume", score=float(count), threshold=bound, direction="up" if up else "down", evidence=evidence
        )
