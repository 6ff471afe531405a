"""Features that are arrays or objects: they vanish, come, or change their type, and metrics show them with n 0."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from tests.judge.logs import Recorded, recorded
from tests.streams import T0, quick_settings

CHANGE, COUNT = 600, 1_200
SETTINGS = quick_settings(baseline={"first": 120}, segments=[["country"]])


def events(before: Any, after: Any) -> Iterator[tuple[str, bytes]]:
    """Ten predictions a second; the feature x changes at `CHANGE`. A text stands for a random value of its kind."""
    rng = random.Random(1)
    for i in range(COUNT):
        x = after if i >= CHANGE else before
        x = {"number": rng.gauss(0, 1), "text": rng.choice("ab"), "list": [1, 2], "object": {"a": 1}}.get(x)
        event = {"id": str(i), "ts": T0 + i * 100, "model": "m", "features": {"x": x}, "prediction": True}
        event["tags"] = {"country": rng.choice(["DE", "FR"])}
        yield "predictions", json.dumps(event).encode()


def later(sent: Iterator[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    """The same events after the others, under other ids."""
    for role, raw in sent:
        event = json.loads(raw)
        yield role, json.dumps(event | {"id": f"later{event['id']}", "ts": event["ts"] + COUNT * 100}).encode()


def found(run: Recorded) -> set[tuple[str, str, str]]:
    return {
        (a["measure"], f["detector"], f["direction"])
        for a in run.alerts
        if a["status"] == "open" and a["segment"] == "all" and a["measure"] == "x" and a["kind"] == "quality"
        for f in a["findings"]
    }


@pytest.mark.parametrize(
    ("before", "after", "detector", "direction"),
    [
        ("list", None, "missing", "up"),
        ("object", None, "missing", "up"),
        (None, "list", "missing", "down"),
        ("number", "list", "type_change", "up"),
        ("text", "list", "type_change", "up"),
        ("list", "number", "type_change", "up"),
        ("list", "text", "type_change", "up"),
    ],
)
def test_a_feature_of_arrays_that_changes_is_told(before: Any, after: Any, detector: str, direction: str) -> None:
    run = recorded(SETTINGS, events(before, after))
    assert ("x", detector, direction) in found(run)
    assert not [a for a in run.alerts if a["kind"] == "quality" and a["ts"] <= T0 + CHANGE * 100]


def test_the_change_is_told_in_words() -> None:
    run = recorded(SETTINGS, events("list", "text"))
    reasons = [a["reason"] for a in run.alerts if (a["measure"], a["segment"]) == ("x", "all")]
    assert "x has values of another type (0 % → " in reasons[0]


@pytest.mark.parametrize("kind", ["list", "object", "number"])
@pytest.mark.parametrize("baseline", ["first", "rolling"])
def test_metrics_show_a_feature_that_a_window_never_has(kind: str, baseline: str) -> None:
    recent = {"kind": "rolling", "span": "28s", "gap": "2s"} if baseline == "rolling" else {}
    run = recorded(quick_settings(baseline={"first": 120} | recent), events(kind, None))
    last = max((m for m in run.metrics if m["kind"] == "traffic" and m["final"]), key=lambda m: m["window_end"])
    summary = last["measures"]["x"]
    assert (summary["n"], summary["missing"]) == (0, last["count"])
    assert bool(found(run)) == (baseline == "first")


def test_arrays_that_come_back_resolve_their_alert() -> None:
    run = recorded(SETTINGS, [*events("list", None), *later(events("list", "list"))])
    about = [a["status"] for a in run.alerts if (a["measure"], a["segment"]) == ("x", "all")]
    assert about[0] == "open" and about[-1] == "resolved"


def test_arrays_that_go_on_are_quiet() -> None:
    assert recorded(SETTINGS, events("list", "list")).alerts == []
