"""Performance windows: outcomes by the time of their prediction, published again as labels come in.

They hold only counts and sums, so that a corrected label is a signed change. Revision r of a window is published when
the label watermark passes its end by the r-th lag. The last revision is final. It also requires that the feedback
watermark has passed the window's end by the label horizon: signals count in the same windows, and their topic may be
read later than that of labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec

from stream_monitor.profiles.names import ALL_SEGMENTS, END, NEVER
from stream_monitor.profiles.records import PerformanceDelta

GroupKey = tuple[str, str]


class OutcomeSums(msgspec.Struct):
    """The outcomes of a (version, segment) in a window: (n, sum) of each measure, and counts of (answer, label)."""

    count: int = 0
    labelled: int = 0
    sums: dict[str, tuple[int, float]] = {}
    pairs: dict[tuple[str, str], int] = {}

    def add(self, other: OutcomeSums, sign: int = 1) -> None:
        """Add (sign 1) or subtract (sign -1) counts and sums; pairs do not change."""
        self.count += sign * other.count
        self.labelled += sign * other.labelled
        for name, (n, total) in other.sums.items():
            n_before, sum_before = self.sums.get(name, (0, 0.0))
            self.sums[name] = n_before + sign * n, sum_before + sign * total


class PerformanceWindow(msgspec.Struct):
    """One performance window; `due` is the index of its next revision."""

    size: int
    start: int
    due: int = 0
    changed: bool = False
    groups: dict[GroupKey, OutcomeSums] = {}

    def total(self) -> OutcomeSums:
        """The outcomes of all versions together."""
        outcomes_of_all = OutcomeSums()
        for (_, segment), outcomes in self.groups.items():
            if segment == ALL_SEGMENTS:
                outcomes_of_all.add(outcomes)
        return outcomes_of_all


@dataclass(frozen=True, slots=True)
class Revised:
    """A revision of a window to publish."""

    window: PerformanceWindow
    revision: int
    final: bool


class Performance(msgspec.Struct):
    """All performance windows of a model that are not final yet."""

    sizes: list[int]
    lags: list[int]
    windows: dict[tuple[int, int], PerformanceWindow] = {}
    final_until: dict[int, int] = {}
    """By size: windows that end at or before this are final and dropped."""
    next_due: int = msgspec.field(name="wake", default=NEVER)
    """No revision except a final one is due before the label watermark reaches this."""
    next_final_due: int = msgspec.field(name="wake_last", default=NEVER)
    """No final revision is due before the label and the feedback watermark reach this."""
    ended: OutcomeSums | None = None
    """The sum of the windows of the smallest size that ended by `ended_until`; None until `waiting` is called first."""
    ended_until: int = NEVER

    def count(self, key: GroupKey, at: int, predictions: int) -> None:
        """Add accepted predictions of a pane that starts at `at`."""
        for size in self.sizes:
            window = self._window(size, at)
            if window is not None:
                outcomes = window.groups.setdefault(key, OutcomeSums())
                outcomes.count += predictions
                window.changed = True
                if self.ended is not None and key[1] == ALL_SEGMENTS and self._has_ended(window):
                    self.ended.count += predictions

    def feed(self, delta: PerformanceDelta) -> int:
        """Merge a delta. Return the number of labels that came too late: their windows are final."""
        lost = 0
        touched: list[list[OutcomeSums]] = []
        for cell in range(len(delta.version)):
            outcomes = []
            for size in self.sizes:
                window = self._window(size, int(delta.window[cell]))
                if window is not None:
                    window.changed = True
                    outcomes.append(window.groups.setdefault((delta.version[cell], delta.segment[cell]), OutcomeSums()))
                    if self.ended is not None and delta.segment[cell] == ALL_SEGMENTS and self._has_ended(window):
                        outcomes.append(self.ended)
            lost += 0 if outcomes else int(delta.labelled[cell])
            for outcome in outcomes:
                outcome.labelled += int(delta.labelled[cell])
            touched.append(outcomes)
        self._add_sums(delta, touched)
        self._add_pairs(delta, touched)
        if self.ended is not None:
            self.ended.pairs.clear()
        return lost

    def _window(self, size: int, ts: int) -> PerformanceWindow | None:
        start = ts - ts % size
        if start + size <= self.final_until.get(size, start):
            return None
        window = self.windows.get((size, start))
        if window is None:
            window = self.windows[size, start] = PerformanceWindow(size, start)
            self.next_due = min(self.next_due, start + size + self.lags[0])
            self.next_final_due = min(self.next_final_due, start + size + self.lags[-1])
        return window

    @staticmethod
    def _add_sums(delta: PerformanceDelta, touched: list[list[OutcomeSums]]) -> None:
        rows = zip(delta.cell.tolist(), delta.name.tolist(), delta.n.tolist(), delta.total.tolist(), strict=True)
        for cell, name, n, total in rows:
            for outcome in touched[cell]:
                n_before, sum_before = outcome.sums.get(delta.names[name], (0, 0.0))
                outcome.sums[delta.names[name]] = n_before + n, sum_before + total

    @staticmethod
    def _add_pairs(delta: PerformanceDelta, touched: list[list[OutcomeSums]]) -> None:
        rows = zip(delta.pair_cell.tolist(), delta.pair.tolist(), delta.pair_n.tolist(), strict=True)
        for cell, pair, n in rows:
            for outcome in touched[cell]:
                key = delta.pairs[pair]
                outcome.pairs[key] = outcome.pairs.get(key, 0) + n

    def advance(self, labels: int, feedback: int) -> Iterable[Revised]:
        """The revisions that are due at the label and feedback watermarks, in the order of their windows' ends."""
        watermark = min(labels, feedback)
        if not self.due(labels, feedback):
            self.rest(watermark)
            return ()
        return self._advance(labels, watermark)

    def waiting(self, closed: int, keep: bool = True) -> OutcomeSums:
        """The outcomes of all windows of the smallest size that ended by `closed` and are not final yet.

        There may be thousands of windows, of which most may lie ahead, so their sum is kept and follows their changes.
        Without `keep`, as for a preview, nothing changes.
        """
        total, since = OutcomeSums(), NEVER
        if self.ended is not None and self.ended_until <= closed:
            total.add(self.ended)
            since = self.ended_until
        for window in self._ending(since, closed):
            total.add(window.total())
        if keep:
            self.ended, self.ended_until = OutcomeSums(), closed
            self.ended.add(total)
        return total

    def _ending(self, since: int, closed: int) -> list[PerformanceWindow]:
        """The windows of the smallest size that end after `since` and by `closed`, in the order of time."""
        size = min(self.sizes)
        if (closed - since) // size < len(self.windows):
            starts = range(since - since % size, closed - size + 1, size)
            return [self.windows[size, start] for start in starts if (size, start) in self.windows]
        found = (window for window in self.windows.values() if window.size == size and since < window.start + size)
        return sorted((window for window in found if window.start + size <= closed), key=lambda window: window.start)

    def _has_ended(self, window: PerformanceWindow) -> bool:
        """Whether a window belongs to the sum of those that have ended."""
        return window.size == min(self.sizes) and window.start + window.size <= self.ended_until

    def due(self, labels: int, feedback: int) -> bool:
        """Whether a revision may be due at these watermarks."""
        return labels >= self.next_due or min(labels, feedback) >= self.next_final_due

    def _advance(self, labels: int, watermark: int) -> Iterator[Revised]:
        last = len(self.lags) - 1
        for key in sorted(self.windows, key=lambda key: (key[1] + key[0], key[0])):
            window = self.windows[key]
            end = window.start + window.size
            passed = sum(end + lag <= labels for lag in self.lags[:-1])
            final = end + self.lags[-1] <= watermark
            revision = last if final else passed - 1
            if revision < window.due:
                continue
            if window.changed or final:
                yield Revised(window, revision, final)
            window.changed, window.due = False, revision + 1
            if final:
                if self.ended is not None and self._has_ended(window):
                    self.ended.add(window.total(), -1)
                del self.windows[key]
        ends = [(w.start + w.size, w.due) for w in self.windows.values()]
        self.next_due = min((end + self.lags[due] for end, due in ends if due < last), default=END)
        self.next_final_due = min((end + self.lags[-1] for end, _ in ends), default=END)
        self.rest(watermark)

    def rest(self, watermark: int) -> None:
        """Move `final_until` when no revision is due; `watermark` is the smaller of label and feedback watermark."""
        edge = watermark - self.lags[-1]
        for size in self.sizes:
            self.final_until[size] = max(self.final_until.get(size, edge - edge % size), edge - edge % size)

    def preview(self) -> Iterator[Revised]:
        """The changed windows as they are now, with the number of their next revision."""
        for window in self.windows.values():
            if window.changed:
                yield Revised(window, min(window.due, len(self.lags) - 1), False)


def lags_of(revisions: tuple[int, ...], horizon: int) -> list[int]:
    """The lags of all revisions in ms, the horizon last."""
    return [*sorted(lag for lag in set(revisions) if lag < horizon), horizon]
