"""CUSUMs in the judge: one cause is one alert, from the pane of the change until the measure is back."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from stream_monitor.baseline.build import build
from stream_monitor.baselines.pinned import PinnedBaseline
from stream_monitor.config.settings import Settings
from stream_monitor.file_replay import Replay
from stream_monitor.stages.contract import Output
from tests.streams import T0, quick_settings

SECOND = 1_000
PER_SECOND = 5
Rate = Callable[[int, str], float]


def events_of(seconds: int, rate: Rate, second_from: int | None = None, seed: int = 1) -> Iterator[tuple[str, bytes]]:
    """Predictions and labels of model m, five a second and version, `rate(second, version)` of them wrong.

    Version 1 is always there, version 2 from `second_from` on.
    """
    rng = random.Random(seed)
    for second in range(seconds):
        for version in ("1",) if second_from is None or second < second_from else ("1", "2"):
            for i in range(PER_SECOND):
                ts, key = T0 + second * SECOND + i * 10, f"{second}-{version}-{i}"
                wrong = rng.random() < rate(second, version)
                event = {"id": key, "model": "m", "version": version, "ts": ts, "features": {}, "prediction": True}
                yield "predictions", json.dumps(event).encode()
                yield "labels", json.dumps({"id": key, "ts": ts + 5, "label": not wrong, "model": "m"}).encode()


def rules(**detection: Any) -> Settings:
    """Windows that are never judged, so that only sequential detectors speak."""
    return quick_settings(
        baseline={"first": 1_000}, detection={"min_count": 1_000_000, "false_alarms": "1/day", **detection}
    )


def alerts_of(
    settings: Settings, events: Iterator[tuple[str, bytes]], pins: Sequence[tuple[int, PinnedBaseline]] = ()
) -> list[dict[str, Any]]:
    """Alerts, by second; each baseline is pinned before the event of its number."""
    found: list[dict[str, Any]] = []

    def publish(output: Output) -> None:
        if output.role == "alerts":
            found.append(json.loads(output.value))

    run, todo, batch = Replay(settings, publish), dict(pins), list[tuple[str, bytes]]()
    for at, event in enumerate(events):
        if at in todo or len(batch) == 997:
            run.feed(batch)
            batch = []
        if at in todo:
            run.pin(todo[at])
        batch.append(event)
    run.feed(batch)
    run.finish()
    return found


def told(alerts: list[dict[str, Any]], measure: str = "error") -> list[tuple[str, int]]:
    return [(a["status"], (a["ts"] - T0) // SECOND) for a in alerts if a["measure"] == measure]


def worse(start: int, end: int, to: float = 0.5) -> Rate:
    return lambda second, version: to if start <= second < end else 0.1


def test_a_change_opens_one_alert_and_its_end_resolves_it() -> None:
    alerts = alerts_of(rules(cooldown="1m"), events_of(1_400, worse(600, 900)))
    (_, opened), (_, resolved) = told(alerts)
    assert {a["measure"] for a in alerts} == {"error", "label"}, "it rang again and again, and that is one alert each"
    assert 600 <= opened <= 615
    assert 900 <= resolved <= 1_000
    (finding,) = alerts[0]["findings"]
    assert (finding["detector"], finding["direction"], alerts[0]["kind"]) == ("cusum", "up", "drift")
    assert abs((finding["change_ts"] - T0) / SECOND - 600) <= 5
    assert finding["score"] > finding["threshold"]
    shift = finding["evidence"]["shift"]
    assert shift["sigmas"] == pytest.approx(0.4 / 0.3, rel=0.4)
    assert shift["value"] == pytest.approx(0.4, rel=0.4)


def test_a_change_that_lasts_is_one_alert_that_stays_open() -> None:
    alerts = alerts_of(rules(cooldown="1m"), events_of(1_400, worse(600, 1_400)))
    assert [status for status, _ in told(alerts)] == ["open"]


def test_a_stream_without_change_and_one_without_labels_are_quiet() -> None:
    settings = rules()
    assert alerts_of(settings, events_of(2_000, worse(0, 0), seed=2)) == []
    assert alerts_of(settings, (e for e in events_of(500, worse(0, 0)) if e[0] == "predictions")) == []


def test_a_version_that_comes_later_is_judged_by_the_models_baseline() -> None:
    def rate(second: int, version: str) -> float:
        return 0.5 if version == "2" else 0.1

    alerts = alerts_of(rules(), events_of(900, rate, 500))
    assert {a["version"] for a in alerts} == {"2"}
    assert 500 <= told(alerts)[0][1] <= 515


def test_a_pinned_baseline_ends_the_alert_and_starts_anew() -> None:
    settings = rules(cooldown="0ms")
    (pinned,) = build(settings, events_of(400, worse(0, 400), seed=3), "worse is normal now", None).baselines
    at = 2 * PER_SECOND * 800  # events before second 800
    alerts = alerts_of(settings, events_of(1_500, worse(600, 1_500)), [(at, pinned)])
    (first, opened), (second, resolved) = told(alerts)
    assert (first, second) == ("open", "resolved")
    assert 600 <= opened <= 615
    assert 780 <= resolved <= 801
    better = alerts_of(settings, events_of(1_500, worse(600, 1_200)), [(at, pinned)])
    assert told(better)[2][0] == "open"
    assert 1_200 <= told(better)[2][1] <= 1_215
    reason = next(a["reason"] for a in reversed(better) if a["measure"] == "error" and a["status"] == "open")
    assert reason.startswith("m 1: the error rate went down (50.6 % → ")


def test_detectors_work_side_by_side_and_can_be_left_out() -> None:
    both = alerts_of(rules(outcome=["cusum", "adwin"], cooldown="0ms"), events_of(1_000, worse(600, 1_000)))
    assert {f["detector"] for a in both for f in a["findings"]} == {"cusum", "adwin"}
    assert alerts_of(rules(outcome=[]), events_of(1_000, worse(600, 1_000))) == []


def test_rivers_detectors_open_one_alert_at_the_change() -> None:
    names = ["hddm_a", "fhddm"]
    alerts = alerts_of(rules(outcome=names, cooldown="0ms"), events_of(900, worse(600, 900)))
    (_, opened), *_ = told(alerts)
    assert 600 <= opened <= 615
    found = [f for a in alerts if a["measure"] == "error" for f in a["findings"]]
    assert {f["detector"] for f in found} == set(names)
    assert {f["direction"] for f in found} == {"up"}
    assert abs((found[0]["change_ts"] - T0) / SECOND - 600) <= 5
    assert found[0]["evidence"]["before"]["mean"] == pytest.approx(0.1, abs=0.03)
    assert found[0]["evidence"]["after"]["mean"] == pytest.approx(0.5, abs=0.25)
