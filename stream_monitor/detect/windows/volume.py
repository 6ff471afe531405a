"""Volume: the comparison of a window's event count with the range of counts of a day."""

from __future__ import annotations

import msgspec

from stream_monitor.events.contracts import Finding

DAY = 86_400_000
LEAST_WINDOWS = 7


class VolumeRange(msgspec.Struct):
    """Smallest and largest count of the first day of windows (at least seven).

    The range of a whole day needs no knowledge of the season. Traffic that falls tenfold every night is normal; a
    window that lies outside the range by more than the tolerated factor is not.
    """

    windows: int = 0
    least: int = 0
    most: int = 0
    total: int = 0
    partial: int = 0
    """Windows that were left out because they had begun before the first event."""

    def learned(self, slide: int) -> bool:
        """Whether there were enough windows, if one ends every `slide` ms."""
        return self.windows >= max(LEAST_WINDOWS, DAY // slide)

    def train(self, count: int, partial: int = 0) -> None:
        """Take in a window of the baseline; the first `partial` windows are left out.

        The first windows that slide over the first event contain the traffic of one slide, two, three and so on.
        """
        if self.partial < partial:
            self.partial += 1
            return
        self.least = count if not self.windows else min(self.least, count)
        self.most = max(self.most, count)
        self.total += count
        self.windows += 1

    def check(self, count: int, slide: int, tolerance: float) -> Finding | None:
        """A finding if a window lies outside the range by more than the tolerated factor."""
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
