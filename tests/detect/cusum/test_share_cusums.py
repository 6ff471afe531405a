"""CUSUMs of shares: the time between false alarms that they promise, what they find, and when a change is over."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stream_monitor.detect.cusum.shares import COLUMNS, CountedShare, ShareCusum, may_grow, upper_limit

N, TOLERANCE = 500, 0.02


def alarms(hits: list[int], base: tuple[int, int], threshold: float, factor: float = 1.0) -> list[int]:
    """Numbers of the windows with an alarm; a row starts anew after each."""
    cusum, found = ShareCusum(), list[int]()
    for at, count in enumerate(hits):
        counted = CountedShare(*base, count, N, factor)
        if cusum.idle and not may_grow(counted, TOLERANCE):
            continue
        if cusum.add(counted, TOLERANCE, threshold, at) is not None:
            cusum, found = ShareCusum(), [*found, at]
    return found


@pytest.mark.parametrize("known", [500, 10_000])
@pytest.mark.parametrize("rate", [0.0, 1e-4, 0.01, 0.3, 0.97])
def test_a_share_that_stays_keeps_the_promise(rate: float, known: int) -> None:
    """Budget: 20 streams of 5,000 windows at a threshold of one false alarm in 1,000 windows: 100, less 30 %."""
    rng, found = np.random.default_rng(int(1e4 * rate) + known), 0
    for _ in range(20):
        base = int(rng.binomial(known, rate)), known
        found += len(alarms(rng.binomial(N, rate, 5_000).tolist(), base, math.log(1_000 * COLUMNS)))
    assert found <= 70


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.3])
def test_half_of_the_tolerance_keeps_the_promise_too(rate: float) -> None:
    rng, known = np.random.default_rng(5), 1_000_000
    base = int(rate * known), known
    hits = rng.binomial(N, rate + TOLERANCE / 2, 20_000).tolist()
    assert len(alarms(hits, base, math.log(1_000 * COLUMNS))) <= 20


def test_bursts_keep_the_promise_with_their_overdispersion() -> None:
    """Hits come in runs of ten, so windows scatter ten times as much: divided by 10 they keep it, alone they do not."""
    rng, base = np.random.default_rng(6), (300, 10_000)
    hits = (10 * rng.binomial(N // 10, 0.03, 10_000)).tolist()
    threshold = math.log(1_000 * COLUMNS)
    assert len(alarms(hits, base, threshold, 10.0)) <= 10 < len(alarms(hits, base, threshold))


@pytest.mark.parametrize(("before", "after"), [(0.0, 0.05), (1e-4, 0.05), (0.01, 0.08), (0.3, 0.45), (0.0, 1.0)])
def test_a_share_that_rises_is_found_within_three_windows(before: float, after: float) -> None:
    """A threshold of one false alarm in 10,000 weeks of minutes."""
    rng, threshold, late = np.random.default_rng(7), math.log(1e8 * COLUMNS), 0
    for _ in range(50):
        hits = [*rng.binomial(N, before, 30), *rng.binomial(N, after, 3)]
        found = alarms([int(x) for x in hits], (int(10_000 * before), 10_000), threshold)
        assert all(at >= 30 for at in found)
        late += not found
    assert late <= 2


def test_a_change_below_the_tolerance_is_not_told_for_long() -> None:
    rng = np.random.default_rng(8)
    assert alarms(rng.binomial(N, 0.012, 10_000).tolist(), (0, 10_000), math.log(1e8 * COLUMNS)) == []


def test_a_statistic_stays_at_its_threshold_while_a_change_lasts_and_falls_when_it_ends() -> None:
    cusum, threshold = ShareCusum(), 20.0
    for at in range(40):
        alarm = cusum.add(CountedShare(0, 10_000, 25, N, 1.0), TOLERANCE, threshold, at)
    assert alarm is not None
    assert (alarm.share, alarm.n, alarm.began) == (0.05, 40 * N, 0)
    for at in range(3):
        assert cusum.add(CountedShare(0, 10_000, 0, N, 1.0), TOLERANCE, threshold, 40 + at) is None
    assert cusum.idle
    assert not cusum.alarmed


def test_a_baseline_in_which_every_share_is_usual_ends_what_was_found() -> None:
    cusum = ShareCusum()
    assert cusum.add(CountedShare(0, 10_000, N, N, 1.0), TOLERANCE, 20.0, 0) is not None
    assert cusum.add(CountedShare(10_000, 10_000, N, N, 1.0), TOLERANCE, 20.0, 1) is None
    assert cusum.idle and not cusum.alarmed


def test_what_cannot_grow_is_left_alone() -> None:
    rng = np.random.default_rng(9)
    for _ in range(300):
        rate, known = rng.choice([0.0, 0.01, 0.3]), int(rng.choice([100, 10_000]))
        counted = CountedShare(int(rng.binomial(known, rate)), known, int(rng.binomial(60, rate)), 60, 1.0)
        cusum = ShareCusum()
        cusum.add(counted, TOLERANCE, 20.0, 0)
        assert cusum.idle or may_grow(counted, TOLERANCE)


def test_the_upper_limit_covers_the_share() -> None:
    rng = np.random.default_rng(10)
    for rate in (1e-4, 0.01, 0.3):
        drawn = rng.binomial(2_000, rate, 4_000)
        assert np.mean([upper_limit(float(hits), 2_000.0) < rate for hits in drawn]) <= 0.003
