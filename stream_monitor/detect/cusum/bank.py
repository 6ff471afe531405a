"""The bank: the CUSUMs of many measures as rows of one table, so that one call advances the panes of many models.

A row is one measure of one group. It learns from a baseline, or starts as a copy of another row (a seed). It takes
panes as sparse bins on the measure's edges. The bank does two things that the CUSUMs do not:

- It keeps the budget. A row may raise one false alarm in so many milliseconds of event time. Its ARL0 is that time
  multiplied by its values per millisecond so far. The bank computes it again whenever the number of values has doubled,
  from the row's panes alone. The ARL0 is at least `LEAST_ARL0`.
- It detects the end of a change. After an alarm the row starts again from its baseline, so a change that lasts raises
  another alarm. If `CLEAR_FACTOR` times as many values as are expected until then come without an alarm, the measure
  is back.

Neither a row's number nor the rows that share a call affect the results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
import numpy as np

from stream_monitor.baselines.recent import seasonal
from stream_monitor.detect.cusum.cusum import Alarms, Cusums, CusumState, CusumTraining
from stream_monitor.detect.cusum.scores import PaneSums, scores_of, sums_of_panes
from stream_monitor.profiles.bins import BINS
from stream_monitor.types import F64, I64

LEAST_ARL0 = 1_000.0
CLEAR_FACTOR = 3.0
ERRORS = 3.0
"""Standard errors by which an alarm may overstate the size of its change: it comes when chance is on its side."""
LEAST_EFFECT = 0.075
"""Smallest change that is found, in standard deviations of the scores: half the smallest size of the grid."""


class BankState(msgspec.Struct):
    """The whole state of R rows, 4.5 kB each. The first axis of every array is the row, except in `cusum`."""

    cusum: CusumState
    scores: np.ndarray
    """(R, BINS) score of a value in each bin."""
    seen: np.ndarray
    """(R,) values since the row's first pane."""
    first_pane_ms: np.ndarray = msgspec.field(name="born")
    """(R,) start of that pane, epoch ms."""
    budget: np.ndarray
    """(R,) ms of event time in which the row may raise one false alarm."""
    recalibrate_at: np.ndarray = msgspec.field(name="due")
    """(R,) number of values seen at which the ARL0 is computed again."""
    values_since_alarm: np.ndarray = msgspec.field(name="quiet")
    """(R,) values since the latest alarm."""
    clear_after: np.ndarray = msgspec.field(name="patience")
    """(R,) values without an alarm after which the measure is back; inf for a row without an active alarm."""

    @classmethod
    def empty(cls, rows: int = 0) -> BankState:
        """Rows that have no baseline."""
        seen, due, since_alarm = (np.zeros(rows) for _ in range(3))
        scores, first_pane = np.zeros((rows, BINS)), np.zeros(rows, np.int64)
        return cls(
            CusumState.empty(rows), scores, seen, first_pane, np.ones(rows), due, since_alarm, np.full(rows, np.inf)
        )  # fmt: skip

    def take(self, rows: I64) -> BankState:
        """A copy of these rows."""
        arrays = {name: getattr(self, name)[rows] for name in self.__struct_fields__[1:]}
        return BankState(self.cusum.take(rows), **arrays)

    def put(self, rows: I64, part: BankState) -> None:
        """The inverse of `take`."""
        self.cusum.put(rows, part.cusum)
        for name in self.__struct_fields__[1:]:
            getattr(self, name)[rows] = getattr(part, name)


class BankTraining(NamedTuple):
    """The baseline that a row learns from: its counts (BINS,), and its P panes, oldest first, as sparse bins.

    Pane number `pane[i]` (0 to P - 1) has `n[i]` values in bin `at[i]`. P may be 0.
    """

    counts: I64
    pane: I64
    at: I64
    n: I64
    end: int
    """The end of the baseline, epoch ms; 0 if its panes are not known."""
    arl0: float
    """The ARL0 until the row's first pane; then the bank computes it from the budget."""


class CusumSignal(NamedTuple):
    """The alarm of a row; or, with `over`, the message that its measure is back."""

    place: int
    """Index into the step's `rows`."""
    over: bool
    up: bool = False
    effect: float = 0.0
    """Estimated shift, in standard deviations of the baseline's scores, with its sign."""
    values: float = 0.0
    """Estimated number of values since the change."""
    began: int = 0
    """Start of the pane that contains the estimated time of the change, epoch ms."""
    statistic: float = 0.0
    threshold: float = 0.0


@dataclass(slots=True)
class PaneBatch:
    """One pane [start, end) of some rows: `n[i]` values in bin `at[i]`; the next `sizes[r]` > 0 entries are of row r.

    `CusumBank.step` appends its signals to `turns`, in the order of `rows`.
    """

    start: int
    end: int
    rows: I64
    sizes: I64
    at: I64
    n: I64
    season: F64 | None = None
    """(rows, 2) expected score of a value, and the weight of a value (see `baselines.recent.weight_of`).

    None: an expected score of 0 and a weight of 1.
    """
    turns: list[CusumSignal] = field(default_factory=list)


class CusumBank:
    """The rows of all models whose panes share calls."""

    def __init__(self) -> None:
        self._use(BankState.empty())
        self._free: list[int] = []

    def _use(self, rows: BankState) -> None:
        self._rows, self._cusums = rows, Cusums(rows.cusum)
        rows.cusum = self._cusums.state

    def new(self, count: int) -> I64:
        """Allocate rows and return their numbers; the rows raise no alarms until they learn."""
        size = len(self._rows.seen)
        if count > len(self._free):
            room = BankState.empty(max(2 * size, size + count, 16))
            room.put(np.arange(size), self._rows)
            self._use(room)
            self._free += range(len(room.seen) - 1, size - 1, -1)
        return np.array([self._free.pop() for _ in range(count)], np.int64)

    def release(self, rows: I64) -> None:
        """Free rows."""
        self.put(rows, BankState.empty(len(rows)))
        self._free += rows.tolist()

    def take(self, rows: I64) -> BankState:
        """A copy of these rows, for a snapshot."""
        return self._rows.take(rows)

    def put(self, rows: I64, part: BankState) -> None:
        """Overwrite these rows with copies, from a snapshot or of other rows."""
        self._rows.put(rows, part)

    def learn(self, row: int, learning: BankTraining) -> None:
        """Give a row a baseline; it forgets its former state except its budget."""
        rows, state = np.array([row]), self._rows
        counts = learning.counts[None]
        scores = scores_of(counts).of_bin
        panes = int(learning.pane.max(initial=-1)) + 1
        sums = sums_of_panes(scores[0, learning.at], learning.pane, learning.n, panes)
        arl0 = np.array([max(learning.arl0, LEAST_ARL0)])
        baselines = CusumTraining(counts, scores, arl0, sums.n[:, None], sums.s[:, None])
        self._cusums.learn(rows, baselines, learning.end)
        state.scores[row] = scores[0]
        state.seen[row] = state.recalibrate_at[row] = state.values_since_alarm[row] = 0
        state.clear_after[row] = np.inf

    def scores(self, row: int) -> F64:
        """(BINS,) the score of a value in each bin."""
        return np.asarray(self._rows.scores[row])

    def set_alarm_budget(self, rows: I64, budget: float) -> None:
        """From their next pane on, these rows may each raise one false alarm in `budget` ms of event time."""
        self._rows.budget[rows] = budget
        self._rows.recalibrate_at[rows] = 0

    def budget(self, rows: I64) -> F64:
        """(R,) milliseconds of event time in which each row may raise one false alarm."""
        return np.asarray(self._rows.budget[rows])

    def standing(self, rows: I64) -> tuple[F64, F64]:
        """(R,) present statistic and threshold of these rows, see `Cusums.standing`."""
        return self._cusums.standing(rows)

    def step(self, steps: Sequence[PaneBatch]) -> None:
        """Take in panes of distinct rows, all in one call, and append the signals to the steps."""
        sizes = [len(step.rows) for step in steps]
        bases = np.cumsum([0, *sizes[:-1]])
        rows = np.concatenate([step.rows for step in steps])
        row = np.repeat(np.arange(len(rows)), np.concatenate([step.sizes for step in steps]))
        at, n = (np.concatenate([getattr(step, name) for step in steps]) for name in ("at", "n"))
        start, end = (np.repeat([getattr(step, name) for step in steps], sizes) for name in ("start", "end"))
        sums = sums_of_panes(self._rows.scores[rows[row], at], row, n, len(rows))
        self._count(rows, sums.n, start, end)
        if any(step.season is not None for step in steps):
            plain = np.array([0.0, 1.0])
            season = [np.tile(plain, (len(s.rows), 1)) if s.season is None else s.season for s in steps]
            sums = PaneSums(*seasonal(np.stack(sums), np.concatenate(season)))
        self._rows.values_since_alarm[rows] += sums.n
        alarms = self._cusums.step(rows, *sums, start)
        turns = [CusumSignal(place, True) for place in self._over(rows, alarms.row)]
        if len(alarms.row):
            place_of = {number: place for place, number in enumerate(rows.tolist())}
            for number, *details in zip(*(column.tolist() for column in alarms), strict=True):
                turns.append(CusumSignal(place_of[number], False, *details))
            self._restart(alarms)
        for turn in sorted(turns):
            owner = int(np.searchsorted(bases, turn.place, side="right")) - 1
            steps[owner].turns.append(turn._replace(place=turn.place - int(bases[owner])))

    def _restart(self, alarms: Alarms) -> None:
        """Restart the rows that raised an alarm, and watch for the end of the change.

        An alarm may come early by luck. The next one is expected after as many values as the threshold needs at the
        growth that the least plausible size of the change gives.
        """
        state, rows = self._rows, alarms.row
        least = np.maximum(np.abs(alarms.effect) - ERRORS * np.sqrt(state.cusum.f[rows] / alarms.since), LEAST_EFFECT)
        expected = 2 * state.cusum.f[rows] * alarms.threshold / least**2
        wanted = CLEAR_FACTOR * np.maximum(alarms.since, expected)
        before = state.clear_after[rows]
        state.clear_after[rows] = np.where(np.isfinite(before), np.maximum(before, wanted), wanted)
        state.values_since_alarm[rows] = 0
        self._cusums.restart(rows, keep=False)

    def _count(self, rows: I64, n: F64, start: I64, end: I64) -> None:
        """Count the values seen, and compute the ARL0 of rows whose number of values has doubled."""
        state = self._rows
        seen, first = state.seen[rows] + n, state.seen[rows] == 0
        state.seen[rows] = seen
        state.first_pane_ms[rows[first]] = start[first]
        due = np.flatnonzero(seen >= state.recalibrate_at[rows])
        if len(due):
            doubled = rows[due]
            arl0 = seen[due] / (end[due] - state.first_pane_ms[doubled]) * state.budget[doubled]
            self._cusums.calibrate(doubled, np.maximum(arl0, LEAST_ARL0))
            state.recalibrate_at[doubled] = 2 * seen[due]

    def _over(self, rows: I64, alarmed: I64) -> list[int]:
        """Indices of rows whose change is over: enough values since their alarm, and not among `alarmed`."""
        state = self._rows
        over = np.flatnonzero(state.values_since_alarm[rows] >= state.clear_after[rows])
        over = over[~np.isin(rows[over], alarmed)]
        state.clear_after[rows[over]] = np.inf
        return [int(place) for place in over]
