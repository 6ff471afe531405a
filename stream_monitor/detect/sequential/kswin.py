"""River's KSWIN, behind `river_adapter`: the newest values against some of those before them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import msgspec

from stream_monitor.detect.sequential.adwin import Change
from stream_monitor.detect.sequential.river_adapter import PerValue, rivers


class Kswin(PerValue, tag="kswin"):
    """KSWIN: thirty newest values against thirty drawn from the seventy before them, Kolmogorov-Smirnov at .005.

    Raab, Heusinger and Schleif, "Reactive soft prototype computing for concept drift streams" (2020). Score: 1 - p, and
    the way in which the mean moved. Memory: its window of a hundred values and the 625 numbers of its generator.
    """

    seed: int = 0
    window: list[float] = msgspec.field(default_factory=list)
    generator: tuple[int, ...] = ()
    """Empty until it has been drawn from."""
    times: list[tuple[int, int]] = msgspec.field(default_factory=list)
    """(time, values) of the panes in which the newest values came."""

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
        """As River: the generator starts from its seed again too."""
        seed = self.seed
        super()._restart()
        self.seed = seed

    def update(self, n: int, mean: float, m2: float, ts: int) -> Change | None:
        """Take in a pane of one value; of a larger one `take` must be told the values."""
        return self.take([mean], ts) if n == 1 else None

    def take(self, values: Sequence[float], ts: int) -> Change | None:
        """Take in a pane's values; a Change, and a fresh start, when River's detector rings."""
        live, change, kept = self.live, None, 0
        for at, x in enumerate(values):
            window = live.window  # after a change River's keeps the newest only; this one still has all
            live.update(x)
            self.fed += 1
            if live.drift_detected:
                self._came(at + 1 - kept, ts, live.stat_size)
                change, kept = change or self._change(live, window), at + 1
                self._restart()
                live = self.live
        self._came(len(values) - kept, ts, live.stat_size)
        self._keep(live)
        return change

    def _came(self, count: int, ts: int, newest: int) -> None:
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
