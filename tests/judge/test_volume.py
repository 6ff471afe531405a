"""A model that goes quiet while others go on: its first empty window rings, once, and traffic resolves it."""

from __future__ import annotations

import json
from typing import Any

from stream_monitor.file_replay import replay
from stream_monitor.stages.contract import Output
from tests.streams import T0, quick_settings

HOUR = 3_600_000
START = T0 - T0 % (24 * HOUR)


def alerts_of(hours: list[int], window: str = "1h") -> list[dict[str, Any]]:
    """Alerts on the volume of model `m`, that has 20 events in each of these hours; `other` goes on all the time."""
    time = {"pane": "1m", "windows": [window], "allowed_lateness": "5s", "max_skew": "1s"}
    rules = quick_settings(time=time, join={"grain": "1h", "label_horizon": "1h"})
    events: list[tuple[str, bytes]] = []
    for hour in range(max(hours) + 6):
        for i in range(20):
            for model in ("m", "other") if hour in hours else ("other",):
                ts = START + hour * HOUR + i * 60_000
                event = {
                    "id": f"{model}{hour}-{i}",
                    "model": model,
                    "ts": ts,
                    "features": dict[str, float](),
                    "prediction": 1,
                }
                events.append(("predictions", json.dumps(event).encode()))
    found: list[dict[str, Any]] = []

    def publish(output: Output) -> None:
        if output.role == "alerts":
            found.append(json.loads(output.value))

    replay(rules, events, publish)
    assert {a["model"] for a in found} <= {"m"}
    return [a for a in found if (a["measure"], a["kind"]) == ("volume", "drift")]


def test_the_first_empty_window_rings_once_and_traffic_resolves_it() -> None:
    found = alerts_of([*range(30), *range(36, 40)])  # empty from hour 30, and again from hour 40
    assert [(a["status"], (a["ts"] - START) // HOUR) for a in found] == [("open", 31), ("resolved", 38), ("open", 41)]
    assert found[0]["findings"][0]["score"] == 0


def test_a_model_that_is_quiet_every_night_of_its_first_day_is_not_missed_at_night() -> None:
    assert alerts_of([hour for hour in range(60) if hour % 24 < 18]) == []


def test_a_sliding_window_rings_when_half_of_it_is_missing_and_not_where_the_stream_begins_or_ends() -> None:
    """`other` ends with the stream: no window is judged that goes on behind it. 20 and 40 of 60 begin the range."""
    found = alerts_of([*range(40), *range(43, 50)], "3h/1h")
    assert [(a["status"], (a["ts"] - START) // HOUR) for a in found] == [("open", 42), ("resolved", 46), ("open", 52)]
    assert [a["findings"][0]["score"] for a in found if a["status"] == "open"] == [20, 20]


def weekly(kind: str, days: int, night: dict[int, int]) -> list[tuple[str, str, int]]:
    """Volume alerts, as (status, direction, hour), of a model with 60 events an hour by day and 6 at night.

    `night` has the events of some hours that have others than usual.
    """
    rules = quick_settings(
        time={"pane": "1h", "windows": ["1h"], "allowed_lateness": "5s", "max_skew": "1s"},
        join={"grain": "1h", "label_horizon": "1h"}, baseline={"first": 100, "kind": kind},
    )  # fmt: skip
    events = []
    for hour in range(days * 24):
        count = night.get(hour, 60 if 6 <= hour % 24 < 22 else 6)
        for i in range(count):
            ts = START + hour * HOUR + i * HOUR // count
            event = {"id": f"{hour}-{i}", "model": "m", "ts": ts, "features": {}, "prediction": 1}
            events.append(("predictions", json.dumps(event).encode()))
    found: list[dict[str, Any]] = []
    replay(rules, events, lambda output: found.append(json.loads(output.value)) if output.role == "alerts" else None)
    return [
        (a["status"], a["findings"][0]["direction"] if "findings" in a else "", (a["ts"] - START) // HOUR)
        for a in found
        if (a["measure"], a["kind"]) == ("volume", "drift")
    ]


def test_a_night_as_busy_as_a_day_rings_by_the_hour_of_the_week_and_not_by_the_first_day() -> None:
    night = 17 * 24 + 2
    assert weekly("first", 18, {night: 60}) == []
    assert weekly("hour_of_week", 18, {night: 60})[0] == ("open", "up", night + 1)
    assert weekly("hour_of_week", 18, {}) == []


def test_a_day_as_quiet_as_a_night_rings_by_the_hour_of_the_week() -> None:
    noon = 17 * 24 + 12
    assert weekly("first", 18, {noon: 6}) == []
    assert weekly("hour_of_week", 18, {noon: 6})[0] == ("open", "down", noon + 1)


def test_traffic_that_grows_slowly_is_usual_with_a_rolling_baseline() -> None:
    grows = {hour: round(60 * 1.03 ** (hour / 24)) for hour in range(40 * 24)}
    assert weekly("rolling", 40, grows) == []
    assert weekly("first", 40, grows)[0][:2] == ("open", "up")
