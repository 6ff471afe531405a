"""The `health` records: a model at the end of its last window, and nothing of one that is forgotten."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from typing import Any

import jsonschema
import pytest

from stream_monitor.baselines.baseline import BaselineBuilder
from stream_monitor.config.detection import DetectionSettings
from stream_monitor.config.settings import CapSettings
from stream_monitor.events.schemas import json_schema
from stream_monitor.file_replay import Replay
from stream_monitor.judge.detection.sequential import SequentialRules
from stream_monitor.judge.health import ready_in
from stream_monitor.judge.panes.windows import Window
from stream_monitor.judge.stage import Judge
from stream_monitor.judge.timelines.state import TimelineRules
from stream_monitor.stages.contract import Output, Position
from stream_monitor.stages.topology import Topology
from tests.streams import T0, quick_settings, shop


def told(events: list[tuple[str, bytes]], finish: bool = True, **sections: Any) -> list[tuple[str, dict[str, Any]]]:
    """(role, record) of metrics, alerts and health, in order; a tombstone is an empty record of its key."""
    found = []

    def publish(output: Output) -> None:
        if output.role in ("metrics", "alerts", "health"):
            record = {"gone": (output.key or b"").decode()} if output.tombstone else json.loads(output.value)
            found.append((output.role, record))

    run = Replay(quick_settings(**sections), publish)
    for at in range(0, len(events), 100):
        run.feed(events[at : at + 100])
    if finish:
        run.finish()
    return found


def test_a_model_has_a_record_a_shortest_window_which_says_what_metrics_and_alerts_say() -> None:
    found = told([(e.role, e.raw) for e in shop(3, 900)], time={"pane": "1s", "windows": ["10s", "30s"],
                 "allowed_lateness": "5s", "max_skew": "1s"})  # fmt: skip
    counts: dict[tuple[str, int, int], int] = {}
    open_now: dict[str, set[str]] = defaultdict(set)
    seen = 0
    for role, record in found:
        if role == "metrics" and record["kind"] == "traffic" and record["segment"] == "all" and record["final"]:
            counts[record["model"], record["window_start"], record["window_end"]] = record["count"]
        elif role == "alerts" and record["status"] in ("open", "resolved"):
            (open_now[record["model"]].add if record["status"] == "open" else open_now[record["model"]].discard)(
                record["id"]
            )
        elif role == "health" and record.get("final", True) and "model" in record:
            seen += 1
            jsonschema.validate(record, json_schema("health"))
            at = record["model"], record["window_start"], record["window_end"]
            assert record["window_end"] - record["window_start"] == 10_000
            assert record.get("count", 0) == counts.get(at, 0)
            assert {alert["id"] for alert in record.get("open", [])} == open_now[record["model"]]
            assert all(alert["reason"] for alert in record.get("open", []))
    assert seen > 10 and any(open_now.values())


def test_what_is_learning_and_until_when_at_the_present_pace() -> None:
    """Ten events a second and 400 values wanted: 100 after ten seconds, so thirty are left."""
    events = [
        (
            "predictions",
            json.dumps({"id": f"e{i}", "model": "m", "ts": T0 + i * 100, "features": {"x": i % 7}}).encode(),
        )
        for i in range(600)
    ]
    health = [r for role, r in told(events, baseline={"first": 400}) if role == "health" and "model" in r]
    second = next(r for r in health if r["window_start"] == T0 // 10_000 * 10_000 + 10_000)
    (one,) = [learning for learning in second["learning"] if learning["measure"] == "x"]
    assert one["of"] == 400 and one["ready_in"] == pytest.approx((400 - one["n"]) * 100, abs=200)
    assert second["learning_total"] == len(second["learning"]) > 0
    assert "learning" not in health[-1] and health[-1]["measures"] > 0


def test_labels_and_errors_are_those_of_the_predictions_that_still_wait() -> None:
    events = []
    for i in range(400):
        body = {"id": f"e{i}", "model": "m", "ts": T0 + i * 100, "features": {"x": 1}, "prediction": True}
        events.append(("predictions", json.dumps(body).encode()))
        if i % 2 == 0:
            label = {"id": f"e{i}", "ts": T0 + i * 100 + 50, "label": i % 8 != 0}
            events.append(("labels", json.dumps(label).encode()))
    health = [r for role, r in told(events, finish=False) if role == "health"]
    last = health[-1]
    assert last["labelled"] / last["predictions"] == pytest.approx(0.5, abs=0.02)
    assert last["error_measure"] == "error" and last["error"] == pytest.approx(0.25, abs=0.02)


def test_a_window_without_anything_says_so_once_and_a_model_that_is_forgotten_is_deleted() -> None:
    def event(model: str, i: int, ts: int) -> tuple[str, bytes]:
        return "predictions", json.dumps({"id": f"{model}{i}", "model": model, "ts": ts, "features": {"x": 1}}).encode()

    events = [event("quiet", i, T0 + i * 100) for i in range(100)]
    events += [event("other", i, T0 + i * 1_000) for i in range(4_000)]
    events.sort(key=lambda one: json.loads(one[1])["ts"])
    records = [r for role, r in told(events, finish=False, caps={"model_ttl": "30m"}) if role == "health"]
    quiet = [r for r in records if r.get("model") == "quiet"]
    assert [r for r in quiet if r["final" if "final" in r else "model"]][-1].get("count", 0) == 0
    assert {"gone": "quiet"} in records and records.index({"gone": "quiet"}) > records.index(quiet[-1])


def test_a_judge_whose_app_has_no_such_topic_writes_none() -> None:
    for health in (True, False):
        judge, outputs = Judge(quick_settings(), 1, health), list[Output]()
        run = Replay(quick_settings(), outputs.append)
        run.judge = judge
        judge.assign({("profiles", 0): Position(0, "")}, {})
        run.feed((e.role, e.raw) for e in shop(3, 300))
        run.finish()
        roles = {output.role for output in outputs}
        assert ("health" in roles) is health and "metrics" in roles
    assert Topology(1, 1, 1).health


def test_a_baseline_of_rare_events_is_ready_after_a_day_and_status_says_so() -> None:
    """One event in two minutes: 10,000 values take two weeks, 500 take 17 hours, and the day is over in 24."""
    hour, day = 3_600_000, 86_400_000
    detection = DetectionSettings()
    rules = TimelineRules("m", 1_000, (), 10_000, day, CapSettings(), {}, SequentialRules((), 1.0, detection))
    builder, window = BaselineBuilder(n=30, began=0), Window(hour, 0)
    assert ready_in(builder, 30, window, rules) == 23 * hour
    assert ready_in(builder, 10, window, rules) == 47 * hour, "500 values must come, however long it takes"
    assert ready_in(builder, 10_000, window, rules) == hour * 9_970 // 10_000
    never = dataclasses.replace(rules, first_within=None)
    assert ready_in(builder, 30, window, never) == -(-9_970 * hour // 30)
