"""Bets equal the formulas, and hold their level on streams whose rates, splits and sizes change."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.detect.bet_dependence import Dependence
from stream_monitor.detect.bets import (
    EFFECTS,
    Lines,
    OneSampleBets,
    TwoArmBets,
    Usual,
    log_mixture,
    one_sample_gains,
    two_arm_gains,
)
from stream_monitor.types import F64
from stream_monitor.wire.msgpack_arrays import pack, unpack
from tests.effort import examples
from tests.rollouts import oracle

RATES = np.array([0.0, 1.0])
ALPHA = 0.05
BOTH = np.array([1.0, -1.0])

lines = st.tuples(
    st.sampled_from([0.7, 0.9, 1.0, 1.1, 1.4]), st.sampled_from([0.0, 0.005, -0.02]), st.sampled_from([1, -1])
)
arm = st.lists(st.integers(0, 2_000), min_size=2, max_size=6)


def columns(*rows: tuple[float, float, int]) -> Lines:
    r, d, s = np.array(rows, np.float64).T
    return Lines(r, d, s)


@examples(150)
@given(st.integers(2, 6), st.data(), st.lists(lines, min_size=1, max_size=4))
def test_two_arms_equal_the_formula(count: int, data: st.DataObject, of: list[tuple[float, float, int]]) -> None:
    counts = [data.draw(st.lists(st.integers(0, 2_000), min_size=count, max_size=count)) for _ in range(2)]
    values = np.cumsum(data.draw(st.lists(st.floats(0.1, 9.0), min_size=count, max_size=count))) - 0.1
    mean = float(data.draw(st.floats(values[0], values[-1])))
    variance = data.draw(st.floats(1e-4, 20.0))
    a, b = (np.array([one], np.float64) for one in counts)
    found = two_arm_gains(a, b, values, (np.array([mean]), np.array([variance])), columns(*of))[0]
    for line, gains in zip(of, found, strict=True):
        expected = oracle.two_arms(counts[0], counts[1], values.tolist(), (mean, variance), line)
        np.testing.assert_allclose(gains, expected, rtol=1e-12, atol=1e-9)


@examples(100)
@given(arm, st.floats(0.001, 0.9), st.floats(1e-4, 1.0), st.sampled_from([1, -1]), st.floats(1.0, 20.0))
def test_one_sample_equals_the_formula(counts: list[int], line: float, variance: float, s: int, f: float) -> None:
    values = np.linspace(0, 1, len(counts)) - line
    found = one_sample_gains(np.array([counts], np.float64), values[None], np.array([[variance]]), np.array([float(s)]))
    expected = oracle.one_sample(counts, values.tolist(), variance, s)
    np.testing.assert_allclose(found[0, 0], expected, rtol=1e-12, atol=1e-9)
    assert log_mixture(found, f)[0, 0] == pytest.approx(oracle.log_mixture(expected, f), rel=1e-12, abs=1e-9)


strata = st.lists(
    st.tuples(st.integers(0, 300), st.integers(0, 60), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40
)


@examples(100)
@given(strata, st.sampled_from([0.05, 0.5]))
def test_the_dependence_factor_equals_the_formula(of: list[tuple[int, int, float, float]], weight: float) -> None:
    found, expected = Dependence.none(), oracle.Factor()
    for n_a, n_b, p_a, p_b in of:
        hits = round(n_a * p_a), round(n_b * p_b)
        expected.take(hits, (n_a, n_b), weight)
        found.take((np.array([hits[0]]), np.array([hits[1]])), (np.array([n_a]), np.array([n_b])), weight)
        assert found.factor()[0] == pytest.approx(expected.factor(), rel=1e-9)


def test_an_arm_without_values_and_a_constant_primary_leave_a_bet_at_one() -> None:
    some, none, usual = np.array([[5.0, 5.0]]), np.zeros((1, 2)), (np.array([0.5]), np.array([0.25]))
    line = columns((1.0, 0.0, 1))
    for a, b in ((some, none), (none, some), (none, none)):
        assert not two_arm_gains(a, b, RATES, usual, line).any()
    assert not two_arm_gains(some, some, RATES, (np.array([0.5]), np.zeros(1)), line).any()


def test_without_a_baseline_the_first_stratum_is_only_learned_from() -> None:
    bets, line = TwoArmBets.start(Usual.unknown(), 1), columns((1.0, 0.0, 1))
    a, b = np.array([[90.0, 10.0]]), np.array([[50.0, 50.0]])
    bets.take(a, b, RATES, line)
    assert bets.log_worth()[0, 0] == pytest.approx(0.0, abs=1e-12)
    bets.take(a, b, RATES, line)
    assert bets.log_worth()[0, 0] > 10


def test_a_worth_beyond_every_double_is_a_number() -> None:
    bets, line = TwoArmBets.start(Usual.baseline(np.full(1, 0.01), np.full(1, 0.01)), 1), columns((1.0, 0.0, 1))
    for _ in range(200):
        bets.take(np.array([[990.0, 10.0]]), np.array([[10.0, 990.0]]), RATES, line)
    assert 1e5 < bets.log_worth()[0, 0] < np.inf


def test_old_values_are_forgotten_in_proportion() -> None:
    usual = Usual.baseline(np.full(1, 0.1), np.full(1, 0.1))
    for _ in range(100):
        usual.learn(np.array([[800.0, 200.0]]), RATES)
    assert usual.n[0] == pytest.approx(20_000)
    assert usual.moments(RATES)[0][0] == pytest.approx(0.2, abs=0.001)


# --- levels ---


def season(rng: np.random.Generator) -> Iterator[tuple[float, float, float]]:
    """(rate, weight, requests) of strata: a season of ± 50 %, a ramp 5-25-50-95 %, strata from 2 to 400 requests."""
    for t in range(240):
        yield (
            1 + 0.5 * np.sin(2 * np.pi * t / 96),
            (0.05, 0.25, 0.5, 0.95)[t // 60],
            float(rng.choice([2, 10, 40, 400])),
        )


def ever(p: float, line: tuple[float, float], rows: int, seed: int) -> F64:
    """(L,) share of rows in which the bets on harm and pass ever reached 1/α, with the candidate on the line."""
    rng, (r, d) = np.random.default_rng(seed), line
    bets = TwoArmBets.start(Usual.baseline(np.full(rows, p), np.full(rows, p)), 2)
    of, reached = Lines(np.full(2, r), np.full(2, d), BOTH), np.zeros((rows, 2), bool)
    for times, weight, requests in season(rng):
        p_a = p * times
        n_b = rng.binomial(int(requests), weight, rows)
        n_a = int(requests) - n_b
        hits_a, hits_b = rng.binomial(n_a, p_a), rng.binomial(n_b, r * p_a + d)
        bets.take(np.stack([n_a - hits_a, hits_a], -1), np.stack([n_b - hits_b, hits_b], -1), RATES, of)
        reached |= bets.log_worth() >= np.log(1 / ALPHA)
    return np.asarray(reached.mean(axis=0))


@pytest.mark.parametrize("line", [(1.0, 0.0), (1.1, 0.0), (1.0, 0.005), (0.9, 0.0)])
@pytest.mark.parametrize("p", [0.01, 0.2])
def test_a_candidate_on_the_line_is_condemned_and_passed_in_at_most_one_of_twenty_runs(
    p: float, line: tuple[float, float]
) -> None:
    """Rates drift, splits change, strata are tiny. Of 1,500 rows at 5 %, more than .0665 has a probability of .002."""
    assert (ever(p, line, 1_500, 5) <= 0.0665).all()


def test_lumps_that_are_drawn_together_do_not_break_the_level_once_they_are_measured() -> None:
    """A router draws ten requests at a time; all ten err or none. Without f, 72 % of the rows would condemn."""
    rng, rows = np.random.default_rng(3), 400
    bets = TwoArmBets.start(Usual.baseline(np.full(rows, 0.05), np.full(rows, 0.05)), 2)
    of, naive, reached = Lines(np.ones(2), np.zeros(2), BOTH), np.zeros((rows, 2), bool), np.zeros((rows, 2), bool)
    for _ in range(300):
        n_b = rng.binomial(40, 0.5, rows)
        n_a = 40 - n_b
        a, b = rng.binomial(n_a, 0.05), rng.binomial(n_b, 0.05)
        bets.take(10.0 * np.stack([n_a - a, a], -1), 10.0 * np.stack([n_b - b, b], -1), RATES, of, 0.5)
        naive |= bets.log_worth() >= np.log(1 / ALPHA)
        reached |= bets.log_worth(bets.dependence.factor()) >= np.log(1 / ALPHA)
    assert naive.mean() > 0.4
    assert (reached.mean(axis=0) <= 0.03).all()


# --- state ---


def some_strata(seed: int, count: int) -> list[tuple[F64, F64]]:
    rng = np.random.default_rng(seed)
    n = rng.integers(0, 60, (count, 2))
    hits = rng.binomial(n, [0.05, 0.08])
    counts = np.stack([n - hits, hits], axis=-1).astype(np.float64)
    return [(arms[:1], arms[1:]) for arms in counts]


@examples(20)
@given(st.integers(0, 10_000), st.integers(0, 30))
def test_a_restart_from_a_snapshot_at_any_stratum_is_no_restart(seed: int, at: int) -> None:
    line = columns((1.1, 0.0, 1), (1.1, 0.0, -1), (1.2, 0.0, -1), (1.4, 0.0, -1))
    through, stopped = (TwoArmBets.start(Usual.unknown(), 4) for _ in range(2))
    single, single_stopped = (OneSampleBets.start(1, 1) for _ in range(2))
    for i, (a, b) in enumerate(some_strata(seed, 30)):
        if i == at:
            stopped, single_stopped = unpack(pack(stopped), TwoArmBets), unpack(pack(single_stopped), OneSampleBets)
        for bets, one in ((through, single), (stopped, single_stopped)):
            bets.take(a, b, RATES, line, 0.5)
            one.take(b, np.array([[-0.1, 0.9]]), np.array([1.0]))
    assert pack(stopped) == pack(through) and pack(single_stopped) == pack(single)


def test_strata_in_another_order_give_the_same_bets_where_what_is_usual_is_known() -> None:
    """The bets of a stratum depend on others only by the mean and variance that came before."""
    usual, line = (np.array([0.05]), np.array([0.0475])), columns((1.1, 0.0, 1))
    gains = [two_arm_gains(a, b, RATES, usual, line) for a, b in some_strata(1, 40)]
    forward, backward = sum(gains), sum(reversed(gains))
    np.testing.assert_allclose(np.asarray(forward), np.asarray(backward), atol=1e-9)


def test_strata_in_another_order_leave_the_level_and_hardly_the_evidence() -> None:
    found = []
    for order in (1, -1):
        bets = TwoArmBets.start(Usual.baseline(np.full(1, 0.05), np.full(1, 0.05)), 1)
        for a, b in some_strata(2, 400)[::order]:
            bets.take(a, b, RATES, columns((1.0, 0.0, 1)))
        found.append(float(bets.log_worth()[0, 0]))
    assert found[0] == pytest.approx(found[1], rel=0.1)


def test_rows_know_nothing_of_each_other() -> None:
    rng = np.random.default_rng(4)
    together = TwoArmBets.start(Usual.unknown(3), 1)
    alone = [TwoArmBets.start(Usual.unknown(), 1) for _ in range(3)]
    for _ in range(30):
        a, b = rng.integers(0, 30, (2, 3, 2)).astype(np.float64)
        together.take(a, b, RATES, columns((1.0, 0.0, 1)), 0.5)
        for row, bets in enumerate(alone):
            bets.take(a[row : row + 1], b[row : row + 1], RATES, columns((1.0, 0.0, 1)), 0.5)
    expected = [float(bets.log_worth(bets.dependence.factor())[0, 0]) for bets in alone]
    np.testing.assert_allclose(together.log_worth(together.dependence.factor())[:, 0], expected, atol=1e-9)
    assert together.log_bets.shape == (3, 1, len(EFFECTS))


def test_lines_with_counts_of_their_own_equal_bets_of_their_own() -> None:
    lines = columns((1.0, 0.0, 1), (1.0, 0.0, -1))
    together, alone = (TwoArmBets.start(Usual.baseline(np.full(1, 0.1), np.full(1, 0.1)), 2) for _ in range(2))
    rng = np.random.default_rng(6)
    for a, b in some_strata(3, 20):
        other = b + rng.integers(0, 3, (1, 2))
        together.take_each(a, [b, other], RATES, lines, 0.5)
        before = alone.log_bets
        second = two_arm_gains(a, other, RATES, alone.usual.moments(RATES), lines)[:, 1:]
        alone.take(a, b, RATES, lines, 0.5)
        alone.log_bets = np.concatenate([alone.log_bets[:, :1], before[:, 1:] + second], axis=1)
    assert pack(together) == pack(alone)
