"""The CUSUMs of many measures as rows of one table, so that one call advances the panes of many models.

A row is one measure of one group. It learns from a baseline, or starts as a copy of a row that has (a seed), and takes
panes as sparse bins on the measure's edges. The table looks after two things that a CUSUM does not know:

- The budget. A row may ring falsely once in so many milliseconds of event time. Its nominal number of values between
  false alarms is that time × its values per millisecond so far, and is taken anew whenever the number of values has
  doubled: a function of the row's panes alone. Less than `LEAST_ARL0` it never is.
- The end of a change. After an alarm the row starts again from its baseline, so that a change which lasts rings again,
  in about as many values as before. When `CLEAR_FACTOR` times as many have come without, the measure is back.

Which number a row has, and which rows share a call, does not show in the results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
import numpy as np

from stream_monitor.baselines.recent import seasonal
from stream_monitor.detect.cusum.cusum import Cusums, CusumState, CusumTraining
from stream_monitor.detect.cusum.scores import PaneSums, scores_of, sums_of_panes
from stream_monitor.profiles.bins import BINS
from stream_monitor.types import F64, I64

LEAST_ARL0 = 1_000.0
CLEAR_FACTOR = 3.0


class BankState(msgspec.Struct):
    """All that is remembered of R rows, 4.5 kB each; the first axis is the row but for `cusum`."""

    cusum: CusumState
    scores: np.ndarray
    """(R, BINS) score of a value in each bin."""
    seen: np.ndarray
    """(R,) values since the row's first pane."""
    first_pane_ms: np.ndarray = msgspec.field(name="born")
    """(R,) start of that pane, epoch ms."""
    budget: np.ndarray
    """(R,) ms in which it may ring falsely once."""
    recalibrate_at: np.ndarray = msgspec.field(name="due")
    """(R,) number of values seen at which the nominal ARL0 is taken anew."""
    values_since_alarm: np.ndarray = msgspec.field(name="quiet")
    """(R,) values since the latest alarm."""
    clear_after: np.ndarray = msgspec.field(name="patience")
    """(R,) values without an alarm after which the measure is back; inf for a row that is not in alarm."""

    @classmethod
    def empty(cls, rows: int = 0) -> BankState:
        """Rows that have learned nothing."""
        seen, due, quiet = (np.zeros(rows) for _ in range(3))
        scores, born = np.zeros((rows, BINS)), np.zeros(rows, np.int64)
        return cls(
            CusumState.empty(rows), scores, seen, born, np.ones(rows), due, quiet, np.full(rows, np.inf)
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
    """What a row learns from: its baseline's counts (BINS,), and the panes of it, oldest first, as sparse bins.

    `pane[i]` is the number of the pane (0 to P - 1) that has `n[i]` values in bin `at[i]`. P may be 0.
    """

    counts: I64
    pane: I64
    at: I64
    n: I64
    end: int
    """When the baseline ends, epoch ms; 0 where its panes are not known."""
    arl0: float
    """Nominal number of values between false alarms, until the row's first pane says better."""


class CusumSignal(NamedTuple):
    """A row that found a change; or, with `over`, one whose measure is back."""

    place: int
    """Index into the step's `rows`."""
    over: bool
    up: bool = False
    effect: float = 0.0
    """Estimated shift, in standard deviations of the baseline's scores; signed."""
    values: float = 0.0
    """Estimated number of values since the change."""
    began: int = 0
    """Start of the pane in which the change is estimated to be, epoch ms."""
    statistic: float = 0.0
    threshold: float = 0.0


@dataclass(slots=True)
class PaneBatch:
    """Panes [start, end) of some rows: `n[i]` values in bin `at[i]`, of which row r has the next `sizes[r]` > 0.

    Who asks for a step finds in `turns` what came of it, in the order of `rows`.
    """

    start: int
    end: int
    rows: I64
    sizes: I64
    at: I64
    n: I64
    season: F64 | None = None
    """(rows, 2) expected score of a value, and as how many values one counts, see `history.weight_of`; None: 0, 1."""
    turns: list[CusumSignal] = field(default_factory=list)


class CusumBank:
    """The rows of everybody who shares calls."""

    def __init__(self) -> None:
        self._use(BankState.empty())
        self._free: list[int] = []

    def _use(self, rows: BankState) -> None:
        self._rows, self._cusums = rows, Cusums(rows.cusum)
        rows.cusum = self._cusums.state

    def new(self, count: int) -> I64:
        """Numbers of so many rows that nobody uses; they are quiet until they learn."""
        have = len(self._rows.seen)
        if count > len(self._free):
            room = BankState.empty(max(2 * have, have + count, 16))
            room.put(np.arange(have), self._rows)
            self._use(room)
            self._free += range(len(room.seen) - 1, have - 1, -1)
        return np.array([self._free.pop() for _ in range(count)], np.int64)

    def release(self, rows: I64) -> None:
        """Give rows back."""
        self.put(rows, BankState.empty(len(rows)))
        self._free += rows.tolist()

    def take(self, rows: I64) -> BankState:
        """A copy of these rows, for a snapshot."""
        return self._rows.take(rows)

    def put(self, rows: I64, part: BankState) -> None:
        """Rows of a snapshot, or of another row, exactly."""
        self._rows.put(rows, part)

    def learn(self, row: int, learning: BankTraining) -> None:
        """Give a row a baseline; it forgets all that it knew but its budget."""
        rows, mine = np.array([row]), self._rows
        counts = learning.counts[None]
        scores = scores_of(counts).of_bin
        panes = int(learning.pane.max(initial=-1)) + 1
        sums = sums_of_panes(scores[0, learning.at], learning.pane, learning.n, panes)
        arl0 = np.array([max(learning.arl0, LEAST_ARL0)])
        baselines = CusumTraining(counts, scores, arl0, sums.n[:, None], sums.s[:, None])
        self._cusums.learn(rows, baselines, learning.end)
        mine.scores[row] = scores[0]
        mine.seen[row] = mine.recalibrate_at[row] = mine.values_since_alarm[row] = 0
        mine.clear_after[row] = np.inf

    def scores(self, row: int) -> F64:
        """(BINS,) score of a value in each bin."""
        return np.asarray(self._rows.scores[row])

    def set_alarm_budget(self, rows: I64, budget: float) -> None:
        """Rows may ring falsely once in `budget` ms, from their next pane on."""
        self._rows.budget[rows] = budget
        self._rows.recalibrate_at[rows] = 0

    def budget(self, rows: I64) -> F64:
        """(R,) milliseconds of event time in which a row may ring falsely once."""
        return np.asarray(self._rows.budget[rows])

    def standing(self, rows: I64) -> tuple[F64, F64]:
        """(R,) statistic and threshold of these rows as they stand, see `Cusums.standing`."""
        return self._cusums.standing(rows)

    def step(self, steps: Sequence[PaneBatch]) -> None:
        """Take in panes of distinct rows, all in one call; what comes of them is left in the steps."""
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
            for number, *told in zip(*(column.tolist() for column in alarms), strict=True):
                turns.append(CusumSignal(place_of[number], False, *told))
            self._ring(alarms.row, alarms.since)
        for turn in sorted(turns):
            owner = int(np.searchsorted(bases, turn.place, side="right")) - 1
            steps[owner].turns.append(turn._replace(place=turn.place - int(bases[owner])))

    def _ring(self, rows: I64, values: F64) -> None:
        """Alarms after so many values: start again from the baseline, and wait for the change to be over."""
        mine, wanted = self._rows, CLEAR_FACTOR * values
        before = mine.clear_after[rows]
        mine.clear_after[rows] = np.where(np.isfinite(before), np.maximum(before, wanted), wanted)
        mine.values_since_alarm[rows] = 0
        self._cusums.restart(rows, keep=False)

    def _count(self, rows: I64, n: F64, start: I64, end: I64) -> None:
        """Values seen; budgets in values, of the rows that are due."""
        mine = self._rows
        seen, first = mine.seen[rows] + n, mine.seen[rows] == 0
        mine.seen[rows] = seen
        mine.first_pane_ms[rows[first]] = start[first]
        due = np.flatnonzero(seen >= mine.recalibrate_at[rows])
        if len(due):
            late = rows[due]
            arl0 = seen[due] / (end[due] - mine.first_pane_ms[late]) * mine.budget[late]
            self._cusums.calibrate(late, np.maximum(arl0, LEAST_ARL0))
            mine.recalibrate_at[late] = 2 * seen[due]

    def _over(self, rows: I64, rang: I64) -> list[int]:
        """Places of rows that have been quiet for long enough after an alarm, and do not ring now."""
        mine = self._rows
        over = np.flatnonzero(mine.values_since_alarm[rows] >= mine.clear_after[rows])
        over = over[~np.isin(rows[over], rang)]
        mine.clear_after[rows[over]] = np.inf
        return [int(place) for place in over]
