"""Performance windows: outcomes by the time of their prediction, published again as labels come in.

Counts and sums only, so that a corrected label is a signed change. Revision r of a window is published when the label
watermark passes its end by the r-th lag; the last, at the label horizon, is final.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec

from stream_monitor.describe.clocks import END, NEVER
from stream_monitor.describe.records import PerformanceDelta

GroupKey = tuple[str, str]


class Outcomes(msgspec.Struct):
    """Of one (version, segment) in one window: n and sum of each measure, and pairs of answer and label."""

    count: int = 0
    labelled: int = 0
    sums: dict[str, tuple[int, float]] = {}
    pairs: dict[tuple[str, str], int] = {}


class PerformanceWindow(msgspec.Struct):
    """One window; `due` is the index of its next revision."""

    size: int
    start: int
    due: int = 0
    changed: bool = False
    groups: dict[GroupKey, Outcomes] = {}


@dataclass(frozen=True, slots=True)
class Revised:
    """A window to publish."""

    window: PerformanceWindow
    revision: int
    final: bool


class Performance(msgspec.Struct):
    """All windows of a model that are not final yet, oldest first within a size."""

    sizes: list[int]
    lags: list[int]
    windows: dict[tuple[int, int], PerformanceWindow] = {}
    final_until: dict[int, int] = {}
    """By size: windows that end at or before this are final and gone."""
    wake: int = NEVER
    """No revision is due before the watermark passes this."""

    def count(self, key: GroupKey, at: int, predictions: int) -> None:
        """Add accepted predictions of a pane that starts at `at`."""
        for size in self.sizes:
            window = self._window(size, at)
            if window is not None:
                outcomes = window.groups.setdefault(key, Outcomes())
                outcomes.count += predictions
                window.changed = True

    def feed(self, delta: PerformanceDelta) -> int:
        """Merge a delta; returns how many labels came for windows that are final."""
        lost = 0
        touched: list[list[Outcomes]] = []
        for cell in range(len(delta.version)):
            outcomes = []
            for size in self.sizes:
                window = self._window(size, int(delta.window[cell]))
                if window is not None:
                    window.changed = True
                    outcomes.append(window.groups.setdefault((delta.version[cell], delta.segment[cell]), Outcomes()))
            lost += 0 if outcomes else int(delta.labelled[cell])
            for outcome in outcomes:
                outcome.labelled += int(delta.labelled[cell])
            touched.append(outcomes)
        self._add_sums(delta, touched)
        self._add_pairs(delta, touched)
        return lost

    def _window(self, size: int, at: int) -> PerformanceWindow | None:
        start = at - at % size
        if start + size <= self.final_until.get(size, start):
            return None
        window = self.windows.get((size, start))
        if window is None:
            window = self.windows[size, start] = PerformanceWindow(size, start)
            self.wake = min(self.wake, start + size + self.lags[0])
        return window

    @staticmethod
    def _add_sums(delta: PerformanceDelta, touched: list[list[Outcomes]]) -> None:
        rows = zip(delta.cell.tolist(), delta.name.tolist(), delta.n.tolist(), delta.total.tolist(), strict=True)
        for cell, name, n, total in rows:
            for outcome in touched[cell]:
                had_n, had = outcome.sums.get(delta.names[name], (0, 0.0))
                outcome.sums[delta.names[name]] = had_n + n, had + total

    @staticmethod
    def _add_pairs(delta: PerformanceDelta, touched: list[list[Outcomes]]) -> None:
        rows = zip(delta.pair_cell.tolist(), delta.pair.tolist(), delta.pair_n.tolist(), strict=True)
        for cell, pair, n in rows:
            for outcome in touched[cell]:
                key = delta.pairs[pair]
                outcome.pairs[key] = outcome.pairs.get(key, 0) + n

    def advance(self, watermark: int) -> Iterable[Revised]:
        """Revisions that have come due, windows in order of time."""
        if watermark < self.wake:
            self._finish(watermark)
            return ()
        return self._advance(watermark)

    def _advance(self, watermark: int) -> Iterator[Revised]:
        last = len(self.lags) - 1
        for key in sorted(self.windows, key=lambda key: (key[1] + key[0], key[0])):
            window = self.windows[key]
            end = window.start + window.size
            if end + self.lags[min(window.due, last)] > watermark:
                continue
            while window.due < last and end + self.lags[window.due + 1] <= watermark:
                window.due += 1
            final = window.due == last
            if window.changed or final:
                yield Revised(window, window.due, final)
            window.changed = False
            window.due += 1
            if final:
                del self.windows[key]
        self.wake = min((w.start + w.size + self.lags[min(w.due, last)] for w in self.windows.values()), default=END)
        self._finish(watermark)

    def _finish(self, watermark: int) -> None:
        edge = watermark - self.lags[-1]
        for size in self.sizes:
            self.final_until[size] = max(self.final_until.get(size, edge - edge % size), edge - edge % size)

    def preview(self) -> Iterator[Revised]:
        """Changed windows as they stand, under the revision that comes next."""
        for window in self.windows.values():
            if window.changed:
                yield Revised(window, min(window.due, len(self.lags) - 1), False)


def lags_of(revisions: tuple[int, ...], horizon: int) -> list[int]:
    """The lags of all revisions in ms, the horizon last."""
    return [*sorted(lag for lag in set(revisions) if lag < horizon), horizon]
