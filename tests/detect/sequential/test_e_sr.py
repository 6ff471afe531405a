"""The e-detector for rates: its guarantee, its delays, and what it leaves alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from stream_monitor.baselines.baseline import Baseline
from stream_monitor.detect.sequential.e_sr import CONFIDENCE, ESr, limit_of
from stream_monitor.detect.sequential.registry import advance, finding_of
from stream_monitor.types import F64
from stream_monitor.wire.msgpack_arrays import pack, unpack

N0 = 10_000


def taught(rate: float, arl0: float = 1e4) -> ESr:
    detector = ESr(arl0)
    detector.learn(N0, rate, (0.0, 1.0))
    return detector


def rings(detector: ESr, values: F64, pane: int) -> list[int]:
    """Values taken in before each alarm."""
    panes = values[: len(values) // pane * pane].reshape(-1, pane)
    means = panes.mean(axis=1).tolist()
    return [(at + 1) * pane for at, mean in enumerate(means) if detector.update(pane, mean, 0.0, at) is not None]


@pytest.mark.parametrize("pane", [1, 30])
@pytest.mark.parametrize("rate", [0.02, 0.3])
def test_false_alarms_are_fewer_than_promised(rate: float, pane: int) -> None:
    """Budget: 150,000 values at a promised mean of 1e4 are 15 alarms; the limit is passed once in 1,000 runs."""
    values = (np.random.default_rng([1, pane]).random(150_000) < rate).astype(float)
    assert len(rings(taught(rate), values, pane)) <= stats.poisson.isf(0.001, 15)


def test_values_between_are_allowed_and_the_baselines_error_is_paid_for() -> None:
    """Means of a few answers; and baselines that are themselves samples. Budget as above, for 20 runs of 20,000."""
    rng, alarms = np.random.default_rng(2), 0
    for _ in range(20):
        first, values = (rng.binomial(4, 0.3, size) / 4 for size in (N0, 20_000))
        detector = ESr(1e4)
        detector.learn(N0, float(first.mean()), (0.0, 1.0))
        alarms += len(rings(detector, values, 5))
    assert alarms <= stats.poisson.isf(0.001, 40)


@pytest.mark.parametrize(("before", "after", "within"), [(0.2, 0.4, 140), (0.2, 0.1, 420), (0.05, 0.2, 110)])
def test_changes_are_found_soon_with_their_direction_and_time(before: float, after: float, within: int) -> None:
    delays, rng = [], np.random.default_rng(3)
    for _ in range(100):
        detector, at = taught(before, 1e5), 0
        change = None
        while change is None:
            change = detector.update(1, float(rng.random() < after), 0.0, at)
            at += 1
        delays.append(at)
        assert math.copysign(1, change.score) == math.copysign(1, after - before)
        assert change.since is not None
        assert 0 <= change.since < at
    assert np.mean(delays) <= within


def test_limits_hold_as_often_as_they_say() -> None:
    """2,000 baselines of 500 values; each limit is passed by the truth less often than by its level."""
    means = np.random.default_rng(4).binomial(500, 0.1, 2_000) / 500
    for side, sign in (("upper", 1), ("lower", -1)):
        missed = np.mean([sign * (0.1 - limit_of(500, mean, side)) > 0 for mean in means.tolist()])  # type: ignore
        assert missed <= 1 - CONFIDENCE


def test_a_baseline_without_hits_or_of_nothing_else_can_only_rise_or_fall() -> None:
    assert {bet.after > bet.before for bet in taught(0.0).bets} == {True}
    assert {bet.after > bet.before for bet in taught(1.0).bets} == {False}
    assert rings(taught(0.0), np.ones(100), 1)


def test_what_is_no_rate_is_left_alone_and_findings_are_in_its_own_unit() -> None:
    normal = Baseline("x", 0, 1_000, {}, n=1_000, mean=0.0, m2=1_000, low=-3, high=3)
    quiet, errors = ESr(100), Baseline("x", 0, N0, {}, n=N0, mean=0.2, m2=N0 * 0.16, low=0, high=1)
    assert all(advance(quiet, normal, (9, 9.0, 1.0), at) is None for at in range(1_000))
    detector = ESr(1e4)
    change = next(c for at in range(100) if (c := advance(detector, errors, (10, 0.5, 2.5), at)) is not None)
    evidence = finding_of("e_sr", change, errors).evidence
    assert evidence["before"]["mean"] == pytest.approx(0.2, abs=0.02)
    assert evidence["after"]["mean"] > 0.3


def test_it_goes_on_after_packing_as_if_nothing_had_been() -> None:
    values = (np.random.default_rng(5).random(4_000) < 0.25).astype(float)
    whole, first = taught(0.2), taught(0.2)
    expected = rings(whole, values, 4)
    found = rings(first, values[:2_000], 4)
    found += [2_000 + at for at in rings(unpack(pack(first), ESr), values[2_000:], 4)]
    assert found == expected
    assert expected
