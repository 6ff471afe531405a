"""Rows of the input lane: the sample that is normal, and windows held against it, features together.

The baseline is made of the first panes, of all versions, that hold `baseline.first` events and enough rows. Windows
bring a sample of each version; it is held against that baseline if it was in force when they began, or against recent
rows where there are enough.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator, Sequence

import msgspec
import numpy as np

from stream_monitor.baselines.baseline import Baseline
from stream_monitor.baselines.recent_rows import MergedRows
from stream_monitor.baselines.sampled_rows import BASELINE_ROWS, ENOUGH, WINDOW_ROWS, Rows, collect, merge, of_cell
from stream_monitor.config.detection import DetectionSettings
from stream_monitor.detect.windows.multivariate import TESTS, Matrix, RowTestResult, matrix_of
from stream_monitor.judge.baselines.recent_rows import RecentRowBaselines
from stream_monitor.judge.detection.window_evaluation import MeasureComparison, tolerance
from stream_monitor.judge.panes.pane import IndexedPart, Pane
from stream_monitor.judge.panes.windows import Window
from stream_monitor.profiles.bins import BINS
from stream_monitor.profiles.measures import JOINT
from stream_monitor.profiles.names import ALL_SEGMENTS, NEVER
from stream_monitor.profiles.records import ResetRecord
from stream_monitor.types import I64


class PinnedRows(msgspec.Struct):
    """Rows that somebody said are normal, in force from `since` (epoch ms) on."""

    name: str
    since: int
    rows: Rows
    previous: PinnedRows | None = None
    """What was pinned before, for the windows that had begun."""


class RowsState(msgspec.Struct):
    """The baseline's rows, or those that it is being made of."""

    filling: list[Rows] = []
    events: int = 0
    """Of the panes that came in while it filled."""
    baseline: Rows | None = None
    since: int = NEVER
    """Start of the first pane (epoch ms) after it."""
    pinned: dict[str, PinnedRows] = {}
    """By version; "" for all."""


def pane_samples(parts: Sequence[IndexedPart], admitted: Container[str]) -> dict[int, Rows]:
    """The samples of a pane by group, of measures with a place."""
    found: dict[int, list[Rows]] = defaultdict(list)
    most: dict[int, int] = {}
    for placed in parts:
        part, delta, groups = placed.part, placed.part.delta, placed.row_index.groups
        if delta.sample is None:
            continue
        for cell, group in enumerate(groups.tolist(), part.first):
            events = int(delta.counts[cell, 0])
            if group >= 0 and events and delta.segment[cell] == ALL_SEGMENTS:
                found[group].append(of_cell(delta.sample, cell, events).of(admitted))
                most[group] = min(most.get(group, WINDOW_ROWS), delta.sample.most[0])
    return {group: merge(rows, most[group]) for group, rows in sorted(found.items())}


class Joint:
    """Behaviour around a `RowsState`; it does nothing where no rows come."""

    def __init__(self, state: RowsState, first: int, past: RecentRowBaselines) -> None:
        self.state, self.first, self.past = state, first, past

    def fill(self, pane: Pane, end: int) -> None:
        """Let the baseline in the making take in a pane that ends at `end`."""
        state = self.state
        if state.baseline is not None or not pane.rows:
            return
        for group, rows in pane.rows.items():
            collect(state.filling, rows, BASELINE_ROWS)
            state.events += pane.accepted.get(group, 0)
        if state.events >= self.first and sum(map(len, state.filling)) >= min(self.first, ENOUGH):
            state.filling = [merge(state.filling, BASELINE_ROWS)]
            if len(state.filling[0]) >= min(self.first, ENOUGH):
                state.baseline, state.since, state.filling = state.filling[0], end, []

    def pin(self, version: str | None, name: str, parts: Sequence[Rows], since: int) -> None:
        """Put pinned rows in force from `since` (epoch ms) on, of all versions or of one."""
        former = self.state.pinned.get(version or "")
        if former is not None and former.since < since:
            former = PinnedRows(former.name, former.since, former.rows)
        elif former is not None:
            former = former.previous
        self.state.pinned[version or ""] = PinnedRows(name, since, merge(parts, BASELINE_ROWS), former)

    def forget(self, reset: ResetRecord) -> frozenset[str]:
        """Learn anew what is normal, where a reset is about rows or a feature of them; the measures that lost it."""
        state = self.state
        made = [*state.filling, *([state.baseline] if state.baseline is not None else [])]
        if reset.segment not in (None, ALL_SEGMENTS):
            return frozenset()
        gone = [
            version
            for version, pinned in state.pinned.items()
            if reset.version in (None, version) and _about(reset, [pinned.rows, *made])
        ]
        for version in gone:
            del state.pinned[version]
        if reset.version is None and _about(reset, made):
            state.baseline, state.filling, state.events = None, [], 0
            self.past.forget()
            return frozenset({JOINT}) if made or gone else frozenset()
        return frozenset({JOINT}) if gone else frozenset()

    def comparisons(
        self, window: Window, settings: DetectionSettings, groups: Sequence[tuple[str, str]]
    ) -> Iterator[MeasureComparison]:
        """The rows of each version in a window that can be judged, tested; `groups` are the lane's."""
        if not (settings.joint and window.sampled):
            return
        usual = self._usual(window)
        for group, parts in sorted(window.sampled.items()):
            base = self._pinned(groups[group][0], window.start) or usual
            if base is None or len(base.rows) < settings.min_count:
                continue
            now = merge(parts, WINDOW_ROWS)
            data = matrix_of(base.rows, now) if len(now) >= settings.min_count else None
            if data is not None and data.names:
                yield _tested(group, data, base, settings)

    def in_force(self, start: int) -> bool:
        """Whether the first rows were normal already at `start` (epoch ms)."""
        return self.state.baseline is not None and self.state.since <= start

    def _usual(self, window: Window) -> MergedRows | None:
        """The recent rows that judge a window, or the first ones; None where neither was in force when it began."""
        if self.state.baseline is None or not self.in_force(window.start):
            return None
        first = MergedRows(f"first-{self.first}", self.state.since, self.state.baseline)
        return self.past.baseline_for((window.start, window.size)) or first

    def _pinned(self, version: str, start: int) -> MergedRows | None:
        """Rows that were pinned for a version, or for all, and in force at `start` (epoch ms)."""
        for pinned in (self.state.pinned.get(version), self.state.pinned.get("")):
            one = pinned.previous if pinned is not None and pinned.since > start else pinned
            if one is not None and one.since <= start:
                return MergedRows(one.name, one.since, one.rows)
        return None

    def made(self) -> Rows | None:
        """All that came so far: the end of `baseline build`."""
        return merge(self.state.filling, BASELINE_ROWS) if self.state.filling else None


def _about(reset: ResetRecord, rows: Sequence[Rows]) -> bool:
    """Whether a reset is about rows as such, or about a feature of these."""
    return reset.measure in {None, JOINT}.union(*(one.numbers for one in rows), *(one.texts for one in rows))


def _tested(group: int, data: Matrix, base: MergedRows, settings: DetectionSettings) -> MeasureComparison:
    seen = {name: TESTS[name](data, tolerance(settings, name)) for name in settings.joint}
    n, m = int(data.now.sum()), int((~data.now).sum())
    baseline = Baseline(base.name, base.since, m, {}, n=m)
    comparison = MeasureComparison(group, JOINT, baseline, _in_one_bin(m), _in_one_bin(n), None)
    for name, one in seen.items():
        comparison.scores[name], comparison.p[name] = one.score, one.p
    comparison.evidence = {"baseline": {"n": m}, "now": {"n": n}, "features": _named(list(seen.values()))}
    return comparison


def _in_one_bin(n: int) -> I64:
    """Counts that say how many rows there are, and nothing of their distribution."""
    counts = np.zeros(BINS, np.int64)
    counts[0] = n
    return counts


def _named(seen: Sequence[RowTestResult]) -> list[dict[str, str | float]]:
    worst = [told for one in seen for told in one.worst]
    return [{"name": told.name, "part": round(told.part, 6), "auc": round(told.auc, 6)} for told in worst]
