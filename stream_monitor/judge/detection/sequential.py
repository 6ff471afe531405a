"""The sequential detectors of a timeline: their input, when they learn and restart, and their findings.

Each CUSUM is a row of a bank that all timelines of a partition share. The timeline therefore yields a `PaneBatch` for
each pane, and the caller steps the batches of many timelines together. Every other detector is an object of its own.
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
"""The ARL0 of a row until its first pane, when the time span of its baseline is unknown."""


class SequentialState(msgspec.Struct):
    """The state of a timeline's sequential detectors; a snapshot writes exactly this."""

    objects: dict[tuple[int, str, str], Sequential] = {}
    """By (group, measure, detector): the detectors other than CUSUM."""
    rows: dict[tuple[int, str], int] = {}
    """By (group, measure): the number of its row in the bank."""
    seeds: dict[tuple[str, str], int] = {}
    """By (segment, measure): a row that learned from the panes of a first baseline. New rows are copies of it."""
    ended: list[tuple[int, str]] = []
    """(group, measure) of removed rows; the next pane reports that their changes are over."""
    alarms: dict[tuple[int, str], tuple[int, float]] = {}
    """By (group, measure): the pane (its start) of the latest alarm, and its statistic over its threshold."""
    saved: BankState | None = None
    """In a snapshot: the bank's state of the rows in `rows`, then of those in `seeds`, in their order."""


@dataclass(frozen=True, slots=True)
class SequentialRules:
    """The settings of a timeline's sequential detectors."""

    names: tuple[str, ...]
    budget: float
    """The mean time (ms) between two false alarms of all CUSUMs of the timeline together."""
    detection: Any


@dataclass(frozen=True, slots=True)
class SequentialFinding:
    """The finding of a detector on a measure of a group at a pane; `finding` is None when a lasting change is over.

    `voice` is `PANE` or `LASTING`.
    """

    group: int
    measure: str
    voice: int
    finding: Finding | None


@dataclass(slots=True)
class SequentialContext:
    """The names, baselines and edges of the timeline."""

    groups: Sequence[tuple[str, str]]
    measures: Sequence[str]
    baselines: Baselines
    edges: dict[str, BinEdges]
    recent: RecentBaselines


class SequentialDetectors:
    """Runs the sequential detectors of a timeline. The data lies in `SequentialState` and in the bank."""

    def __init__(self, state: SequentialState, rules: SequentialRules, bank: CusumBank) -> None:
        self.state, self.rules, self.bank = state, rules, bank
        self._objects = tuple(name for name in rules.names if name != CUSUM)
        self._row_of = np.full((0, 0), NO_ROW, np.int64)
        self._latest: tuple[I64, I64, I64] | None = None
        """(groups, measures, bank rows) of the latest pane, when all its rows have a bank row."""
        self._seasons = Seasons()
        self._restore()
        self._end_rows([key for key in state.rows if not self.learns or rules.detection.ignores(key[1])])
        if not self.learns:
            self._end_seeds(list(state.seeds))
        self._divide_budget()

    @property
    def active(self) -> bool:
        """Whether a pane can lead to an output."""
        return bool(self.rules.names or self.state.ended)

    @property
    def learns(self) -> bool:
        """Whether CUSUMs run; they learn from the panes of a baseline."""
        return CUSUM in self.rules.names

    # --- snapshots ---

    def save(self) -> None:
        """Copy the rows from the bank into the state, so that a snapshot can write them."""
        self.state.saved = self.bank.take(self._numbers())

    def saved(self) -> None:
        """The caller reports that the snapshot is written."""
        self.state.saved = None

    def release(self) -> None:
        """Give the rows back to the bank, because the model is forgotten."""
        self.bank.release(self._numbers())

    def _numbers(self) -> I64:
        return np.array([*self.state.rows.values(), *self.state.seeds.values()], np.int64)

    def _restore(self) -> None:
        state = self.state
        if state.saved is not None:
            numbers = self.bank.new(len(state.saved.seen))
            self.bank.put(numbers, state.saved)
            row_numbers = numbers.tolist()
            state.rows = dict(zip(state.rows, row_numbers, strict=False))
            state.seeds = dict(zip(state.seeds, row_numbers[len(state.rows) :], strict=True))
            state.saved = None

    # --- baselines ---

    def learn(self, key: tuple[str, str], baseline: Baseline, panes: PaneCounts) -> None:
        """Train a seed row on a first baseline of a (segment, measure) that became active; `panes` are its counts."""
        if not self.learns or baseline.counts is None:
            return
        per_ms = baseline.n / max(int(np.ptp(panes.starts)) if len(panes.starts) else 0, 1)
        arl0 = per_ms * self.rules.budget * _share(len(self.state.rows) + 1)
        row = self.state.seeds[key] = int(self.bank.new(1)[0])
        self.bank.learn(row, BankTraining(baseline.counts, panes.pane, panes.at, panes.n, baseline.since, arl0))

    def pin(self, version: str | None, key: tuple[str, str], groups: Sequence[tuple[str, str]]) -> None:
        """Restart the detectors on a measure, because a pinned baseline became active or a baseline was forgotten."""
        segment, measure = key
        affected = {g for g, (v, s) in enumerate(groups) if s == segment and version in (None, v)}
        for owner in [owner for owner in self.state.objects if owner[1] == measure and owner[0] in affected]:
            del self.state.objects[owner]
        self._end_rows([owner for owner in self.state.rows if owner[1] == measure and owner[0] in affected])
        if version is None and key in self.state.seeds:
            self._end_seeds([key])
        self._divide_budget()  # a detector that is restored from a snapshot does the same
        self._row_of, self._latest = np.full_like(self._row_of, NO_ROW), None
        self._seasons.clear()

    def _end_rows(self, keys: list[tuple[int, str]]) -> None:
        self.bank.release(np.array([self.state.rows.pop(key) for key in keys], np.int64))
        self.state.ended += keys
        for key in keys:
            self.state.alarms.pop(key, None)

    def _end_seeds(self, keys: list[tuple[str, str]]) -> None:
        self.bank.release(np.array([self.state.seeds.pop(key) for key in keys], np.int64))

    # --- panes ---

    def detect(self, pane: Pane, end: int, context: SequentialContext) -> Iterator[PaneBatch | SequentialFinding]:
        """Run all detectors on a closed pane that ends at `end`.

        The caller must step a yielded `PaneBatch` before it asks for the next item.
        """
        for group, measure in self.state.ended:
            yield SequentialFinding(group, measure, LASTING, None)
        self.state.ended = []
        if self._objects:
            yield from self._advance(pane, context)
        if self.learns:
            yield from self._step(pane, end, context)

    def courses(self, since: int) -> Iterator[tuple[tuple[int, str], dict[str, float]]]:
        """By (group, measure): the CUSUM's statistic over its threshold.

        It is that at the end of the latest pane, or that of an alarm since a pane, after which the CUSUM began anew.
        """
        keys, numbers = list(self.state.rows), np.array(list(self.state.rows.values()), np.int64)
        if not keys:
            return
        for key, statistic, threshold in zip(keys, *(x.tolist() for x in self.bank.standing(numbers)), strict=True):
            if threshold > 0:  # else the row has no values yet
                pane, alarm = self.state.alarms.get(key, (since - 1, 0.0))
                yield key, {CUSUM: float(f"{max(statistic / threshold, alarm if pane >= since else 0.0):.3g}")}

    def _advance(self, pane: Pane, context: SequentialContext) -> Iterator[SequentialFinding]:
        """Run the detectors that are objects of their own."""
        rows = pane.numbers
        for row, (group, measure) in enumerate(zip(rows.group.tolist(), rows.measure.tolist(), strict=True)):
            name = context.measures[measure]
            if self.rules.detection.ignores(name):
                continue
            first = context.baselines.active_at(context.groups[group], name, pane.start)
            standardising = standard((context.groups[group], name), pane.start, context.baselines, context.recent)
            for detector in self._objects:
                baseline = first if detector in RATES else standardising
                if baseline is None or not baseline.n:
                    continue
                object_key = group, name, detector
                state = self.state.objects.get(object_key)
                if state is None:
                    key = (*context.groups[group], name, detector)
                    state = self.state.objects[object_key] = create(detector, self.rules.detection, key)
                values = int(rows.n[row]), float(rows.mean[row]), float(rows.m2[row])
                change = advance(state, baseline, values, pane.start, _bins(rows, row, context.edges.get(name)))
                if change is not None:
                    yield SequentialFinding(group, name, PANE, finding_of(detector, change, baseline))

    def _step(self, pane: Pane, end: int, context: SequentialContext) -> Iterator[PaneBatch | SequentialFinding]:
        numbers = pane.numbers
        rows = self._rows(numbers, pane.start, context)
        sizes = numbers.bin_ptr[1:] - numbers.bin_ptr[:-1]
        usable = (rows >= 0) & (sizes > 0)
        season = self._season(numbers, np.where(usable, rows, NO_ROW), pane.start, context)
        if season is not None:
            usable &= season[:, 1] > 0
        if not usable.any():
            return
        step = PaneBatch(pane.start, end, rows, sizes, numbers.bin_at, numbers.bin_n, season)
        if not usable.all():
            binned = np.repeat(usable, sizes)
            step.rows, step.sizes, step.at, step.n = rows[usable], sizes[usable], step.at[binned], step.n[binned]
            step.season = None if season is None else season[usable]
        yield step
        for turn in step.turns:
            row = np.flatnonzero(usable)[turn.place]
            group, measure = int(numbers.group[row]), context.measures[numbers.measure[row]]
            baseline = context.baselines.active_at(context.groups[group], measure, pane.start)
            over = turn.over or baseline is None
            finding = None if over or baseline is None else turn_finding(turn, baseline, context.edges[measure].edges)
            if finding is not None:
                self.state.alarms[group, measure] = pane.start, turn.statistic / turn.threshold
            yield SequentialFinding(group, measure, LASTING, finding)

    def _season(self, numbers: PaneRows, rows: I64, start: int, context: SequentialContext) -> F64 | None:
        """(R, 2) the expectation for each row's values, see `PaneBatch.season`; (0, 0) for a row that is left out."""
        if not context.recent.hourly:
            return None
        season = np.zeros((len(rows), 2))
        for row in np.flatnonzero(rows >= 0).tolist():
            group, measure = int(numbers.group[row]), context.measures[numbers.measure[row]]
            owner, scores = (context.groups[group], measure), partial(self.bank.scores, int(rows[row]))
            season[row] = self._seasons.of((group, measure), start, (owner, context.baselines), context.recent, scores)
        return season

    def _rows(self, numbers: PaneRows, start: int, context: SequentialContext) -> I64:
        """The bank row of each of a pane's rows; below 0 for a measure without a baseline on edges."""
        if self._latest is not None and numbers.group is self._latest[0] and numbers.measure is self._latest[1]:
            return self._latest[2]
        shape = len(context.groups), len(context.measures)
        if self._row_of.shape != shape:
            grown = np.full(shape, NO_ROW, np.int64)
            grown[: self._row_of.shape[0], : self._row_of.shape[1]] = self._row_of
            self._row_of = grown
        rows: I64 = self._row_of[numbers.group, numbers.measure]
        missing = np.flatnonzero(rows < 0)
        if len(missing):
            before = len(self.state.rows)
            for row in missing.tolist():
                group, measure = int(numbers.group[row]), int(numbers.measure[row])
                rows[row] = self._row_of[group, measure] = self._row(group, context.measures[measure], start, context)
            if len(self.state.rows) > before:
                self._divide_budget()
        self._latest = (numbers.group, numbers.measure, rows) if (rows >= 0).all() else None
        return rows

    def _row(self, group: int, measure: str, start: int, context: SequentialContext) -> int:
        """The bank row of a (group, measure); a missing one is trained on the active baseline. Else `NO_ROW`."""
        row = self.state.rows.get((group, measure))
        if row is not None:
            return row
        if self.rules.detection.ignores(measure):
            return NO_ROW
        version, segment = context.groups[group]
        baseline = context.baselines.active_at((version, segment), measure, start)
        if baseline is None or baseline.counts is None or measure not in context.edges:
            return NO_ROW
        row = self.state.rows[group, measure] = int(self.bank.new(1)[0])
        seed = self.state.seeds.get((segment, measure))
        if seed is not None and (version, segment, measure) not in context.baselines.by_version:
            self.bank.put(np.array([row]), self.bank.take(np.array([seed])))
        else:
            self.bank.learn(row, BankTraining(baseline.counts, *PaneCounts.none()[1:], 0, USUAL_ARL0))
        return row

    def _divide_budget(self) -> None:
        """Divide the false-alarm budget among the rows. Their nominal ARL0 changes with their next panes."""
        rows = np.array(list(self.state.rows.values()), np.int64)
        share = _share(len(rows))
        new = rows[self.bank.budget(rows) != self.rules.budget * share]
        self.bank.set_alarm_budget(new, self.rules.budget * share)


def _bins(rows: PaneRows, row: int, edges: BinEdges | None) -> Bins | None:
    """The bins of a pane's row; None for a row without bins."""
    first, last = rows.bin_ptr[row : row + 2].tolist()
    if edges is None or first == last:
        return None
    return Bins(edges.edges, rows.bin_at[first:last], rows.bin_n[first:last], float(rows.high[row]))


def _share(rows: int) -> int:
    """The next power of two. Rows may come one by one, and all are recalibrated only when this number grows."""
    return 1 << max(rows - 1, 0).bit_length()
