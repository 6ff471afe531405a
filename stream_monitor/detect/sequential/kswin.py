"""River's KSWIN, behind `river_adapter`: it compares the newest values with some of those before them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import msgspec

from stream_monitor.detect.sequential.adwin import Change
from stream_monitor.detect.sequential.river_adapter import PerValue, rivers


class Kswin(PerValue, tag="kswin"):
    """KSWIN: the thirty newest values against thirty drawn from the seventy before them, Kolmogorov-Smirnov at .005.

    Raab, Heusinger and Schleif, "Reactive soft prototype computing for concept drift streams" (2020). The score is
    1 - p, with the sign of the shift of the mean. Memory: its window of a hundred values and the 625 numbers of its
    generator. The mean rises by 1 at value 500:

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> values = [*rng.normal(0, 1, 500).tolist(), *rng.normal(1, 1, 500).tolist()]
    >>> detector = Kswin(seed=1)
    >>> next(i for i, x in enumerate(values) if detector.update(1, x, 0.0, i))
    524
    """

    seed: int = 0
    window: list[float] = msgspec.field(default_factory=list)
    generator: tuple[int, ...] = ()
    """The generator's state; empty until the first draw."""
    times: list[tuple[int, int]] = msgspec.field(default_factory=list)
    """(time, number of values) of the panes that contain the newest values."""

    def _make(self) -> Any:
        live = rivers("KSWIN", seed=self.seed, window=self.window)
        live.n = self.fed
        if self.generator:
            live._rng.setstate((3, self.generator, None))
        return live

    def _keep(self, live: Any) -> None:
        self.window = list(live.window)
        if self.fed >= live.window_size:
            self.generator = live._rng.getstate()[1]

    def _restart(self) -> None:
        """Restart as River does: the generator also starts from its seed again."""
        seed = self.seed
        super()._restart()
        self.seed = seed

    def update(self, n: int, mean: float, m2: float, ts: int) -> Change | None:
        """Take in a pane of one value; for a larger pane the caller passes its values to `take`."""
        return self.take([mean], ts) if n == 1 else None

    def take(self, values: Sequence[float], ts: int) -> Change | None:
        """Take in a pane's values; return a Change and restart when River's detector raises an alarm."""
        live, change, kept = self.live, None, 0
        for index, x in enumerate(values):
            window = live.window  # after an alarm River keeps only the newest values; this deque still has all
            live.update(x)
            self.fed += 1
            if live.drift_detected:
                self._add_time(index + 1 - kept, ts, live.stat_size)
                change, kept = change or self._change(live, window), index + 1
                self._restart()
                live = self.live
        self._add_time(len(values) - kept, ts, live.stat_size)
        self._keep(live)
        return change

    def _add_time(self, count: int, ts: int, newest: int) -> None:
        self.times.append((ts, count))
        total = sum(n for _, n in self.times)
        while total - self.times[0][1] >= newest:
            total -= self.times.pop(0)[1]

    def _change(self, live: Any, window: deque[float]) -> Change:
        values, since = list(window), self.times[0][0]
        before, after = values[: -live.stat_size], values[-live.stat_size :]
        means = sum(before) / len(before), sum(after) / len(after)
        way = 1.0 if means[1] >= means[0] else -1.0
        return Change(way * (1 - float(live.p_value)), 1 - live.alpha, *means, since)
