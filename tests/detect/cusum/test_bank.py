"""Rows of the grid: nobody's results depend on the others, budgets hold, and a change has an end."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from stream_monitor.detect.cusum.bank import LEAST_ARL0, BankState, BankTraining, CusumBank, CusumSignal, PaneBatch
from stream_monitor.profiles.bins import bin_values, make_edges
from stream_monitor.types import F64, I64
from stream_monitor.wire.msgpack_arrays import pack, unpack

SECOND = 1_000
N0 = 1_000


class Streams:
    """Panes of a second of standard normals, or with `rate` of errors; the first N0 values are a row's baseline."""

    def __init__(self, seed: int, rows: int, rate: float | None = None, pane: int = 4) -> None:
        self.rng, self.rate, self.pane, self.at = np.random.default_rng(seed), rate, pane, 0
        first = [self._values(N0) for _ in range(rows)]
        self.borders = [make_edges(values).edges for values in first]
        self.learning = [self._learning(values, borders) for values, borders in zip(first, self.borders, strict=True)]

    def _values(self, count: int, shift: float = 0.0) -> F64:
        if self.rate is None:
            return self.rng.normal(shift, size=count)
        return (self.rng.random(count) < self.rate + shift).astype(float)

    def _learning(self, values: F64, borders: F64) -> BankTraining:
        bins = bin_values(borders, values)
        counts = np.bincount(bins, minlength=130)
        counts.resize(BankState.empty(1).scores.shape[1])
        return BankTraining(counts, np.arange(len(bins)) // self.pane, bins, np.ones(len(bins), np.int64), 0, 1e4)

    def next(self, shifts: F64) -> list[I64]:
        """The bins of the next pane of each stream."""
        self.at += 1
        return [
            bin_values(borders, self._values(self.pane, shift))
            for borders, shift in zip(self.borders, shifts.tolist(), strict=True)
        ]


def step_of(rows: I64, bins: list[I64], at: int) -> PaneBatch:
    sizes, all_bins = np.array([len(some) for some in bins]), np.concatenate(bins)
    start = at * SECOND
    return PaneBatch(start, start + SECOND, rows, sizes, all_bins, np.ones(len(all_bins), np.int64))


def taught(bank: CusumBank, streams: Streams, budget: float) -> I64:
    rows = bank.new(len(streams.borders))
    for row, learning in zip(rows.tolist(), streams.learning, strict=True):
        bank.learn(row, learning)
    bank.set_alarm_budget(rows, budget)
    return rows


SHIFTS = np.array([0, 0.8, -1.5, 0, 3, 0.5])


def test_neither_numbers_nor_shared_calls_nor_snapshots_show() -> None:
    streams = Streams(1, 6)
    alone, together = CusumBank(), CusumBank()
    mine = taught(alone, streams, 2e6)
    together.release(together.new(3))
    strangers = taught(together, Streams(2, 5), 1e5)
    theirs = taught(together, streams, 2e6)
    rng, found = np.random.default_rng(3), 0
    for at in range(600):
        bins = streams.next(SHIFTS if 200 <= at < 400 else 0 * SHIFTS)
        expected: list[CusumSignal] = []
        for place, row in enumerate(mine.tolist()):
            step = step_of(np.array([row]), [bins[place]], at)
            alone.step([step])
            expected += [turn._replace(place=place) for turn in step.turns]
        noise = step_of(strangers, [rng.integers(0, 90, 4) for _ in strangers], at)
        shared = step_of(theirs, bins, at)
        together.step([noise, shared] if at % 2 else [shared, noise])
        assert shared.turns == expected
        found += len(expected)
        if at in (100, 250, 399):
            written = pack(together.take(theirs))
            together.release(theirs)
            theirs = together.new(len(theirs))
            together.put(theirs, unpack(written, BankState, own=True))
    assert found > 20
    assert pack(alone.take(mine)) == pack(together.take(theirs))


def test_a_change_rings_while_it_lasts_and_is_over_once() -> None:
    streams, bank = Streams(4, 1, 0.2, pane=20), CusumBank()
    rows = taught(bank, streams, 1e8)
    told: list[tuple[int, CusumSignal]] = []
    for at in range(900):
        step = step_of(rows, streams.next(np.array([0.2 if 300 <= at < 500 else 0.0])), at)
        bank.step([step])
        told += [(at, turn) for turn in step.turns]
    rang = [(at, turn) for at, turn in told if not turn.over]
    over = [at for at, turn in told if turn.over]
    assert len(rang) > 5
    assert all(300 <= at < 505 and turn.up for at, turn in rang)
    assert abs(rang[0][1].began / SECOND - 300) <= 3
    assert rang[0][1].effect == pytest.approx(0.5, abs=0.3)
    assert len(over) == 1
    assert 500 <= over[0] < 650


@pytest.mark.parametrize(("rate", "shift"), [(None, 0.3), (None, 1.0), (0.2, 0.1)])
def test_a_change_that_lasts_is_not_called_over(rate: float | None, shift: float) -> None:
    """30 streams of 10,000 changed values: a first alarm that came early by luck does not shorten the wait.

    With baselines of 1,000 values one of 30 may be wrong.
    """
    streams, bank = Streams(7, 30, rate, pane=20), CusumBank()
    rows = taught(bank, streams, 1e8)
    signals = list[CusumSignal]()
    for at in range(500):
        step = step_of(rows, streams.next(np.full(30, shift)), at)
        bank.step([step])
        signals += step.turns
    assert {turn.place for turn in signals if not turn.over} == set(range(30))
    assert len([turn for turn in signals if turn.over]) <= 1


@pytest.mark.parametrize("rate", [None, 0.2])
@pytest.mark.parametrize("pane", [1, 10])
def test_false_alarms_stay_within_the_budget_whatever_the_traffic(rate: float | None, pane: int) -> None:
    """Budget: 40 rows, an alarm of each in 2,000 s; as many as a Poisson law of that mean exceeds once in 1,000 runs.

    Traffic becomes a third half-way, so that the same time means fewer values.
    """
    streams, bank, seconds = Streams(5, 40, rate, pane), CusumBank(), 3_000
    rows = taught(bank, streams, 2_000.0 * SECOND)
    alarms = 0
    for at in range(seconds):
        some = rows if at < seconds / 2 or at % 3 == 0 else rows[:0]
        bins = streams.next(np.zeros(len(rows)))
        if len(some):
            step = step_of(some, bins, at)
            bank.step([step])
            alarms += sum(not turn.over for turn in step.turns)
    assert alarms <= stats.poisson.isf(0.001, len(rows) * seconds / 2_000)


def test_a_budget_is_values_per_time_but_never_less_than_a_thousand() -> None:
    streams, bank = Streams(6, 2), CusumBank()
    rows = taught(bank, streams, 3_600_000.0)
    bank.step([step_of(rows, streams.next(np.zeros(2)), 0)])
    assert bank.take(rows).cusum.arl0.tolist() == [4 * 3_600.0] * 2
    for at in range(10, 200, 10):
        bank.step([step_of(rows, streams.next(np.zeros(2)), at)])
    arl0 = bank.take(rows).cusum.arl0
    assert (arl0 < 4 * 3_600 / 8).all()
    assert (arl0 >= LEAST_ARL0).all()
