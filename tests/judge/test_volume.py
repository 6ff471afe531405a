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
