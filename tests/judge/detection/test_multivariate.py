"""Rows in the judge: a baseline of the first panes, windows held against it, features together."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from stream_monitor.commands.explain import drawn
from stream_monitor.config.settings import Settings
from stream_monitor.events.contracts import Alert
from stream_monitor.judge.baselines.recent_rows import RecentRowBaselines, RecentRowsState
from stream_monitor.judge.detection.multivariate import Joint, RowsState
from stream_monitor.profiles.measures import JOINT
from stream_monitor.profiles.records import ResetRecord
from stream_monitor.rejudge.explain import explain
from stream_monitor.rejudge.log_replay import RejudgeTerms
from stream_monitor.terminal import Table
from tests.judge.logs import Recorded, comparable, packed, recorded, restored
from tests.streams import T0, quick_settings


def rules(rows: int = 30, **sections: Any) -> Settings:
    time = {"pane": "1s", "windows": ["20s"], "allowed_lateness": "5s", "max_skew": "1s"}
    return quick_settings(sample={"rows": rows}, baseline={"first": 600}, time=time, **sections)


def stream(seed: int, spans: list[tuple[int, float]]) -> Iterator[tuple[str, bytes]]:
    """Fifty events a second of two features, so many with each correlation, and a third one and a country."""
    rng, i = random.Random(seed), 0
    for count, rho in spans:
        for _ in range(count):
            a = rng.gauss(0, 1)
            b = rho * a + math.sqrt(1 - rho * rho) * rng.gauss(0, 1)
            features = {"a": a, "b": b, "c": rng.gauss(0, 1), "country": rng.choice(["DE", "FR"])}
            body = {"id": f"e{i}", "model": "m", "ts": T0 + i * 20, "features": features, "prediction": True}
            yield "predictions", json.dumps(body).encode()
            i += 1


def opened(run: Recorded) -> list[dict[str, Any]]:
    return [alert for alert in run.alerts if alert["status"] == "open"]


def told_of(run: Recorded) -> list[dict[str, Any] | None]:
    """What each window of traffic says of rows."""
    return [metric["measures"].get(JOINT) for metric in run.metrics if metric["kind"] == "traffic"]


def test_a_correlation_that_flips_opens_one_alert_that_names_it() -> None:
    run = recorded(rules(), stream(1, [(3_000, 0.8), (2_000, -0.8)]))
    [alert] = opened(run)
    assert (alert["measure"], alert["kind"], alert["group"]) == (JOINT, "drift", "input")
    first = alert["findings"][0]
    assert first["detector"] == "domain_classifier" and first["evidence"]["features"][0]["name"] == "a × b"
    assert "mmd" in {finding["detector"] for finding in alert["findings"]}
    assert 60_000 <= alert["ts"] - T0 <= 100_000


def test_metrics_tell_how_far_rows_are_and_of_how_many() -> None:
    run = recorded(rules(), stream(1, [(3_000, 0.8)]))
    told = told_of(run)
    assert (
        told[-1] is not None and told[0] is None and set(told[-1]["tests"]) == {"domain_classifier", "mmd", "pca_error"}
    )
    assert 100 < told[-1]["n"] <= 600 and not opened(run)


def test_without_samples_or_tests_nothing_is_said_of_rows() -> None:
    quiet = quick_settings().detection.model_dump(mode="json") | {"joint": []}
    for settings in (rules(0), rules(detection=quiet)):
        run = recorded(settings, stream(1, [(3_000, 0.8), (2_000, -0.8)]))
        assert not opened(run)
        assert not any(told_of(run))


def test_a_reset_makes_a_new_baseline_of_rows_and_ends_the_alert() -> None:
    run = Recorded(rules())
    events = list(stream(1, [(3_000, 0.8), (5_000, -0.8)]))
    run.feed(events[:4_600])
    run.reset(ResetRecord("m", since=T0 + 100_000))
    run.feed(events[4_600:])
    run.finish()
    told = [(alert["status"], alert["reason"]) for alert in run.alerts]
    assert [status for status, _ in told] == ["open", "resolved"] and "was reset" in told[1][1]
    last = told_of(run)[-1]
    assert last is not None and last["tests"]["domain_classifier"] < 0.1


def test_explain_sees_the_tests_of_rows_and_draws_what_tells_before_from_now() -> None:
    settings = rules()
    run = recorded(settings, stream(1, [(3_000, 0.8), (2_000, -0.8)]))
    published = [msgspec.convert(alert, Alert) for alert in run.alerts]
    found = explain(RejudgeTerms(settings, obey_log=True), 0, run.log, published)
    assert found.exact
    assert {"domain_classifier", "mmd", "pca_error"} <= {series.detector for series in found.series}
    tables = [part for part in drawn(found) if isinstance(part, Table)]
    assert any(row is not None and row[0][0] == "a × b" for table in tables for row in table.rows)


def test_a_snapshot_holds_the_rows_and_goes_on() -> None:
    run = Recorded(rules())
    run.feed(list(stream(1, [(2_990, 0.8)])))
    judge = run.judge.assignments[0].judge.models["m"]
    again = restored(packed(judge))
    assert again.timelines["input"].joint.baseline is not None and again.timelines["input"].windows[0].sampled
    assert comparable(again) == comparable(judge.saved_state())


def test_a_baseline_waits_until_it_has_enough_rows() -> None:
    """With one row a pane, and panes of 50 events, hardly any hash is reached by all of them."""
    run = Recorded(rules(1))
    run.feed(list(stream(1, [(5_000, 0.8)])))
    state = run.judge.assignments[0].judge.models["m"].state.timelines["input"].joint
    assert state.baseline is None and state.events > 4_000


def test_a_reset_of_a_segment_or_a_version_leaves_rows_alone() -> None:
    joint = Joint(RowsState(events=5), 100, RecentRowBaselines(RecentRowsState(), None))
    for reset in (ResetRecord("m", version="1"), ResetRecord("m", segment="country=DE")):
        assert not joint.forget(reset) and joint.state.events == 5
    assert not joint.forget(ResetRecord("m")) and joint.state.events == 0


@pytest.mark.parametrize("measure", ["a", "joint(features)"])
def test_a_reset_of_one_of_their_features_ends_the_alert_on_rows(measure: str) -> None:
    run = Recorded(rules())
    events = list(stream(1, [(3_000, 0.8), (5_000, -0.8)]))
    run.feed(events[:4_600])
    run.reset(ResetRecord("m", measure, since=T0 + 100_000))
    run.feed(events[4_600:])
    run.finish()
    assert [alert["status"] for alert in run.alerts if alert["measure"] == "joint(features)"] == ["open", "resolved"]


def test_a_reset_of_what_is_no_feature_leaves_rows_alone() -> None:
    run = Recorded(rules())
    run.feed(list(stream(1, [(2_990, 0.8)])))
    joint = run.judge.assignments[0].judge.models["m"].timelines["input"].joint
    for measure in ("latency_ms", "volume", "error"):
        assert not joint.forget(ResetRecord("m", measure)) and joint.state.baseline is not None


def test_features_without_a_place_are_in_no_row() -> None:
    run = Recorded(rules(caps={"measures": 12}))
    events = []
    for i, (role, raw) in enumerate(stream(1, [(1_500, 0.8)])):
        body = json.loads(raw)
        body["features"] |= {f"own{i}": 1.0, f"word{i}": "x"}
        events.append((role, json.dumps(body).encode()))
    run.feed(events)
    timeline = run.judge.assignments[0].judge.models["m"].timelines["input"].state
    rows = [*timeline.joint.filling, *(part for parts in timeline.windows[0].sampled.values() for part in parts)]
    rows += [timeline.joint.baseline] if timeline.joint.baseline is not None else []
    assert rows and all({*part.numbers, *part.texts} <= {*timeline.ids.names} for part in rows)
