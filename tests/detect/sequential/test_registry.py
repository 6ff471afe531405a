"""The sequential detectors against River's, value by value, and on panes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from river import base, drift

from stream_monitor.baselines.baseline import Baseline
from stream_monitor.config.detection import DetectionSettings
from stream_monitor.detect.sequential.adwin import MAX_BUCKETS, Adwin, Change
from stream_monitor.detect.sequential.page_hinkley import PageHinkley
from stream_monitor.detect.sequential.registry import SEQUENTIAL_DETECTORS, Sequential, advance, finding_of
from stream_monitor.types import F64
from stream_monitor.wire.msgpack_arrays import pack, unpack

N = 40_000
PANE = 32


def steps(rng: np.random.Generator) -> F64:
    """Normals whose mean jumps up and down, by much and by little."""
    return np.asarray(rng.normal(size=N) + np.repeat([0, 1, 1.2, -3, 0, 0.1, 0.1, 5], N // 8))


def coin(rng: np.random.Generator) -> F64:
    """Errors of a classifier that becomes worse, and better."""
    return (rng.random(N) < np.repeat([0.1, 0.1, 0.3, 0.05], N // 4)).astype(float)


def ramp(rng: np.random.Generator) -> F64:
    """A slow rise."""
    return rng.normal(size=N) + np.linspace(0, 2, N)


def heavy(rng: np.random.Generator) -> F64:
    """Cauchy values: outliers of any size."""
    return rng.standard_cauchy(N)


def large(rng: np.random.Generator) -> F64:
    """A level far from zero, whose spread grows."""
    return 1e6 + rng.normal(size=N) * np.linspace(1, 10, N)


def wandering(rng: np.random.Generator) -> F64:
    """A slow autoregression: dependent values ring often, and must ring at the same places."""
    noise, found, level = rng.normal(size=N).tolist(), np.empty(N), 0.0
    for i, e in enumerate(noise):
        level = found[i] = 0.99 * level + 0.1 * e
    return found


STREAMS: dict[str, Callable[[np.random.Generator], F64]] = {
    make.__name__: make for make in (steps, coin, ramp, heavy, large, wandering)
}
"""240,000 values."""


def rings(detector: Sequential, values: F64, pane: int = 1) -> dict[int, Change]:
    """Number of values taken in before each change."""
    found: dict[int, Change] = {}
    for start in range(0, len(values) - pane + 1, pane):
        some = values[start : start + pane]
        row = (1, float(some[0]), 0.0) if pane == 1 else (pane, float(some.mean()), float(some.var() * pane))
        change = detector.update(*row, start)
        if change is not None:
            found[start + pane] = change
    return found


def river_rings(detector: base.DriftDetector, values: F64) -> list[int]:
    found = []
    for i, x in enumerate(values.tolist()):
        detector.update(x)
        if detector.drift_detected:
            found.append(i + 1)
    return found


def stream(name: str) -> F64:
    return STREAMS[name](np.random.default_rng([*name.encode()]))


@pytest.mark.parametrize("name", STREAMS)
def test_adwin_rings_where_rivers_does(name: str) -> None:
    values = stream(name)
    expected = river_rings(drift.ADWIN(delta=0.002), values)
    assert list(rings(Adwin(0.002), values)) == expected
    if name in ("steps", "coin", "ramp", "wandering"):
        assert len(expected) >= 2


@pytest.mark.parametrize("delta", [1e-6, 0.3])
def test_adwin_rings_where_rivers_does_at_other_deltas(delta: float) -> None:
    values = stream("steps")
    assert list(rings(Adwin(delta), values)) == river_rings(drift.ADWIN(delta=delta), values)


@pytest.mark.parametrize(("threshold", "delta"), [(50.0, 0.005), (5.0, 0.2)])
@pytest.mark.parametrize("name", STREAMS)
def test_page_hinkley_rings_where_rivers_does(name: str, threshold: float, delta: float) -> None:
    values = stream(name)
    expected = river_rings(drift.PageHinkley(threshold=threshold, delta=delta), values)
    assert list(rings(PageHinkley(threshold, delta), values)) == expected
    assert expected


MAKE: dict[str, Callable[[], Sequential]] = {
    "adwin": lambda: Adwin(0.002),
    "page_hinkley": lambda: PageHinkley(50, 0.1),
}


@pytest.mark.parametrize("size", [-2.0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("name", MAKE)
def test_panes_delay_a_change_by_no_more_than_two_panes(name: str, size: float) -> None:
    for seed in range(4):
        at = 80 * 32 + 7
        values = np.random.default_rng([seed, 1]).normal(size=2 * at)
        values[at:] += size
        alone, panes = (next(iter(rings(MAKE[name](), values, pane).items())) for pane in (1, PANE))
        assert alone[0] > at, "no false alarm before"
        assert abs(alone[0] - panes[0]) <= 2 * PANE
        assert math.copysign(1, alone[1].score) == math.copysign(1, panes[1].score) == math.copysign(1, size)


def test_adwin_says_when_the_change_was_and_what_changed() -> None:
    at = 6_400
    values = np.random.default_rng(4).normal(size=2 * at)
    values[at:] += 2
    (change, *_) = rings(Adwin(0.002), values, PANE).values()
    assert change.since is not None
    assert abs(change.since - at) <= 8 * PANE, "buckets near the end of the window are small"
    assert abs(change.before) < 0.1
    assert 0.5 < change.after < 2.1, "the newer part may still hold a bucket of the older"
    assert change.score == pytest.approx(change.after - change.before)
    assert abs(change.score) > change.threshold


@pytest.mark.parametrize("size", [2.0, -2.0])
@pytest.mark.parametrize("pane", [1, PANE])
def test_page_hinkley_says_when_the_change_was_and_what_changed(pane: int, size: float) -> None:
    """Not the time at which it began to look, which is hours before."""
    at, found = 640, []
    for seed in range(10):
        values = np.random.default_rng([9, seed]).normal(size=2 * at)
        values[at:] += size
        found.append(next(iter(rings(PageHinkley(50, 0.5), values, pane).values())))
    assert all(change.since is not None and abs(change.since - at) <= 2 * PANE for change in found)
    assert np.median([abs((change.since or 0) - at) for change in found]) <= PANE
    assert np.mean([change.before for change in found]) == pytest.approx(0, abs=0.05)
    assert np.mean([change.after for change in found]) == pytest.approx(size, abs=0.2)
    assert all(change.score * size > 0 and abs(change.score) > 50 for change in found)


def test_page_hinkley_starts_anew_after_it_rang() -> None:
    values = np.repeat([0.0, 1.0], 200)
    ((at, change),) = rings(PageHinkley(10, 0.01), values[:220]).items()
    assert change.since == 200 and (change.before, change.after) == pytest.approx((0.0, 1.0))
    detector = PageHinkley(10, 0.01)
    rings(detector, values[:at])
    assert detector == PageHinkley(10, 0.01)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e9 / 3, 1e-9 / 7])
@pytest.mark.parametrize("pane", [1, PANE])
@pytest.mark.parametrize("name", MAKE)
def test_nothing_is_invented_on_a_constant_stream(name: str, pane: int, value: float) -> None:
    assert rings(MAKE[name](), np.full(6_000, value), pane) == {}


def test_nothing_is_invented_on_a_constant_stream_of_uneven_panes() -> None:
    rng = np.random.default_rng(6)
    for name in MAKE:
        detector = MAKE[name]()
        assert not any(detector.update(int(n), 0.1, 0.0, i) for i, n in enumerate(rng.integers(1, 200, 2_000)))


def test_adwins_memory_grows_with_the_logarithm_of_the_panes() -> None:
    detector = Adwin(1e-9)
    rings(detector, np.random.default_rng(8).normal(size=N), 1)
    assert sum(map(len, detector.levels)) <= (MAX_BUCKETS + 1) * (math.log2(N) + 1)
    assert detector.width == sum(bucket.n for level in detector.levels for bucket in level) == N


@pytest.mark.parametrize("name", MAKE)
def test_a_detector_goes_on_after_packing_as_if_nothing_had_been(name: str) -> None:
    values = stream("steps")[:12_000]
    whole, first = MAKE[name](), MAKE[name]()
    rings(first, values[:7_000])
    second = unpack(pack(first), type(first))
    tail = [change.score for at, change in rings(whole, values).items() if at > 7_000]
    assert [change.score for change in rings(second, values[7_000:]).values()] == tail


@pytest.mark.parametrize(("name", "n"), [("adwin", 8_000), ("page_hinkley", 8_000), ("kswin", 2_500)])
def test_a_detector_does_not_depend_on_scale(name: str, n: int) -> None:
    values = stream("steps")[:n]
    for scale, offset in ((1.0, 0.0), (1_024.0, 0.0), (1_024.0, 4_096.0)):
        baseline, detector = baseline_of(scale, offset), SEQUENTIAL_DETECTORS[name](DetectionSettings())
        found = {}
        for i, x in enumerate(values.tolist()):
            change = advance(detector, baseline, (1, scale * x + offset, 0.0), i)
            if change is not None:
                found[i] = finding_of(name, change, baseline)
        if scale == 1:
            expected = found
        assert list(found) == list(expected)
        assert [f.direction for f in found.values()] == [f.direction for f in expected.values()]
        at, finding = next(iter(found.items()))
        wanted = offset + scale * expected[at].evidence["after"]["mean"]
        assert finding.evidence["after"]["mean"] == pytest.approx(wanted, rel=1e-9)
    assert expected


def baseline_of(scale: float, offset: float) -> Baseline:
    """A thousand values of this standard deviation around `offset`."""
    return Baseline(
        "x", 0, 1_000, {}, n=1_000, mean=offset, m2=1_000 * scale**2, low=offset - 3 * scale, high=offset + 3 * scale
    )
