"""What a baseline expects and a window does not hold is judged: values that are missing, or all of another type."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from stream_monitor.events.contracts import Alert
from stream_monitor.rejudge.explain import explain, find
from stream_monitor.rejudge.log_replay import RejudgeTerms
from tests.judge.logs import Recorded, recorded
from tests.streams import T0, quick_settings

CHANGE, COUNT = 600, 1_200
"""Events before the change, and all of them: ten a second."""
Body = dict[str, Any]


def stream(change: Callable[[Body, random.Random], None]) -> list[tuple[str, bytes]]:
    rng, events = random.Random(1), []
    for i in range(COUNT):
        event: Body = {
            "id": f"e{i}", "model": "m", "ts": T0 + i * 100, "latency_ms": rng.expovariate(0.1),
            "features": {"amount": rng.gauss(50, 9), "country": rng.choice(["DE", "FR"]), "rare": None},
            "prediction": rng.random() < 0.3,
        }  # fmt: skip
        if rng.random() < 0.3:
            event["features"]["rare"] = rng.gauss(0, 1)
        if i >= CHANGE:
            change(event, rng)
        events.append(("predictions", json.dumps(event).encode()))
    return events


def run(change: Callable[[Body, random.Random], None], **detection: Any) -> Recorded:
    base = quick_settings().detection.model_dump(mode="json")
    return recorded(quick_settings(baseline={"first": 120}, detection=base | detection), stream(change))


def drop(name: str, left: float = 0.0) -> Callable[[Body, random.Random], None]:
    def change(event: Body, rng: random.Random) -> None:
        if rng.random() >= left:
            place = event if name in event else event["features"]
            place[name] = None

    return change


def opened(run: Recorded) -> dict[tuple[str, str], dict[str, Any]]:
    return {(a["measure"], a["findings"][0]["detector"]): a for a in run.alerts if a["status"] == "open"}


@pytest.mark.parametrize("left", [0.0, 0.01, 0.03])
@pytest.mark.parametrize("name", ["amount", "country", "latency_ms", "rare"])
@pytest.mark.parametrize("persistence", [1, 2])
def test_a_measure_that_dies_opens_an_alert(name: str, left: float, persistence: int) -> None:
    made = run(drop(name, left), persistence=persistence)
    alert = opened(made)[name, "missing"]
    assert alert["kind"] == "quality" and alert["findings"][0]["score"] > 0.25
    assert T0 + CHANGE * 100 <= alert["ts"] <= T0 + CHANGE * 100 + persistence * 20_000
    assert {measure for measure, _ in opened(made)} == {name}


def test_metrics_show_it_with_no_value_and_all_missing() -> None:
    made = run(drop("amount"))
    last = max((m for m in made.metrics if m["kind"] == "traffic" and m["final"]), key=lambda m: m["window_end"])
    summary = last["measures"]["amount"]
    assert (summary["n"], summary["missing"]) == (0, last["count"]) and summary["tests"]["missing"] > 0.9
    assert "p50" not in summary


@pytest.mark.parametrize("limit", ["amount.n < 1", "amount.missing > 90"])
def test_a_limit_on_what_is_there_or_missing_is_broken(limit: str) -> None:
    made = run(drop("amount"), limits=[limit, "amount.p50 > 1000"])
    assert ("amount", limit) in opened(made) and not any("p50" in detector for _, detector in opened(made))


def test_a_type_that_changes_altogether_is_found() -> None:
    def change(event: Body, rng: random.Random) -> None:
        event["features"]["amount"] = f"{event['features']['amount']:.2f} €"

    alert = opened(run(change))["amount", "type_change"]
    assert alert["kind"] == "quality" and alert["findings"][0]["score"] == pytest.approx(1.0)


def test_a_feature_that_comes_back_resolves_its_alert() -> None:
    def change(event: Body, rng: random.Random) -> None:
        if event["ts"] < T0 + 90_000:
            event["features"]["amount"] = None

    statuses = [a["status"] for a in run(change).alerts if (a["measure"], a["kind"]) == ("amount", "quality")]
    assert statuses[0] == "open" and statuses[-1] == "resolved"


@pytest.mark.parametrize("kind", ["rolling", "hour_of_week"])
def test_a_feature_that_is_sent_by_day_only_is_quiet_with_a_recent_baseline(kind: str) -> None:
    """Such a baseline does not know the hours without values."""

    def change(event: Body, rng: random.Random) -> None:
        if (event["ts"] - T0) // 20_000 % 2:
            event["features"]["amount"] = None

    recent = {"first": 120, "kind": kind, "span": "28s", "gap": "2s"} if kind == "rolling" else {"kind": kind}
    rules = quick_settings(baseline={"first": 120} | recent)
    made = recorded(rules, stream(change))
    assert not [a for a in made.alerts if a["kind"] == "quality"]


def test_a_window_with_few_values_ends_no_alert_that_it_did_not_test() -> None:
    """A new category in windows of 100 values, then in windows of 20: nobody tests categories there."""

    def change(event: Body, rng: random.Random) -> None:
        event["features"]["country"] = "XX"
        if event["ts"] > T0 + 90_000 and rng.random() < 0.8:
            event["features"]["country"] = None

    base = quick_settings().detection.model_dump(mode="json") | {"tolerance": {"missing": 1.0}}
    made = recorded(quick_settings(baseline={"first": 120}, detection=base), stream(change))
    about = [a["status"] for a in made.alerts if (a["measure"], a["kind"]) == ("country", "quality")]
    assert about[0] == "open" and "resolved" not in about


def test_few_values_that_were_always_few_are_quiet() -> None:
    assert opened(run(lambda event, rng: None)) == {}


def test_the_alert_is_explained() -> None:
    made = run(drop("amount"))
    alerts = find([msgspec.convert(a, Alert) for a in made.alerts], opened(made)["amount", "missing"]["id"])
    found = explain(RejudgeTerms(made.driver.describe.settings, obey_log=True), 0, iter(made.log), alerts)
    assert found.exact and found.records == alerts
    (series,) = [one for one in found.series if one.detector == "missing"]
    assert max(point.score for point in series.points) > 0.9
