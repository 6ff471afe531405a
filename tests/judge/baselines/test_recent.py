"""Baselines of the recent past through the whole product, by replay."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from typing import Any

import pytest

from stream_monitor.baseline.build import build
from stream_monitor.baselines.pinned import PinnedBaseline
from stream_monitor.config.durations import DAY
from stream_monitor.config.settings import Settings
from stream_monitor.errors import SettingsError
from stream_monitor.file_replay import replay
from stream_monitor.stages.contract import Output
from tests.streams import MONDAY, T0, Event, mornings, quick_settings

WINDOWS = {"min_count": 20, "input": [], "outcome": [], "cooldown": "1s"}


def run(rules: Settings, events: list[Event], pinned: list[PinnedBaseline] | None = None) -> dict[str, list[Any]]:
    out: dict[str, list[Any]] = defaultdict(list)

    def publish(output: Output) -> None:
        if output.role in ("alerts", "metrics"):
            out[output.role].append(json.loads(output.value))

    replay(rules, [(event.role, event.raw) for event in events], publish, pinned or [])
    return out


def rolling(**baseline: str) -> Settings:
    return quick_settings(
        baseline={"first": 100, "kind": "rolling", "span": "28s", "gap": "10s", **baseline}, detection=WINDOWS
    )


def step(seconds: int, at: int) -> list[Event]:
    """Ten values a second that move by two standard deviations at a second."""
    rng, events = random.Random(1), list[Event]()
    for i in range(10 * seconds):
        x = rng.gauss(0 if i < 10 * at else 2, 1)
        body = {"id": f"e{i}", "model": "m", "ts": T0 + 100 * i, "features": {"x": x}}
        events.append(Event("predictions", f"e{i}", T0 + 100 * i, json.dumps(body).encode()))
    return events


def of(records: list[Any], measure: str, status: str) -> list[float]:
    """Seconds at which alerts of a measure had a status."""
    return [(a["ts"] - T0) / 1000 for a in records if a["measure"] == measure and a["status"] == status]


def test_a_change_rings_until_it_has_been_there_for_as_long_as_is_accepted() -> None:
    out = run(rolling(accept_after="60s"), step(300, 120))
    assert of(out["alerts"], "x", "open") == [pytest.approx(130, abs=10)]
    (resolved,) = of(out["alerts"], "x", "resolved")
    assert 190 < resolved < 260  # from 180 on it is taken in, 28 s fill the span, 10 s are the gap


def test_a_change_does_not_become_normal_before() -> None:
    out = run(rolling(accept_after="1h"), step(300, 120))
    assert len(of(out["alerts"], "x", "open")) == 1 and not of(out["alerts"], "x", "resolved")


def test_values_that_came_back_to_normal_are_judged_by_what_was_before_the_alert() -> None:
    events = step(300, 120)
    back = [e for e in step(300, 500) if e.ts >= T0 + 200_000]
    out = run(rolling(accept_after="1h"), [e for e in events if e.ts < T0 + 200_000] + back)
    assert of(out["alerts"], "x", "resolved") == [pytest.approx(220, abs=15)]
    assert len(of(out["alerts"], "x", "open")) == 1


def test_a_slow_change_is_followed_by_a_rolling_baseline_alone() -> None:
    """A tenth of a standard deviation in twenty seconds, and a baseline that is 80 seconds old on average."""
    rng, events = random.Random(2), list[Event]()
    for i in range(8_000):
        body = {"id": f"e{i}", "model": "m", "ts": T0 + 100 * i, "features": {"x": rng.gauss(0.0005 * i, 1)}}
        events.append(Event("predictions", f"e{i}", T0 + 100 * i, json.dumps(body).encode()))
    slow = quick_settings(baseline={"first": 1_000}, detection=WINDOWS)
    follows = quick_settings(
        baseline={"first": 1_000, "kind": "rolling", "span": "140s", "gap": "10s"}, detection=WINDOWS
    )
    assert of(run(slow, events)["alerts"], "x", "open")
    assert not of(run(follows, events)["alerts"], "x", "open")


def hourly(kind: str, **sections: Any) -> Settings:
    return quick_settings(
        baseline={"first": 100, "kind": kind},
        time={"pane": "10m", "windows": ["1h"], "allowed_lateness": "10m", "max_skew": "1s"},
        join={"label_horizon": "2h", "early_horizon": "1h", "grain": "1h", "revisions": ["0s"]},
        **{"detection": {**WINDOWS, "cooldown": "1h", "recovery": 1}, **sections},
    )


def days(records: list[Any], measure: str) -> set[int]:
    """Days on which alerts of a measure opened."""
    return {(a["opened_ts"] - MONDAY) // DAY for a in records if a["measure"] == measure and a["status"] == "open"}


def open_days(records: list[Any], measure: str, end: int) -> float:
    """For how many days alerts of a measure were open."""
    mine = [a for a in records if a["measure"] == measure]
    ends = {a["id"]: a["ts"] for a in mine if a["status"] == "resolved"}
    return float(sum(ends.get(a["id"], end) - a["opened_ts"] for a in mine if a["status"] == "open")) / DAY


def test_hours_that_differ_are_in_alert_by_first_values_and_by_the_week_only_when_they_change() -> None:
    events = mornings(5)
    by_first, by_week = run(hourly("first"), events), run(hourly("hour_of_week"), events)
    end = events[-1].ts
    assert open_days(by_first["alerts"], "amount", end) > 8, "of fourteen"
    assert open_days(by_week["alerts"], "amount", end) < 4, "while it has no week yet, and at the change"
    assert {day for day in days(by_week["alerts"], "amount") if day >= 7} == {11}
    assert not {day for day in days(by_week["alerts"], "country") if day >= 7}


def test_a_sequential_detector_waits_for_the_season_and_sees_what_is_left_without_it() -> None:
    detection = {**WINDOWS, "input": ["cusum", "adwin"], "feedback": [], "cooldown": "1h"}
    tests_off = {"tolerance": {"psi": 9.0, "ks": 1.0, "missing": 1.0, "new_categories": 1.0, "type_change": 1.0}}
    out = run(hourly("hour_of_week", detection=detection | tests_off), mornings(5))
    assert {day for day in days(out["alerts"], "amount")} == {11}
    raw = run(hourly("first", detection=detection | tests_off), mornings(5))
    assert days(raw["alerts"], "amount") == {0}  # and it never ends


def test_a_pinned_baseline_goes_before() -> None:
    events = step(60, 100)
    pinned = build(rolling(), [(e.role, e.raw) for e in events[:200]], "calm", None).baselines
    out = run(rolling(), events, pinned)
    assert {m.get("baseline") for m in out["metrics"] if m["kind"] == "traffic"} == {"calm"}


def test_a_measure_that_another_baseline_judged_says_so() -> None:
    events = [e._replace(raw=json.dumps(body).encode()) for e in step(120, 500) if (body := with_late(e))]
    out = run(rolling(), events)
    last = [m for m in out["metrics"] if m["kind"] == "traffic"][-1]
    assert last["baseline"] == "rolling-28s" and "baseline" not in last["measures"]["x"]
    assert last["measures"]["late"]["baseline"] == "first-100"


def with_late(event: Event) -> Any:
    """A feature that comes after 90 seconds, and too late for a rolling baseline of its own."""
    body = json.loads(event.raw)
    body["features"] |= {"y": body["features"]["x"]}
    if event.ts >= T0 + 90_000:
        body["features"]["late"] = body["features"]["x"]
    return body


def test_hours_need_panes_that_divide_them() -> None:
    with pytest.raises(SettingsError, match="divides an hour"):
        quick_settings(
            baseline={"kind": "hour_of_week"}, time={"pane": "7m", "windows": ["70m"]}, join={"grain": "70m"}
        )
