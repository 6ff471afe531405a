"""Multivariate tests on sampled rows of the input timeline: all features of a window against a baseline of rows.

The baseline consists of the first panes, over all versions, that hold `baseline.first` events and enough rows. A window
has a sample of each version. The sample is compared with recent rows if there are enough, otherwise with the baseline;
either must have been active when the window began.
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
    """Pinned rows, active from `since` (epoch ms) on."""

    name: str
    since: int
    rows: Rows
    previous: PinnedRows | None = None
    """The pinned rows before these, for windows that began earlier."""


class RowsState(msgspec.Struct):
    """The rows of the baseline, or of the baseline that is being built."""

    filling: list[Rows] = []
    events: int = 0
    """The events of the panes that it was built from."""
    baseline: Rows | None = None
    since: int = NEVER
    """Start of the first pane (epoch ms) after the baseline was complete."""
    pinned: dict[str, PinnedRows] = {}
    """Pinned rows by version; "" for all versions."""


def pane_samples(parts: Sequence[IndexedPart], admitted: Container[str]) -> dict[int, Rows]:
    """The sampled rows of a pane by group, with the admitted measures only."""
    samples: dict[int, list[Rows]] = defaultdict(list)
    most: dict[int, int] = {}
    for placed in parts:
        part, delta, groups = placed.part, placed.part.delta, placed.row_index.groups
        if delta.sample is None:
            continue
        for cell, group in enumerate(groups.tolist(), part.first):
            events = int(delta.counts[cell, 0])
            if group >= 0 and events and delta.segment[cell] == ALL_SEGMENTS:
                samples[group].append(of_cell(delta.sample, cell, events).of(admitted))
                most[group] = min(most.get(group, WINDOW_ROWS), delta.sample.most[0])
    return {group: merge(rows, most[group]) for group, rows in sorted(samples.items())}


class Joint:
    """Builds the baseline of rows and tests windows against it. The data lies in `RowsState`.

    It does nothing without sampled rows.
    """

    def __init__(self, state: RowsState, first: int, past: RecentRowBaselines) -> None:
        self.state, self.first, self.past = state, first, past

    def fill(self, pane: Pane, end: int) -> None:
        """Add a pane that ends at `end` to the baseline that is being built; activate it when it is full."""
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
        """Activate pinned rows from `since` (epoch ms) on, for all versions (None) or for one."""
        former = self.state.pinned.get(version or "")
        if former is not None and former.since < since:
            former = PinnedRows(former.name, former.since, former.rows)
        elif former is not None:
            former = former.previous
        self.state.pinned[version or ""] = PinnedRows(name, since, merge(parts, BASELINE_ROWS), former)

    def forget(self, reset: ResetRecord) -> frozenset[str]:
        """Drop the baselines of rows that a reset covers: as rows, or through one of their features.

        Return the measures that lost a baseline.
        """
        state = self.state
        built = [*state.filling, *([state.baseline] if state.baseline is not None else [])]
        if reset.segment not in (None, ALL_SEGMENTS):
            return frozenset()
        dropped = [
            version
            for version, pinned in state.pinned.items()
            if reset.version in (None, version) and _about(reset, [pinned.rows, *built])
        ]
        for version in dropped:
            del state.pinned[version]
        if reset.version is None and _about(reset, built):
            state.baseline, state.filling, state.events = None, [], 0
            self.past.forget()
            return frozenset({JOINT}) if built or dropped else frozenset()
        return frozenset({JOINT}) if dropped else frozenset()

    def comparisons(
        self, window: Window, settings: DetectionSettings, groups: Sequence[tuple[str, str]]
    ) -> Iterator[MeasureComparison]:
        """Test the sampled rows of each version in a window that have a baseline; `groups` are the timeline's."""
        if not (settings.joint and window.sampled):
            return
        baseline_rows = self._usual(window)
        for group, parts in sorted(window.sampled.items()):
            base = self._pinned(groups[group][0], window.start) or baseline_rows
            if base is None or len(base.rows) < settings.min_count:
                continue
            now = merge(parts, WINDOW_ROWS)
            data = matrix_of(base.rows, now) if len(now) >= settings.min_count else None
            if data is not None and data.names:
                yield _tested(group, data, base, settings)

    def in_force(self, start: int) -> bool:
        """Whether the baseline of first rows was active at `start` (epoch ms)."""
        return self.state.baseline is not None and self.state.since <= start

    def _usual(self, window: Window) -> MergedRows | None:
        """The recent rows for a window, else the first rows; None when neither was active at its start."""
        if self.state.baseline is None or not self.in_force(window.start):
            return None
        first = MergedRows(f"first-{self.first}", self.state.since, self.state.baseline)
        return self.past.baseline_for((window.start, window.size)) or first

    def _pinned(self, version: str, start: int) -> MergedRows | None:
        """The pinned rows of a version, else those of all versions, that were active at `start` (epoch ms)."""
        for pinned in (self.state.pinned.get(version), self.state.pinned.get("")):
            active = pinned.previous if pinned is not None and pinned.since > start else pinned
            if active is not None and active.since <= start:
                return MergedRows(active.name, active.since, active.rows)
        return None

    def made(self) -> Rows | None:
        """All rows so far: the last step of `baseline build`."""
        return merge(self.state.filling, BASELINE_ROWS) if self.state.filling else None


def _about(reset: ResetRecord, rows: Sequence[Rows]) -> bool:
    """Whether a reset names all measures, the rows as a whole, or one of their features."""
    return reset.measure in {None, JOINT}.union(*(part.numbers for part in rows), *(part.texts for part in rows))


def _tested(group: int, data: Matrix, base: MergedRows, settings: DetectionSettings) -> MeasureComparison:
    results = {name: TESTS[name](data, tolerance(settings, name)) for name in settings.joint}
    n, m = int(data.now.sum()), int((~data.now).sum())
    baseline = Baseline(base.name, base.since, m, {}, n=m)
    comparison = MeasureComparison(group, JOINT, baseline, _in_one_bin(m), _in_one_bin(n), None)
    for name, result in results.items():
        comparison.scores[name], comparison.p[name] = result.score, result.p
    comparison.evidence = {"baseline": {"n": m}, "now": {"n": n}, "features": _named(list(results.values()))}
    return comparison


def _in_one_bin(n: int) -> I64:
    """Bin counts that hold only the number of rows, not their distribution."""
    counts = np.zeros(BINS, np.int64)
    counts[0] = n
    return counts


def _named(results: Sequence[RowTestResult]) -> list[dict[str, str | float]]:
    worst = [feature for result in results for feature in result.worst]
    return [{"name": feature.name, "part": round(feature.part, 6), "auc": round(feature.auc, 6)} for feature in worst]
