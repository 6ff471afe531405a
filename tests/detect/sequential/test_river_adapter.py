"""River's detectors behind our door: River's alarms, our snapshots, our panes."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import drift

from stream_monitor.baselines.baseline import Baseline
from stream_monitor.config.detection import DetectionSettings
from stream_monitor.config.settings import parse
from stream_monitor.detect.sequential.kswin import Kswin
from stream_monitor.detect.sequential.pane_values import Bins, evenly_spaced_hits, representative_values
from stream_monitor.detect.sequential.registry import (
    KSWIN_CAP,
    RATES,
    SEQUENTIAL_DETECTORS,
    Sequential,
    advance,
    create,
    finding_of,
)
from stream_monitor.detect.sequential.river_adapter import PerValue
from stream_monitor.detect.sequential.river_rates import CAP, Fraction, Rate
from stream_monitor.errors import SettingsError
from stream_monitor.profiles.bins import make_edges
from stream_monitor.types import F64
from stream_monitor.wire.msgpack_arrays import pack, unpack
from tests.effort import examples

SEED = 7
BINARY: dict[str, Callable[[], Any]] = {
    "ddm": drift.binary.DDM,
    "eddm": drift.binary.EDDM,
    "hddm_a": drift.binary.HDDMA,
    "hddm_w": drift.binary.HDDMW,
    "fhddm": drift.binary.FHDDM,
}
NAMES = (*BINARY, "kswin")
RULES = DetectionSettings()


def of_river(name: str) -> Any:
    return drift.KSWIN(seed=SEED) if name == "kswin" else BINARY[name]()


def ours(name: str) -> Sequential:
    detector = SEQUENTIAL_DETECTORS[name](RULES)
    if isinstance(detector, Kswin):
        detector.seed = SEED
    return detector


@cache
def coins(n: int, seed: int) -> F64:
    """Errors whose rate moves up and down every two thousand values."""
    rng = np.random.default_rng([n, seed])
    rates = rng.choice([0.0, 0.02, 0.1, 0.2, 0.25, 0.5, 0.9, 1.0], n // 2_000)
    return (rng.random(n) < np.repeat(rates, 2_000)).astype(float)


@cache
def levels(n: int, seed: int) -> F64:
    """Values whose mean and spread move, many of them equal."""
    rng = np.random.default_rng([n, seed, 1])
    parts = rng.choice([0.0, 0.5, 2.0, -1.0], (2, n // 250))
    values = rng.normal(size=n) * np.repeat(1 + np.abs(parts[0]), 250) + np.repeat(parts[1], 250)
    return np.asarray(np.round(values, 1))


def stream(name: str, n: int, seed: int = 0) -> F64:
    return levels(n, seed) if name == "kswin" else coins(n, seed)


def rings(detector: Sequential, values: F64, first: int = 0) -> list[int]:
    return [i for i, x in enumerate(values.tolist(), first) if detector.update(1, x, 0.0, i) is not None]


def river_rings(name: str, values: F64) -> list[int]:
    detector, found = of_river(name), []
    for i, x in enumerate(values.tolist()):
        detector.update(1 - x if name == "fhddm" else x)  # it finds a fall of what it is fed: of right answers
        if detector.drift_detected:
            found.append(i)
    return found


# --- River's alarms ---


@pytest.mark.parametrize(("name", "n"), [*((name, 60_000) for name in BINARY), ("kswin", 3_000)])
def test_on_panes_of_one_value_it_rings_where_rivers_does(name: str, n: int) -> None:
    """303,000 values together."""
    values = stream(name, n)
    expected = river_rings(name, values)
    assert rings(ours(name), values) == expected
    assert len(expected) >= 5


@pytest.mark.parametrize("name", ["hddm_a", "hddm_w"])
def test_fractions_are_taken_as_they_are(name: str) -> None:
    rng = np.random.default_rng(3)
    values = rng.beta(np.repeat([2.0, 4.0, 1.0, 8.0], 2_000), 4.0)
    expected = river_rings(name, values)
    assert rings(ours(name), values) == expected
    assert expected


# --- snapshots ---


def everything(detector: Sequential, pieces: list[F64], cuts: frozenset[int]) -> tuple[list[Any], bytes]:
    """All changes and the state at the end; a detector is packed and made anew before the pieces of these numbers."""
    found: list[Any] = []
    for i, piece in enumerate(pieces):
        if i in cuts:
            detector = unpack(pack(detector), type(detector), own=True)
        if isinstance(detector, Kswin):
            found.append(detector.take(piece.tolist(), i))
        else:
            found.append(detector.update(len(piece), float(piece.mean()), float(piece.var() * len(piece)), i))
    return found, pack(detector)


@examples(12)
@given(
    st.sampled_from(NAMES),
    st.integers(0, 5),
    st.sampled_from([1, 3, 40, 1_500]),
    st.frozensets(st.integers(0, 600), min_size=1, max_size=8),
)
def test_a_restored_detector_goes_on_bit_for_bit(name: str, seed: int, pane: int, cuts: frozenset[int]) -> None:
    values = stream(name, 1_000 if name == "kswin" else 20_000, seed)
    pieces = np.split(values, range(pane, len(values), pane))[:600]
    cuts = frozenset(cut % len(pieces) for cut in cuts)
    assert everything(ours(name), pieces, cuts) == everything(ours(name), pieces, frozenset())


@pytest.mark.parametrize("name", NAMES)
def test_a_restored_detector_still_rings_where_rivers_does(name: str) -> None:
    values = stream(name, 2_000 if name == "kswin" else 20_000, 4)
    detector, found, at = ours(name), list[int](), 0
    for size in np.random.default_rng(5).integers(1, 400, 200).tolist():
        found += rings(detector, values[at : at + size], at)
        detector, at = unpack(pack(detector), type(detector), own=True), at + size
    assert found == river_rings(name, values)
    assert found


def test_what_is_random_follows_from_the_measures_key() -> None:
    values = levels(2_000, 1)
    found = []
    for key in (("1", "all", "x"), ("1", "all", "x"), ("1", "all", "y")):
        detector = create("kswin", RULES, key)
        changes = [detector.update(1, x, 0.0, i) for i, x in enumerate(values.tolist())]
        found.append([change.score for change in changes if change is not None])
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("name", NAMES)
def test_memory_has_a_bound(name: str) -> None:
    detector = ours(name)
    assert isinstance(detector, PerValue)
    sizes = []
    for i, x in enumerate(stream(name, 1_000 if name == "kswin" else 6_000, 2).tolist()):
        detector.update(1, x, 0.0, i)
        if i % 250 == 249:
            sizes.append(len(pack(detector)))
    assert max(sizes) <= (5_000 if name == "kswin" else 1_100 if name == "fhddm" else 300)


# --- panes ---


def baseline_of(values: F64) -> Baseline:
    low, high = float(values.min()), float(values.max())
    return Baseline(
        "x", 0, len(values), {}, len(values), float(values.mean()), float(values.var() * len(values)), low, high
    )


def fed(name: str, baseline: Baseline, values: F64, pane: int, detector: Sequential | None = None) -> list[Any]:
    """Findings, by number of the pane."""
    detector, found = detector or ours(name), list[Any]()
    borders = make_edges(np.linspace(baseline.low, baseline.high, 101)).edges
    for i in range(len(values) // pane):
        some = values[i * pane : (i + 1) * pane]
        at, n = np.unique(np.searchsorted(borders, some), return_counts=True)
        row = (pane, float(some.mean()), float(some.var() * pane))
        change = advance(detector, baseline, row, i, Bins(borders, at, n, float(some.max())))
        if change is not None:
            found.append((i, finding_of(name, change, baseline)))
    return found


@examples(67)
@given(st.integers(1, 400), st.floats(0, 1))
def test_hits_are_spread_evenly(n: int, share: float) -> None:
    hits = round(share * n)
    spread = evenly_spaced_hits(n, hits)
    assert (len(spread), sum(spread)) == (n, hits)
    so_far = np.cumsum(spread) - hits / n * np.arange(1, n + 1)
    assert np.abs(so_far).max() <= 0.5 + 1e-9, "never more than half a hit from the straight line"


@examples(33)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=8).filter(any), st.integers(1, 100))
def test_values_of_bins_are_all_or_the_evenly_ranked_and_no_trend(counts: list[int], cap: int) -> None:
    at = np.flatnonzero(counts)
    n = np.array(counts)[at]
    borders = np.arange(7.0)
    values = representative_values(Bins(borders, at, n, 6.5), cap)
    whole = np.repeat(np.append(borders, 6.5)[at], n)
    assert len(values) == min(cap, len(whole))
    if len(whole) <= cap:
        assert sorted(values) == whole.tolist()
    else:
        ranks = ((np.arange(cap) + 0.5) / cap * len(whole)).astype(int)
        assert sorted(values) == whole[ranks].tolist()
    if len(values) >= 20:
        half = len(values) // 2
        assert abs(np.searchsorted(whole, values[:half]).mean() - np.searchsorted(whole, values[half:]).mean()) <= (
            0.25 * len(whole)
        )


@pytest.mark.parametrize("pane", [1, 20, 5_000])
@pytest.mark.parametrize("name", NAMES)
def test_a_change_is_found_with_its_way_time_and_size(name: str, pane: int) -> None:
    rng = np.random.default_rng([1, pane])
    steady = {1: 3_000, 20: 500, 5_000: 20}[pane] if name != "kswin" else {1: 300, 20: 20, 5_000: 4}[pane]
    if name == "kswin":
        before, after = (rng.normal(m, 1, steady * pane) for m in (5.0, 9.0))
        baseline = baseline_of(rng.normal(5, 1, 2_000))
        sizes = 5.0, 9.0
    else:
        before, after = ((rng.random(steady * pane) < p).astype(float) for p in (0.1, 0.6))
        baseline = baseline_of((rng.random(2_000) < 0.1).astype(float))
        sizes = 0.1, 0.6
    first = len(before) // pane
    found = fed(name, baseline, np.concatenate([before, after]), pane)
    place, finding = next((i, f) for i, f in found if i >= first)
    assert place - first <= max(600 // pane, 3)
    assert finding.direction == "up"
    assert finding.score > finding.threshold
    means = finding.evidence["before"]["mean"], finding.evidence["after"]["mean"]
    assert means[0] == pytest.approx(sizes[0], abs=0.35 * (sizes[1] - sizes[0]))
    assert means[1] >= sizes[0] + 0.3 * (sizes[1] - sizes[0]), "thirty newest values may begin before the change"
    assert abs(finding.change_ts - first) <= max(60 // pane, 1)


def test_kswin_says_down_when_values_fall() -> None:
    rng = np.random.default_rng(2)
    found = fed(
        "kswin", baseline_of(rng.normal(size=2_000)), np.concatenate([rng.normal(size=300), rng.normal(-3, 1, 300)]), 1
    )
    assert next(f.direction for i, f in found if i >= 300) == "down"


@pytest.mark.parametrize("name", BINARY)
def test_measures_that_are_no_rates_are_left_alone(name: str) -> None:
    rng = np.random.default_rng(4)
    for before, after in (
        (rng.normal(size=2_000), rng.normal(5, 1, 2_000)),
        (rng.random(2_000) * 3, np.full(2_000, 3.0)),
    ):
        detector = ours(name)
        assert fed(name, baseline_of(before), np.concatenate([before, after]), 1, detector) == []
        assert detector == ours(name), "it was not fed at all"
    scores = rng.beta(2, 8, 2_000), rng.beta(8, 2, 2_000)
    assert bool(fed(name, baseline_of(scores[0]), np.concatenate(scores), 20)) == isinstance(ours(name), Fraction)


@pytest.mark.parametrize("name", NAMES)
def test_values_that_no_baseline_promised_are_survived(name: str) -> None:
    """A measure of errors that becomes something else, constants, and panes whose values are not known."""
    baseline, detector = baseline_of(np.array([0.0, 0.0, 1.0])), ours(name)
    for i, row in enumerate([(1, 7.0, 0.0), (1, -3.0, 0.0), (50, 1e300, 0.0), (50, -1.0, 1e9), (1, 0.5, 0.0)] * 60):
        advance(detector, baseline, row, i)
    for value in (0.0, 1.0):
        same = baseline_of(np.full(100, value))
        assert fed(name, same, np.full(4_000 if name != "kswin" else 400, value), 1) == []
        assert fed(name, same, np.full(40_000 if name != "kswin" else 400, value), 40) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_large_pane_is_thinned_in_proportion(name: str) -> None:
    n, panes = 100_000, 3 if name == "kswin" else 40
    rng, detector = np.random.default_rng(6), ours(name)
    if name == "kswin":
        assert fed(name, baseline_of(rng.normal(size=2_000)), rng.normal(size=n * panes), n, detector) == []
        assert isinstance(detector, Kswin) and detector.fed == KSWIN_CAP * panes
        return
    values = (rng.random(n * panes) < 0.00037).astype(float)
    detector = ours(name)
    assert isinstance(detector, Rate)
    fed(name, baseline_of((np.arange(9_000) < 3).astype(float)), values, n, detector)
    if name in ("hddm_a", "hddm_w", "fhddm"):
        assert detector.fed == CAP * panes
        assert abs(detector.total - values.sum() * CAP / n) <= 1, "no hit is lost but the one that is owed"


# --- settings ---


def test_without_river_the_settings_say_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    text = {"detection": {"outcome": ["cusum", "ddm"], "input": ["kswin"]}}
    assert parse(text).detection.outcome == ("cusum", "ddm")
    monkeypatch.setitem(sys.modules, "river", None)  # what Python itself takes as "not there"
    with pytest.raises(SettingsError, match=r"pip install 'stream-monitor\[river\]'") as told:
        parse(text)
    assert "detection.outcome: ddm needs River" in str(told.value)
    assert "detection.input: kswin needs River" in str(told.value)
    assert parse({"detection": {"outcome": ["cusum", "adwin", "e_sr"]}})


def test_every_detector_of_river_is_here() -> None:
    assert set(NAMES) == {name for name, make in SEQUENTIAL_DETECTORS.items() if isinstance(make(RULES), PerValue)}
    assert set(BINARY) | {"e_sr"} == RATES
    assert math.isclose(CAP, 10 * KSWIN_CAP)
