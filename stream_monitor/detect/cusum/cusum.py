"""CUSUMs that keep learning their baseline: the default sequential detector, for all measures in one call.

A measure has ten CUSUMs (Page 1954): five sizes of change in both directions. Each adds up a log likelihood ratio on
scores (see `scores`), of the exponentially tilted baseline against the baseline. The tilt is such that its cumulant psi
is size²/2; where such a tilt would exceed `size`, it is `size`. For a normal the tilt shifts the mean by `size`
standard deviations. The rate of a rare error it raises by an amount that is as easy to detect.

A CUSUM learns the mean: its baseline is every value before its own start, so it learns until the CUSUM begins to grow.
The ratio of n values against the N before them has the mean integrated out, which divides it by 1 + n/N. So a young
baseline raises about as many alarms as an old one. For dependent values the statistic is divided by the long-run
variance ratio (see `autocorrelation`).

The threshold has a closed form. A CUSUM with threshold x has a mean time between false alarms of (e^x - x - 1) / KL,
with KL = psi here. Each of the ten CUSUMs gets its share of all false alarms (see `tilting`). Panes of several values
overshoot more than single values, so their threshold is lower: by `PANE_STEP` standard deviations of what a pane adds.
Half of that is for the overshoot above the threshold; that half is at most what a pane can add, because a pane without
any error adds little.

We take sums of scores as nearly normal. Where one of two values is rare they are not, and we use the exact ratio of two
rates (see `likelihood`).

Assumptions: the dependence of values is shorter than the baseline, and there are no seasons. Changes below half the
smallest size, .075 standard deviations of the scores, are not detected, whatever the traffic: that is the tolerance.
Memory is 2.5 kB a row. The last axis of every array is the row. The other rows of a call do not affect a row's results.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import numpy as np

from stream_monitor.detect.cusum.autocorrelation import Blocks
from stream_monitor.detect.cusum.likelihood import of_two_values, of_values
from stream_monitor.detect.cusum.scores import rare
from stream_monitor.detect.cusum.tilting import COLUMNS, SIZES, reach_of, thresholds, tilts
from stream_monitor.types import F64, I64, Bool

PANE_STEP = 1.166
PANE_MOST = 2.5
"""The most by which the threshold of a pane is lowered."""
LEAST_THRESHOLD = 1.0
LEAST_NEWS = 500.0
"""Fewest new values before spread, long-run variance ratio and thresholds are computed again.

They are computed again when the values of known panes have doubled. For a baseline whose panes are known that is a
doubling of all values.
"""
REHEARSAL = 128
"""Most panes of a rehearsal, see `Cusums.learn`."""


class CusumTraining(NamedTuple):
    """The baselines that rows learn from. `panes_*` (P, R) are their panes, oldest first; P may be 0.

    Without panes the long-run variance ratio stays unknown (1) for the next `LEAST_NEWS` values.
    """

    counts: I64
    """(R, B) values in each bin."""
    scores: F64
    """(R, B) `scores_of(counts).of_bin`."""
    arl0: F64
    """(R,) nominal mean number of values between false alarms."""
    panes_n: F64
    panes_s: F64


class Alarms(NamedTuple):
    """The alarms of a step, all fields (A,): one entry for each row that raises one.

    A row that is not restarted raises an alarm again with its next pane.
    """

    row: I64
    up: Bool
    effect: F64
    """Estimated shift of the mean score, in standard deviations of the baseline; signed."""
    since: F64
    """Estimated number of values since the change."""
    began: I64
    """Estimated time of the change: the `ts` of the pane in which the CUSUM started."""
    statistic: F64
    threshold: F64


class CusumState(msgspec.Struct):
    """The whole state of R rows; a snapshot contains exactly this."""

    n: np.ndarray
    """(COLUMNS, R) values since the start of each CUSUM."""
    s: np.ndarray
    """(COLUMNS, R) sum of their scores."""
    began: np.ndarray
    """(COLUMNS, R) `ts` of the pane in which each CUSUM started."""
    theta: np.ndarray
    """(COLUMNS, R) the tilt."""
    psi: np.ndarray
    """(COLUMNS, R) its cumulant over the baseline."""
    gain: np.ndarray
    """(COLUMNS, R) theta / f."""
    cost: np.ndarray
    """(COLUMNS, R) cumulant / f, by the spread of all values so far."""
    bar: np.ndarray
    """(COLUMNS, R) threshold of a pane of no values."""
    near: np.ndarray
    """(COLUMNS, R) the lowest threshold of any pane."""
    total: np.ndarray
    """(3, R) values, sum and sum of squares of their scores, since the baseline began."""
    learned: np.ndarray
    """(3, R) the same when spread and long-run variance ratio were last computed."""
    f: np.ndarray
    """(R,) long-run variance ratio."""
    arl0: np.ndarray
    """(R,) nominal mean number of values between false alarms."""
    recalibrate_at: np.ndarray = msgspec.field(name="due")
    """(R,) number of values at which spread and long-run variance ratio are computed again."""
    blocks: Blocks
    reach: np.ndarray = msgspec.field(default_factory=lambda: np.zeros((COLUMNS, 0)))
    """(COLUMNS, R) the most that a value of the baseline adds to the statistic if f is 1.

    A snapshot of a former version lacks it; its rows have inf until they learn a new baseline.
    """
    pair: np.ndarray = msgspec.field(default_factory=lambda: np.zeros((2, 0)))
    """(2, R) where one of two scores is rare: the lower one, and the difference to the higher one; elsewhere 0."""

    def __post_init__(self) -> None:
        if self.reach.shape[1] != len(self):
            self.reach = np.full((COLUMNS, len(self)), np.inf)
        if self.pair.shape[1] != len(self):
            self.pair = np.zeros((2, len(self)))

    @classmethod
    def empty(cls, rows: int = 0) -> CusumState:
        """Rows that have no baseline; they raise no alarms."""
        n, s, theta, psi, gain, cost = (np.zeros((COLUMNS, rows)) for _ in range(6))
        began = np.zeros((COLUMNS, rows), np.int64)
        bar, due = np.full((COLUMNS, rows), np.inf), np.full(rows, np.inf)
        total = np.repeat([[1.0], [0.0], [0.0]], rows, axis=1)
        return cls(
            n,
            s,
            began,
            theta,
            psi,
            gain,
            cost,
            bar,
            bar.copy(),
            total,
            total.copy(),
            np.ones(rows),
            np.ones(rows),
            due,
            Blocks.empty(rows),
            np.full((COLUMNS, rows), np.inf),
            np.zeros((2, rows)),
        )

    def __len__(self) -> int:
        return len(self.f)

    def take(self, rows: I64) -> CusumState:
        """A copy of these rows."""
        self.blocks.settle(rows)
        part = CusumState.empty()
        for own, other in ((self, part), (self.blocks, part.blocks)):
            for name in own.__struct_fields__:
                if name != "blocks":
                    setattr(other, name, getattr(own, name)[..., rows])
        return part

    def put(self, rows: I64, part: CusumState) -> None:
        """The inverse of `take`."""
        for own, other in ((self, part), (self.blocks, part.blocks)):
            for name in own.__struct_fields__:
                if name != "blocks":
                    getattr(own, name)[..., rows] = getattr(other, name)


class Cusums:
    """The operations on a `CusumState`."""

    def __init__(self, state: CusumState | None = None) -> None:
        self.state = CusumState.empty() if state is None else state.take(np.arange(len(state)))

    def grow(self, rows: int) -> None:
        """Make room for this many rows; new rows raise no alarms until they learn."""
        size = len(self.state)
        if rows > size:
            room = CusumState.empty(max(rows, 2 * size))
            room.put(np.arange(size), self.state)
            self.state = room

    def learn(self, rows: I64, baselines: CusumTraining, ts: int = 0) -> None:
        """Give distinct rows a baseline that ends at `ts`; they forget their former state.

        A CUSUM that is above 0 at the end of the baseline gets `ts` as its start, because the baseline is normal.
        """
        counts, scores = baselines.counts, baselines.scores
        new, every = CusumState.empty(len(rows)), np.arange(len(rows))
        new.theta, new.psi = tilts(counts, scores)
        new.reach = reach_of(counts, scores, new.theta, new.psi)
        low = scores.min(axis=1)
        new.pair[:] = np.where(rare(counts), (low, scores.max(axis=1) - low), 0.0)
        new.total[0] = np.maximum(counts.sum(axis=1), 1)
        new.total[1] = (counts * scores).sum(axis=1)
        new.total[2] = (counts * scores * scores).sum(axis=1)
        new.arl0 = baselines.arl0.astype(float)
        new.began[:] = ts
        new.blocks.begin(baselines.panes_n, baselines.panes_s - baselines.panes_n * (new.total[1] / new.total[0]))
        refresh(new, every)
        _rehearse(new, baselines.panes_n, baselines.panes_s)
        self.state.put(rows, new)

    def calibrate(self, rows: I64, arl0: F64) -> None:
        """Set another nominal number of values between false alarms for these distinct rows; their sums stay."""
        state = self.state
        state.arl0[rows] = arl0
        _set_bars(state, rows, state.cost[:, rows] * state.f[rows])

    def step(self, rows: I64, n: F64, s: F64, ss: F64, ts: I64 | int = 0) -> Alarms:
        """Take in a pane of each of these distinct rows: n > 0 values, the sums of their scores and squared scores.

        `ts` (epoch ms) is the start of the pane, one for all rows or (R,); it affects only `Alarms.began`.
        """
        state, at = self.state, _index(rows, len(self.state))
        total = state.total[:, at]
        total += np.stack([n, s, ss])
        state.blocks.add(rows, n, s - n * (total[1] / total[0]))
        count, score, began = state.n[:, at], state.s[:, at], state.began[:, at]
        np.copyto(began, ts, where=count == 0)
        count += n
        score += s
        w = _statistic(state, at, count, score, total)
        grows = (w > 0).astype(float)
        count *= grows
        score *= grows
        if not isinstance(at, slice):
            state.total[:, at], state.n[:, at], state.s[:, at], state.began[:, at] = total, count, score, began
        near = np.unique(np.flatnonzero(w > state.near[:, at]) % len(rows)) if len(rows) else rows
        alarms = self._alarms(rows[near], n[near], w[:, near])
        due = np.flatnonzero(total[0] >= state.recalibrate_at[at])
        if len(due):
            calm = (w[:, due] <= thresholds_now(state, rows[due], n[due]) / 2).all(axis=0)
            if calm.any():
                refresh(state, rows[due[calm]])
        return alarms

    def standing(self, rows: I64) -> tuple[F64, F64]:
        """(R,) statistic and threshold of the CUSUM of each row that is nearest to its threshold.

        The threshold is inf for a row without a baseline, and 0 for one without values.
        """
        state = self.state
        w = _statistic(state, rows, state.n[:, rows], state.s[:, rows], state.total[:, rows])
        bar = state.bar[:, rows]
        ratio = np.divide(w, bar, out=np.zeros_like(w), where=bar > 0)
        nearest = ratio.argmax(axis=0), np.arange(len(rows))
        return np.maximum(w[nearest], 0.0), bar[nearest]

    def _alarms(self, rows: I64, n: F64, w: F64) -> Alarms:
        state, h = self.state, thresholds_now(self.state, rows, n)
        over = w > h
        alarmed = np.flatnonzero(over.any(axis=0))
        column, row = np.where(over, w, -np.inf)[:, alarmed].argmax(axis=0), rows[alarmed]
        count, score = state.n[column, row], state.s[column, row]
        before = (state.total[1, row] - score) / (state.total[0, row] - count)
        effect, began = score / count - before, state.began[column, row]
        return Alarms(row, column < len(SIZES), effect, count, began, w[column, alarmed], h[column, alarmed])

    def restart(self, rows: I64, keep: bool) -> None:
        """Restart the CUSUMs of these rows after an alarm.

        With `keep` all values so far belong to the baseline, which continues from here. Without it the baseline goes
        back to its state at the latest `refresh`, and a change that lasts raises an alarm again. We do not cut the
        baseline at the estimated change: after a false alarm it would lack its most unusual values.
        """
        state = self.state
        state.n[:, rows] = 0
        state.s[:, rows] = 0
        if not keep:
            state.total[:, rows] = state.learned[:, rows]
            state.blocks.go_back(rows)


def _rehearse(state: CusumState, panes_n: F64, panes_s: F64) -> None:
    """Run the CUSUMs over the later half of the baseline, so that they start in their typical state.

    A CUSUM that starts from 0 takes longer to raise an alarm. Panes are merged to at most `REHEARSAL`.
    """
    each = -(-max(len(panes_n) // 2, 1) // REHEARSAL)
    first = len(panes_n) - len(panes_n) // 2 // each * each
    total = state.total.copy()
    total[0] -= panes_n[first:].sum(axis=0)
    total[1] -= panes_s[first:].sum(axis=0)
    for i in range(first, len(panes_n), each):
        n, s = panes_n[i : i + each].sum(axis=0), panes_s[i : i + each].sum(axis=0)
        total[0] += n
        total[1] += s
        state.n += n
        state.s += s
        w = _statistic(state, slice(None), state.n, state.s, total)
        grows = (w > 0) & (w <= state.bar)
        state.n *= grows
        state.s *= grows


def _index(rows: I64, size: int) -> slice | I64:
    """The rows as an index: a slice, which needs no copies, if they are all rows in order."""
    if len(rows) == size and size and rows[0] == 0 and bool((np.diff(rows) == 1).all()):
        return slice(None)
    return rows


def _statistic(state: CusumState, at: slice | I64, n: F64, s: F64, total: F64) -> F64:
    """The log likelihood ratio of each CUSUM of the rows `at`, (COLUMNS, R)."""
    w = of_values(n, s, total, state.gain[:, at], state.cost[:, at])
    pair = state.pair[:, at]
    two = np.flatnonzero(pair[1])
    if len(two):
        ratio = of_two_values(n[:, two], s[:, two], total[:, two], state.theta[:, at][:, two], pair[:, two])
        w[:, two] = ratio / state.f[at][two]
    return w


def thresholds_now(state: CusumState, rows: I64, n: F64) -> F64:
    """(COLUMNS, R): thresholds of panes of n values (Siegmund 1985: half for each end of a CUSUM's path)."""
    step = PANE_STEP / 2 * np.abs(state.theta[:, rows]) * np.sqrt(n / state.f[rows])
    step += np.minimum(step, n * state.reach[:, rows] / state.f[rows])
    return np.asarray(np.maximum(state.bar[:, rows] - np.minimum(step, PANE_MOST), LEAST_THRESHOLD))


def refresh(state: CusumState, rows: I64) -> None:
    """Compute spread, long-run variance ratio and thresholds of these rows from all values so far."""
    n, s, ss = state.learned[:, rows] = state.total[:, rows]
    mean = s / n
    variance = np.maximum(ss / n - mean * mean, 0.0)
    psi, arl0 = state.psi[:, rows] * variance, state.arl0[rows]
    f = state.blocks.ratio(rows, variance, thresholds(psi, arl0).max(axis=0))
    state.blocks.keep(rows)
    state.f[rows], state.recalibrate_at[rows] = f, n + np.maximum(np.minimum(state.blocks.values[rows], n), LEAST_NEWS)
    state.gain[:, rows], state.cost[:, rows] = state.theta[:, rows] / f, psi / f
    _set_bars(state, rows, psi)


def _set_bars(state: CusumState, rows: I64, psi: F64) -> None:
    state.bar[:, rows] = thresholds(psi, state.arl0[rows] / state.f[rows])
    state.near[:, rows] = np.maximum(state.bar[:, rows] - PANE_MOST, LEAST_THRESHOLD)
