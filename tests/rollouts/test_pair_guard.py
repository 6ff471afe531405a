"""The guard of pairs and the check of the mirror: their lines, what is missing, and what a snapshot holds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from stream_monitor.detect.bet_dependence import ENOUGH, UNKNOWN
from stream_monitor.detect.bets import EFFECTS, KEPT, PRIOR
from stream_monitor.kernels.id_hash import hash_ids
from stream_monitor.profiles.pairs import MOST, distance_bins, distances_of, draws_of
from stream_monitor.rollouts.mirror import FURTHER, PairedCheck
from stream_monitor.rollouts.pair_guard import CAP, LEARN, PairGuard, line_of
from stream_monitor.rollouts.plan import Guard
from stream_monitor.types import F64
from stream_monitor.wire.msgpack_arrays import pack, unpack

EQUAL = (0.93, 0.02, 0.02, 0.03)
BAR = math.log(20)


def guard(measure: str, margin: str) -> Guard:
    return Guard.model_validate({"measure": measure, "margin": margin})


def run(of: Guard, cells: Any, strata: int, seed: int = 1, requests: int = 20, n: int = 20) -> PairGuard:
    rng, bets = np.random.default_rng(seed), PairGuard.start(of)
    for grain in range(strata):
        drawn = rng.multinomial(n, cells)
        first = 0 if of.measure != "absolute_error" else -MOST
        bets.take(of, grain, {at + first: int(k) for at, k in enumerate(drawn) if k}, float(requests))
        bets.settle(of, grain, float(requests))
    return bets


def by_hand(counts: list[F64], times: float, plus: float) -> float:
    """Log of the bet on harm, a pair at a time: a mixture of stakes on x, by the variance of earlier x."""
    x = np.array([0.0, 1, -times, 1 - times]) - plus
    seen, logs = np.array([40.0, 1, 1, 1]), np.zeros(len(EFFECTS))
    for drawn in counts:
        share = seen / seen.sum()
        sigma = math.sqrt(share @ x**2 - (share @ x) ** 2)
        stakes = np.minimum(EFFECTS / sigma, KEPT / max(-x))
        for value, k in zip(x, drawn, strict=True):
            logs += k * np.log1p(stakes * value)
        seen = seen + drawn
    return float(np.log(np.exp(logs) @ PRIOR))


def test_the_bet_on_harm_is_that_of_the_formula() -> None:
    rng, of = np.random.default_rng(3), guard("error", "10% + 0.5pp")
    counts = [rng.multinomial(20, (0.9, 0.05, 0.02, 0.03)).astype(float) for _ in range(ENOUGH)]
    bets = PairGuard.start(of)
    for drawn in counts:
        bets.take_early(of, drawn[None])
    assert float(bets.harm.log_worth()[0, 0]) == pytest.approx(by_hand(counts, 1.1, 0.005), abs=1e-12)


def test_until_there_are_enough_strata_only_a_disaster_acts() -> None:
    of = guard("error", "0")
    few, enough = (run(of, (0.7, 0.25, 0.02, 0.03), strata).said(1.0) for strata in (ENOUGH - 1, 2 * ENOUGH))
    assert few.effect.tolist() == [UNKNOWN] and float(few.harm[0][0]) < BAR
    assert enough.effect[0] < UNKNOWN and float(enough.harm[0][0]) > BAR
    assert run(of, (0.7, 0.25, 0.02, 0.03), ENOUGH).said(50.0).effect.tolist() == [50.0]


@pytest.mark.parametrize(("measure", "margin", "cells"), [("error", "50%", EQUAL), ("agrees", "10%", (0.96, 0.04))])
def test_what_the_candidate_leaves_out_stands_in_the_way_of_a_pass(measure: str, margin: str, cells: Any) -> None:
    of = guard(measure, margin)
    whole, some = run(of, cells, 300), run(of, cells, 300, requests=23)
    assert float(whole.said(1.0).passes[1][0]) > BAR > float(some.said(1.0).passes[1][0])
    assert pack(whole.harm) == pack(some.harm), "harm is about the answers that there are"


def test_lines_of_pairs() -> None:
    assert line_of(guard("error", "10% + 0.5pp"), 2) == (1.2, 0.01)
    assert line_of(guard("agrees", "3%"), 4) == (0.0, 0.12) and line_of(guard("absolute_error", "0.5"), 2) == (0.0, 1.0)


def shares(differences: F64) -> F64:
    draws = np.random.default_rng(1).random(len(differences))
    return np.bincount(distance_bins(differences, draws) + MOST, minlength=2 * MOST + 1) / len(differences)


def test_distances_are_capped_by_what_the_first_pairs_were_and_a_line_beyond_the_cap_passes_nobody() -> None:
    rng = np.random.default_rng(4)
    cells = shares(rng.normal(0, 1, 10_000))
    bets = run(guard("absolute_error", "1"), cells, 200)
    assert bets.learned is not None and bets.learned.sum() >= LEARN and CAP <= bets.cap <= 16
    assert float(bets.said(1.0).passes[1][0]) > BAR
    beyond = run(guard("absolute_error", "100"), cells, 200)
    assert float(beyond.said(1.0).passes[1][0]) == pytest.approx(0)
    worse = run(guard("absolute_error", "1"), shares(rng.normal(3, 1, 10_000)), 60)
    assert float(worse.said(1.0).harm[0][0]) > BAR


@pytest.mark.parametrize("value", [0.75, -0.7, 1.4, 3.0, -1e-3, 1e-10, 2.0**-31, -(2.0**29), 1.0])
def test_the_mean_of_bins_is_that_of_the_differences(value: float) -> None:
    """Each difference goes to one of two neighbours: for any of its draws, in the mean over all of them exactly."""
    draws = (np.arange(100_000) + 0.5) / 100_000
    values = distances_of(distance_bins(np.full(len(draws), value), draws))
    assert values.mean() == pytest.approx(value, rel=1e-4, abs=1e-14) and len(np.unique(values)) <= 2


def test_draws_are_uniform() -> None:
    draws = draws_of(hash_ids([f"request-{number}" for number in range(20_000)])[:, 0])
    assert ((draws >= 0) & (draws < 1)).all() and stats.kstest(draws, "uniform").pvalue > 0.01


def test_differences_that_no_power_meets_give_the_right_verdicts() -> None:
    """+.75 and -.70 in turn are .025 farther, within .1; 1.4 farther each time is beyond 1.1."""
    within, beyond = guard("absolute_error", "0.1"), guard("absolute_error", "1.1")
    assert float(run(within, shares(np.tile([0.75, -0.7], 10_000)), 400).said(1.0).harm[0][0]) < BAR
    assert float(run(beyond, shares(np.full(20_000, 1.4)), 400).said(1.0).passes[1][0]) < BAR


def test_pairs_that_told_the_cap_are_bet_on_by_nobody() -> None:
    of = guard("absolute_error", "1")
    bets = PairGuard.start(of)
    bets.take(of, 0, {31: 5_000}, 5_000.0)
    assert bets.cap and bets.settle(of, 0, 5_000.0) == 0
    assert not bets.harm.log_worth().any() and not bets.passes.log_worth().any()
    bets.take(of, 1, {31: 50}, 50.0)
    assert bets.settle(of, 1, 50.0) == 50 and not bets.open and not bets.labelled


def test_a_guard_of_pairs_goes_on_from_a_snapshot() -> None:
    for of, cells in ((guard("error", "10%"), EQUAL), (guard("absolute_error", "1"), shares(np.arange(-5.0, 6)))):
        through, rng = PairGuard.start(of), np.random.default_rng(6)
        stopped = PairGuard.start(of)
        first = 0 if of.measure == "error" else -MOST
        for grain in range(30):
            pairs = {at + first: int(n) for at, n in enumerate(rng.multinomial(20, cells)) if n}
            stopped = unpack(pack(stopped), PairGuard)
            for one in (through, stopped):
                one.take(of, grain, pairs, 20.0)
                if grain >= 3:
                    one.settle(of, grain - 3, 20.0)
        assert pack(through) == pack(stopped) and len(through.open) == 3


def test_the_check_of_the_mirror_fires_below_99_percent_and_ends_when_there_are_enough_pairs() -> None:
    good, bad = PairedCheck.start(), PairedCheck.start()
    for grain in range(100):
        good.count(grain, 199 if grain % 2 else 200)
        good.watch(grain, 200, 0.001)
        bad.count(grain, 100)
        assert bad.count(grain, 90) == 190
        bad.watch(grain, 200, 0.001)
    assert not good.fired and bad.fired and bad.share == pytest.approx(0.95)
    for grain in range(100, 100 + 2 * FURTHER // 200):
        bad.count(grain, 200)
        bad.watch(grain, 200, 0.001)
    assert not bad.fired and not bad.open


def test_a_mirror_as_good_as_it_must_be_is_rarely_suspected() -> None:
    rng, fired = np.random.default_rng(7), 0
    for _ in range(300):
        check = PairedCheck.start()
        for grain, n in enumerate(rng.binomial(200, 0.99, 200).tolist()):
            check.count(grain, n)
            check.watch(grain, 200, 0.05)
        fired += check.n > 0 and check.fired
    assert fired / 300 <= 0.08
