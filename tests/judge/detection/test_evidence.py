"""What an alert says in figures is true of the values: medians lie among them, and whole numbers stay whole."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
import pytest

from stream_monitor.baselines.baseline import Baseline
from stream_monitor.commands.explain import drawn
from stream_monitor.config.settings import Settings
from stream_monitor.detect.sequential.registry import shift_of
from stream_monitor.events.contracts import Alert
from stream_monitor.judge.alerts.figures import apart
from stream_monitor.judge.detection.evidence import numeric_evidence
from stream_monitor.profiles.bins import BINS, bin_values, make_edges
from stream_monitor.profiles.integers import are_whole, name_of, whole
from stream_monitor.profiles.quantiles import Extent, quantile
from stream_monitor.rejudge.explain import Explanation, Point, Series, explain
from stream_monitor.rejudge.log_replay import RejudgeTerms
from stream_monitor.terminal.charts import BARS
from stream_monitor.types import F64, I64
from tests.judge.logs import Recorded, recorded
from tests.screens import shown
from tests.streams import T0, quick_settings

RNG = np.random.default_rng(20)
SAMPLES: dict[str, tuple[F64, F64]] = {
    "always 0": (np.zeros(500), np.zeros(300)),
    "mostly 0": ((RNG.random(500) < 0.1).astype(float), (RNG.random(300) < 0.6).astype(float)),
    "ratings": (RNG.integers(1, 6, 500).astype(float), RNG.integers(3, 6, 300).astype(float)),
    "counts": (RNG.poisson(40, 500).astype(float), RNG.poisson(60, 300).astype(float)),
    "normal": (RNG.normal(0, 1, 500), RNG.normal(1, 1, 300)),
    "far away": (RNG.lognormal(3, 1, 500), 500 * RNG.lognormal(3, 1, 300)),
}


def counted(values: F64, borders: F64) -> I64:
    return np.bincount(bin_values(borders, values), minlength=BINS)


def baseline_of(values: F64, borders: F64) -> Baseline:
    n, mean = len(values), float(values.mean())
    m2, ends = float(((values - mean) ** 2).sum()), (float(values.min()), float(values.max()))
    return Baseline("first", 0, n, {"number": n}, n, mean, m2, *ends, counts=counted(values, borders))


@pytest.mark.parametrize("name", SAMPLES)
def test_the_median_of_a_window_lies_between_its_least_and_its_largest_value(name: str) -> None:
    before, now = (np.asarray(values, float) for values in SAMPLES[name])
    borders = make_edges(before).edges
    baseline, ends = baseline_of(before, borders), (float(now.min()), float(now.max()))
    told = numeric_evidence(baseline, counted(before, borders), counted(now, borders), borders, Extent(*ends))
    assert ends[0] <= told["now"]["p50"] <= ends[1]
    if name in ("always 0", "mostly 0", "ratings", "counts"):
        exact = [float(np.quantile(values, 0.5, method="inverted_cdf")) for values in (before, now)]
        assert [told["baseline"]["p50"], told["now"]["p50"]] == pytest.approx(exact, abs=1 if name == "counts" else 0)
        assert all(x.is_integer() for x in (told["baseline"]["p50"], told["now"]["p50"]))


def test_whole_numbers_are_told_from_others() -> None:
    for name, (before, _) in SAMPLES.items():
        values = np.asarray(before, float)
        found = are_whole(make_edges(values).edges, (values.min(), values.max()))
        assert found == (name not in ("normal", "far away")), name
    halves = np.repeat([0.0, 0.5, 1.0], 100)
    assert not are_whole(make_edges(halves).edges, (0.0, 1.0))
    assert not are_whole(make_edges(halves).edges, (np.inf, -np.inf)), "nothing was there"


def test_a_quantile_of_whole_numbers_is_the_one_that_sorting_finds() -> None:
    values = np.asarray(SAMPLES["ratings"][0], float)
    borders = make_edges(values).edges
    for share in (0.05, 0.31, 0.5, 0.95, 0.99):
        found = whole(quantile(counted(values, borders), borders, share, values.min(), values.max()))
        assert found == np.quantile(values, share, method="inverted_cdf")


def test_bins_of_whole_numbers_are_named_by_what_they_hold() -> None:
    assert name_of(None, 0.0, (0.0, 1.0)) == "0"
    assert name_of(0.0, 1.0, (0.0, 1.0)) == name_of(0.0, None, (0.0, 1.0)) == "1"
    assert name_of(2.0, 5.0, (0.0, 9.0)) == "3 … 5"
    assert name_of(None, 3.0, (0.0, 9.0)) is None and name_of(3.0, None, (0.0, 9.0)) is None


@pytest.mark.parametrize("way", [1, -1])
def test_the_shift_of_a_measure_whose_median_stays_is_that_of_its_mean(way: int) -> None:
    values = np.asarray([0.0] * 80 + [1.0] * 6 + [2.0] * 8 + [3.0] * 6)
    borders = make_edges(way * values).edges
    found = shift_of(way * 0.5, baseline_of(way * values, borders), borders)
    assert 0.05 < way * found < 0.6, "half a sigma of it moves the mean, and the median not at all"


def test_two_figures_that_differ_are_written_so_that_they_do() -> None:
    assert apart(2.7149, 2.7051) == ("2.715", "2.705")
    assert apart(0.31, 0.1) == ("0.31", "0.1") and apart(2.0, 2.0) == ("2", "2")


# --- from events to what a person reads ---


def stream(value: Callable[[random.Random, bool], float]) -> Iterator[tuple[str, bytes]]:
    rng = random.Random(5)
    for at in range(2_400):
        event = {"id": f"{at}", "model": "m", "ts": T0 + at * 50, "features": {"x": value(rng, at >= 1_600)}}
        yield "predictions", json.dumps(event).encode()


def rules() -> Settings:
    changes = {"outcome": [], "min_count": 100, "false_discovery_rate": 0.001}
    return quick_settings(
        baseline={"first": 300}, detection=quick_settings().detection.model_dump(mode="json") | changes
    )


@pytest.fixture(scope="module", params=["0 and 1", "ratings"])
def whole_numbers(request: pytest.FixtureRequest) -> Recorded:
    draws: dict[str, Callable[[random.Random, bool], float]] = {
        "0 and 1": lambda rng, after: float(rng.random() < (0.6 if after else 0.1)),
        "ratings": lambda rng, after: rng.choice([3, 4, 5] if after else [0, 0, 0, 1, 2, 3]),
    }
    return recorded(rules(), stream(draws[request.param]))


def openings(run: Recorded) -> list[dict[str, Any]]:
    found = [alert for alert in run.alerts if (alert["measure"], alert["status"]) == ("x", "open")]
    assert found
    return found


def test_alerts_of_whole_numbers_name_them(whole_numbers: Recorded) -> None:
    for alert in openings(whole_numbers):
        for one in alert["attribution"]["moved"]:
            assert "name" in one or "above" not in one or "to" not in one, one
        told = [finding["evidence"] for finding in alert["findings"] if "now" in finding.get("evidence", {})]
        assert told and all(0 <= one["now"]["p50"] <= 5 and one["now"]["p50"] % 1 == 0 for one in told)


def test_metrics_of_whole_numbers_have_whole_quantiles(whole_numbers: Recorded) -> None:
    summaries = [m["measures"]["x"] for m in whole_numbers.metrics if "x" in m.get("measures", {})]
    assert summaries
    for one in summaries:
        for name in ("p50", "p95", "p99"):
            assert one["min"] <= one[name] <= one["max"] and one[name] % 1 == 0, one


def test_an_alert_of_whole_numbers_is_explained_by_them(whole_numbers: Recorded) -> None:
    first = openings(whole_numbers)[0]
    alerts = [msgspec.convert(a, Alert) for a in whole_numbers.alerts if a["id"] == first["id"]]
    text = shown(drawn(explain(RejudgeTerms(rules(), obey_log=True), 0, whole_numbers.log, alerts)))
    assert "0 … 1" not in text and "up to 0" not in text, text


def test_what_is_far_below_its_threshold_looks_so() -> None:
    opening = Alert(
        id="a", status="open", revision=0, ts=2_000, opened_ts=1_000, model="m", version="1", segment="all",
        measure="x", group="input", kind="drift", severity="warning", reason="x went up",
    )  # fmt: skip
    tiny = Series("psi", 10_000, [Point(at * 1_000, 7e-5, 0.1) for at in range(4)], 10_000)
    large = Series("ks", 10_000, [Point(at * 1_000, 0.2, 0.1) for at in range(4)], 10_000)
    lines = shown(drawn(Explanation([opening], True, [tiny, large], []))).splitlines()
    (psi,) = [line for line in lines if line.startswith("psi")]
    (ks,) = [line for line in lines if line.startswith("ks")]
    assert not any(bar in psi for bar in BARS[2:]), psi
    assert BARS[-1] in ks
