"""A grid of CUSUMs that keep learning their baseline: the default sequential detector, all measures in one call.

Ten CUSUMs a measure (Page 1954), five sizes of change in both directions. Each is a likelihood ratio on scores (see
`scores`) between the baseline and the same distribution exponentially tilted; the tilt is such that its cumulant psi is
size²/2, or the tilt is `size` where that is less. For a normal that shifts the mean by `size` standard deviations; a
rare error's rate it raises by as much as is as easily told. The mean is not known but learned: a CUSUM's baseline is
everything before its own start, so it learns until the CUSUM begins to grow, and the ratio has the mean integrated out
(n values against N before them: division by 1 + n/N), so that a young baseline raises about as many alarms as an old
one. Dependence of values divides the statistic by the long-run variance ratio (see `dependence`).

Threshold, in closed form: the mean time between false alarms of one CUSUM with threshold x is (e^x - x - 1) / KL, KL =
psi here, and each of the ten has its share of all false alarms, see `tilts`. Panes of several values overshoot more
than values one by one, so they may have a lower threshold: by `PANE_STEP` standard deviations of what a pane adds, half
of it for what lies above the threshold, and that is no more than a pane can add: a pane without any error says little.

Sums of scores are taken as near normal; where one of two values is rare they are not, and the ratio is the exact one of
two rates (see `likelihood`).

What is assumed: values whose dependence is shorter than the baseline, and no seasons. Changes below half the smallest
size, .075 standard deviations of the scores, are not found, whatever the traffic: that is the tolerance. Memory is
2.5 kB a row. The last axis of every array is the row. A row's results do not depend on which others share its calls.
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
"""The threshold of a pane is never lower by more."""
LEAST_THRESHOLD = 1.0
LEAST_NEWS = 500.0
"""Spread, dependence and thresholds are taken anew when the values of known panes have doubled, or by so many.

For a baseline that came with its panes that is a doubling of all values.
"""
REHEARSAL = 128
"""Most panes of a rehearsal, see `Cusums.learn`."""


class CusumTraining(NamedTuple):
    """What rows learn from. `panes_*` (P, R) are the baseline's own panes, oldest first; P may be 0.

    Without panes nothing is known of dependence until `LEAST_NEWS` values have come.
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
    """One entry a row that rings, all (A,). A row that is not restarted rings again with its next pane."""

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
    """All that is remembered of R rows; a snapshot writes just this."""

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
    """(COLUMNS, R) no threshold is below this."""
    total: np.ndarray
    """(3, R) values, sum and sum of squares of their scores, since the baseline began."""
    learned: np.ndarray
    """(3, R) the same when spread and dependence were last taken anew."""
    f: np.ndarray
    """(R,) long-run variance ratio."""
    arl0: np.ndarray
    """(R,) nominal mean number of values between false alarms."""
    recalibrate_at: np.ndarray = msgspec.field(name="due")
    """(R,) number of values at which spread and dependence are taken anew."""
    blocks: Blocks
    reach: np.ndarray = msgspec.field(default_factory=lambda: np.zeros((COLUMNS, 0)))
    """(COLUMNS, R) the most that a value of the baseline adds where f is 1.

    In a row of a former snapshot, where it is not known, inf until it learns anew.
    """
    pair: np.ndarray = msgspec.field(default_factory=lambda: np.zeros((2, 0)))
    """(2, R) where one of two scores is rare the lower one, and by how much the other is higher; elsewhere 0."""

    def __post_init__(self) -> None:
        if self.reach.shape[1] != len(self):
            self.reach = np.full((COLUMNS, len(self)), np.inf)
        if self.pair.shape[1] != len(self):
            self.pair = np.zeros((2, len(self)))

    @classmethod
    def empty(cls, rows: int = 0) -> CusumState:
        """Rows that have learned nothing yet, and stay quiet."""
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
        for mine, theirs in ((self, part), (self.blocks, part.blocks)):
            for name in mine.__struct_fields__:
                if name != "blocks":
                    setattr(theirs, name, getattr(mine, name)[..., rows])
        return part

    def put(self, rows: I64, part: CusumState) -> None:
        """The inverse of `take`."""
        for mine, theirs in ((self, part), (self.blocks, part.blocks)):
            for name in mine.__struct_fields__:
                if name != "blocks":
                    getattr(mine, name)[..., rows] = getattr(theirs, name)


class Cusums:
    """Behaviour around a `CusumState`."""

    def __init__(self, state: CusumState | None = None) -> None:
        self.state = CusumState.empty() if state is None else state.take(np.arange(len(state)))

    def grow(self, rows: int) -> None:
        """Make room for this many rows; new ones are quiet until they learn."""
        have = len(self.state)
        if rows > have:
            room = CusumState.empty(max(rows, 2 * have))
            room.put(np.arange(have), self.state)
            self.state = room

    def learn(self, rows: I64, baselines: CusumTraining, ts: int = 0) -> None:
        """Give distinct rows a baseline that ends at `ts`, and forget all that they knew.

        A CUSUM that the baseline leaves running is said to have started there: before was normal.
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
        """Another nominal number of values between false alarms for these distinct rows; their sums stay."""
        state = self.state
        state.arl0[rows] = arl0
        _set_bars(state, rows, state.cost[:, rows] * state.f[rows])

    def step(self, rows: I64, n: F64, s: F64, ss: F64, ts: I64 | int = 0) -> Alarms:
        """Take in a pane of each of these distinct rows: n > 0 values, the sums of their scores and squared scores.

        `ts` (epoch ms) is the start of the pane, one for all or (R,); nothing depends on it but `Alarms.began`.
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
        """(R,) statistic and threshold of that CUSUM of each row which is nearest to its threshold; inf: none yet."""
        state = self.state
        w = _statistic(state, rows, state.n[:, rows], state.s[:, rows], state.total[:, rows])
        nearest = (w / state.bar[:, rows]).argmax(axis=0), np.arange(len(rows))
        return np.maximum(w[nearest], 0.0), state.bar[:, rows][nearest]

    def _alarms(self, rows: I64, n: F64, w: F64) -> Alarms:
        state, h = self.state, thresholds_now(self.state, rows, n)
        over = w > h
        at = np.flatnonzero(over.any(axis=0))
        column, row = np.where(over, w, -np.inf)[:, at].argmax(axis=0), rows[at]
        count, score = state.n[column, row], state.s[column, row]
        before = (state.total[1, row] - score) / (state.total[0, row] - count)
        effect, began = score / count - before, state.began[column, row]
        return Alarms(row, column < len(SIZES), effect, count, began, w[column, at], h[column, at])

    def restart(self, rows: I64, keep: bool) -> None:
        """Start anew after an alarm. With `keep` what came belongs to normal and the baseline goes on from here.

        Else the baseline is again what it was when last taken anew, and a change that lasts rings again. It is not cut
        at the estimated change: after a false alarm that would leave a baseline without its most unusual values.
        """
        state = self.state
        state.n[:, rows] = 0
        state.s[:, rows] = 0
        if not keep:
            state.total[:, rows] = state.learned[:, rows]
            state.blocks.go_back(rows)


def _rehearse(state: CusumState, panes_n: F64, panes_s: F64) -> None:
    """Run the CUSUMs over the later half of the baseline, so that they meet the stream as they will live in it.

    One that starts from 0 takes longer to ring. Panes are joined so that there are at most `REHEARSAL`.
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
    """A slice, which needs no copies, when all rows are meant in their order."""
    if len(rows) == size and size and rows[0] == 0 and bool((np.diff(rows) == 1).all()):
        return slice(None)
    return rows


def _statistic(state: CusumState, at: slice | I64, n: F64, s: F64, total: F64) -> F64:
    """Log likelihood ratio of each CUSUM of the rows `at`, (COLUMNS, R)."""
    w = of_values(n, s, total, state.gain[:, at], state.cost[:, at])
    pair = state.pair[:, at]
    two = np.flatnonzero(pair[1])
    if len(two):
        ratio = of_two_values(n[:, two], s[:, two], total[:, two], state.theta[:, at][:, two], pair[:, two])
        w[:, two] = ratio / state.f[at][two]
    return w


def thresholds_now(state: CusumState, rows: I64, n: F64) -> F64:
    """(COLUMNS, R): thresholds for panes of n values (Siegmund 1985: half for either end of a CUSUM's way)."""
    step = PANE_STEP / 2 * np.abs(state.theta[:, rows]) * np.sqrt(n / state.f[rows])
    step += np.minimum(step, n * state.reach[:, rows] / state.f[rows])
    return np.asarray(np.maximum(state.bar[:, rows] - np.minimum(step, PANE_MOST), LEAST_THRESHOLD))


def refresh(state: CusumState, rows: I64) -> None:
    """Take spread, dependence and thresholds of these rows from all values so far."""
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
