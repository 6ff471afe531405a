"""The sequential detectors of a lane: what they are fed, when they learn and start anew, and what they find.

All but the CUSUMs are objects of their own; the CUSUMs are rows of a grid that the lanes of a partition share, so a
pane is asked for as a `PaneBatch`, which whoever drives the lane takes together with those of other lanes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
import numpy as np

from stream_monitor.baselines.baseline import Baseline, Baselines, PaneCounts
from stream_monitor.detect.cusum.bank import BankState, BankTraining, CusumBank, PaneBatch
from stream_monitor.detect.sequential.pane_values import Bins
from stream_monitor.detect.sequential.registry import (
    CUSUM,
    RATES,
    Sequential,
    advance,
    create,
    finding_of,
    turn_finding,
)
from stream_monitor.events.contracts import Finding
from stream_monitor.judge.baselines.recent import RecentBaselines
from stream_monitor.judge.baselines.seasonality import Seasons, standard
from stream_monitor.judge.detection.evidence import LASTING, PANE
from stream_monitor.judge.panes.pane import Pane
from stream_monitor.profiles.bins import BinEdges
from stream_monitor.profiles.numeric_table import PaneRows
from stream_monitor.types import F64, I64

NO_ROW = -1
USUAL_ARL0 = 100_000.0
"""Of a row that learns from a baseline whose time is not known, until its first pane."""


class SequentialState(msgspec.Struct):
    """What a lane remembers of its sequential detectors; a snapshot writes just this."""

    objects: dict[tuple[int, str, str], Sequential] = {}
    """By (group, measure, detector)."""
    rows: dict[tuple[int, str], int] = {}
    """Number in the grid of the row of a (group, measure)."""
    seeds: dict[tuple[str, str], int] = {}
    """Rows that learned from the panes of a first-N baseline and are only copied, by (segment, measure)."""
    ended: list[tuple[int, str]] = []
    """Rows that were taken away, of which the next pane says that their changes are over."""
    saved: BankState | None = None
    """In a snapshot: the rows of `rows` and then of `seeds`, in their order."""


@dataclass(frozen=True, slots=True)
class SequentialRules:
    """What the settings say of a lane's sequential detectors."""

    names: tuple[str, ...]
    budget: float
    """Milliseconds in which the CUSUMs of the lane may ring falsely once."""
    detection: Any


@dataclass(frozen=True, slots=True)
class SequentialFinding:
    """What a detector says of a measure of a group at a pane; None: a change that lasted is over."""

    group: int
    measure: str
    voice: int
    finding: Finding | None


@dataclass(slots=True)
class SequentialContext:
    """What the lane knows: its names, baselines and edges."""

    groups: Sequence[tuple[str, str]]
    measures: Sequence[str]
    baselines: Baselines
    edges: dict[str, BinEdges]
    recent: RecentBaselines


class SequentialDetectors:
    """Behaviour around a `SequentialState` and a grid."""

    def __init__(self, state: SequentialState, rules: SequentialRules, bank: CusumBank) -> None:
        self.state, self.rules, self.bank = state, rules, bank
        self._objects = tuple(name for name in rules.names if name != CUSUM)
        self._row_of = np.full((0, 0), NO_ROW, np.int64)
        self._latest: tuple[I64, I64, I64] | None = None
        """(group, measure) of the rows of the latest pane and their numbers, where all have one."""
        self._seasons = Seasons()
        self._restore()
        if not self.learns:
            self._end(list(state.rows))
            self._end_seeds(list(state.seeds))
        self._allow()

    @property
    def active(self) -> bool:
        """Whether a pane may lead to anything."""
        return bool(self.rules.names or self.state.ended)

    @property
    def learns(self) -> bool:
        """Whether CUSUMs are wanted: they learn from the panes of a baseline."""
        return CUSUM in self.rules.names

    # --- snapshots ---

    def save(self) -> None:
        """Put the rows into the state, for a snapshot to write."""
        self.state.saved = self.bank.take(self._numbers())

    def saved(self) -> None:
        """The snapshot is written."""
        self.state.saved = None

    def release(self) -> None:
        """The model is forgotten: give its rows back."""
        self.bank.release(self._numbers())

    def _numbers(self) -> I64:
        return np.array([*self.state.rows.values(), *self.state.seeds.values()], np.int64)

    def _restore(self) -> None:
        state = self.state
        if state.saved is not None:
            numbers = self.bank.new(len(state.saved.seen))
            self.bank.put(numbers, state.saved)
            listed = numbers.tolist()
            state.rows = dict(zip(state.rows, listed, strict=False))
            state.seeds = dict(zip(state.seeds, listed[len(state.rows) :], strict=True))
            state.saved = None

    # --- baselines ---

    def learn(self, key: tuple[str, str], baseline: Baseline, panes: PaneCounts) -> None:
        """A first-N baseline of a (segment, measure) came into force; `panes` are its own."""
        if not self.learns or baseline.counts is None:
            return
        per_ms = baseline.n / max(int(np.ptp(panes.starts)) if len(panes.starts) else 0, 1)
        arl0 = per_ms * self.rules.budget * _share(len(self.state.rows) + 1)
        row = self.state.seeds[key] = int(self.bank.new(1)[0])
        self.bank.learn(row, BankTraining(baseline.counts, panes.pane, panes.at, panes.n, baseline.since, arl0))

    def pin(self, version: str | None, key: tuple[str, str], groups: Sequence[tuple[str, str]]) -> None:
        """A pinned baseline came into force: what judges its measure starts anew from it."""
        segment, measure = key
        meant = {g for g, (v, s) in enumerate(groups) if s == segment and version in (None, v)}
        for at in [at for at in self.state.objects if at[1] == measure and at[0] in meant]:
            del self.state.objects[at]
        self._end([at for at in self.state.rows if at[1] == measure and at[0] in meant])
        if version is None and key in self.state.seeds:
            self._end_seeds([key])
        self._allow()  # as for who is restored from a snapshot of now
        self._row_of, self._latest = np.full_like(self._row_of, NO_ROW), None
        self._seasons.clear()

    def _end(self, keys: list[tuple[int, str]]) -> None:
        self.bank.release(np.array([self.state.rows.pop(key) for key in keys], np.int64))
        self.state.ended += keys

    def _end_seeds(self, keys: list[tuple[str, str]]) -> None:
        self.bank.release(np.array([self.state.seeds.pop(key) for key in keys], np.int64))

    # --- panes ---

    def detect(self, pane: Pane, end: int, known: SequentialContext) -> Iterator[PaneBatch | SequentialFinding]:
        """What all detectors say of a closed pane; a `PaneBatch` is to be taken before the next is asked for."""
        for group, measure in self.state.ended:
            yield SequentialFinding(group, measure, LASTING, None)
        self.state.ended = []
        if self._objects:
            yield from self._advance(pane, known)
        if self.learns:
            yield from self._step(pane, end, known)

    def _advance(self, pane: Pane, known: SequentialContext) -> Iterator[SequentialFinding]:
        """The detectors that are objects of their own."""
        rows = pane.numbers
        for row, (group, measure) in enumerate(zip(rows.group.tolist(), rows.measure.tolist(), strict=True)):
            name = known.measures[measure]
            first = known.baselines.active_at(known.groups[group], name, pane.start)
            standardising = standard((known.groups[group], name), pane.start, known.baselines, known.recent)
            for detector in self._objects:
                baseline = first if detector in RATES else standardising
                if baseline is None or not baseline.n:
                    continue
                at = group, name, detector
                state = self.state.objects.get(at)
                if state is None:
                    key = (*known.groups[group], name, detector)
                    state = self.state.objects[at] = create(detector, self.rules.detection, key)
                values = int(rows.n[row]), float(rows.mean[row]), float(rows.m2[row])
                change = advance(state, baseline, values, pane.start, _bins(rows, row, known.edges.get(name)))
                if change is not None:
                    yield SequentialFinding(group, name, PANE, finding_of(detector, change, baseline))

    def _step(self, pane: Pane, end: int, known: SequentialContext) -> Iterator[PaneBatch | SequentialFinding]:
        numbers = pane.numbers
        rows = self._rows(numbers, pane.start, known)
        sizes = numbers.bin_ptr[1:] - numbers.bin_ptr[:-1]
        there = (rows >= 0) & (sizes > 0)
        season = self._season(numbers, np.where(there, rows, NO_ROW), pane.start, known)
        if season is not None:
            there &= season[:, 1] > 0
        if not there.any():
            return
        step = PaneBatch(pane.start, end, rows, sizes, numbers.bin_at, numbers.bin_n, season)
        if not there.all():
            binned = np.repeat(there, sizes)
            step.rows, step.sizes, step.at, step.n = rows[there], sizes[there], step.at[binned], step.n[binned]
            step.season = None if season is None else season[there]
        yield step
        for turn in step.turns:
            at = np.flatnonzero(there)[turn.place]
            group, measure = int(numbers.group[at]), known.measures[numbers.measure[at]]
            baseline = known.baselines.active_at(known.groups[group], measure, pane.start)
            over = turn.over or baseline is None
            finding = None if over or baseline is None else turn_finding(turn, baseline, known.edges[measure].edges)
            yield SequentialFinding(group, measure, LASTING, finding)

    def _season(self, numbers: PaneRows, rows: I64, start: int, known: SequentialContext) -> F64 | None:
        """(R, 2) what is expected of each row's values, see `PaneBatch.season`; 0 and 0 for one that is left out."""
        if not known.recent.hourly:
            return None
        season = np.zeros((len(rows), 2))
        for at in np.flatnonzero(rows >= 0).tolist():
            group, measure = int(numbers.group[at]), known.measures[numbers.measure[at]]
            of, scores = (known.groups[group], measure), partial(self.bank.scores, int(rows[at]))
            season[at] = self._seasons.of((group, measure), start, (of, known.baselines), known.recent, scores)
        return season

    def _rows(self, numbers: PaneRows, start: int, known: SequentialContext) -> I64:
        """Numbers in the grid of a pane's rows; below 0 for what has no baseline on edges."""
        if self._latest is not None and numbers.group is self._latest[0] and numbers.measure is self._latest[1]:
            return self._latest[2]
        shape = len(known.groups), len(known.measures)
        if self._row_of.shape != shape:
            grown = np.full(shape, NO_ROW, np.int64)
            grown[: self._row_of.shape[0], : self._row_of.shape[1]] = self._row_of
            self._row_of = grown
        rows: I64 = self._row_of[numbers.group, numbers.measure]
        lacking = np.flatnonzero(rows < 0)
        if len(lacking):
            before = len(self.state.rows)
            for at in lacking.tolist():
                group, measure = int(numbers.group[at]), int(numbers.measure[at])
                rows[at] = self._row_of[group, measure] = self._row(group, known.measures[measure], start, known)
            if len(self.state.rows) > before:
                self._allow()
        self._latest = (numbers.group, numbers.measure, rows) if (rows >= 0).all() else None
        return rows

    def _row(self, group: int, measure: str, start: int, known: SequentialContext) -> int:
        """The number of a row, a new one that learned from the baseline in force if need be; else `NO_ROW`."""
        row = self.state.rows.get((group, measure))
        if row is not None:
            return row
        version, segment = known.groups[group]
        baseline = known.baselines.active_at((version, segment), measure, start)
        if baseline is None or baseline.counts is None or measure not in known.edges:
            return NO_ROW
        row = self.state.rows[group, measure] = int(self.bank.new(1)[0])
        seed = self.state.seeds.get((segment, measure))
        if seed is not None and (version, segment, measure) not in known.baselines.by_version:
            self.bank.put(np.array([row]), self.bank.take(np.array([seed])))
        else:
            self.bank.learn(row, BankTraining(baseline.counts, *PaneCounts.none()[1:], 0, USUAL_ARL0))
        return row

    def _allow(self) -> None:
        """Divide the budget among the rows there are; their nominal ARL0 follows with their next panes."""
        rows = np.array(list(self.state.rows.values()), np.int64)
        share = _share(len(rows))
        new = rows[self.bank.budget(rows) != self.rules.budget * share]
        self.bank.set_alarm_budget(new, self.rules.budget * share)


def _bins(rows: PaneRows, row: int, edges: BinEdges | None) -> Bins | None:
    """The bins of a pane's row; None where it has none."""
    first, last = rows.bin_ptr[row : row + 2].tolist()
    if edges is None or first == last:
        return None
    return Bins(edges.edges, rows.bin_at[first:last], rows.bin_n[first:last], float(rows.high[row]))


def _share(rows: int) -> int:
    """The power of two that is not below: rows may come one by one, and all are calibrated anew only when it grows."""
    return 1 << max(rows - 1, 0).bit_length()
