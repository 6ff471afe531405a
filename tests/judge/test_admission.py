"""What input can name without end gets a bounded number of places: versions, segments, features."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from typing import Any

import pytest

from stream_monitor.replay import Replay, replay
from stream_monitor.stages import Output
from tests.streams import T0, quick_settings


def judged(events: list[dict[str, Any]], **sections: Any) -> list[dict[str, Any]]:
    """Final traffic metrics of a replay."""
    found: list[dict[str, Any]] = []

    def publish(output: Output) -> None:
        if output.role == "metrics":
            found.append(json.loads(output.value))

    rules = quick_settings(**sections)
    replay(rules, [("predictions", json.dumps(event).encode()) for event in events], publish)
    return [m for m in found if m["kind"] == "traffic" and m["final"]]


def event(i: int, **fields: Any) -> dict[str, Any]:
    return {"id": f"e{i}", "ts": T0 + i * 10, "features": {"x": i % 7}, "prediction": True} | fields


def test_versions_above_the_cap_are_counted_as_others() -> None:
    events = [event(i, version=f"v{i % 40}") for i in range(2_000)]
    metrics = judged(events, caps={"versions": 4})
    versions = {m["version"] for m in metrics}
    assert len(versions - {"__other__"}) == 4 and "__other__" in versions
    assert sum(m["count"] for m in metrics) == 2_000


def test_a_version_that_has_a_place_keeps_it() -> None:
    events = [event(i, version="old" if i < 1_000 else f"v{i % 40}") for i in range(2_000)]
    metrics = judged(events, caps={"versions": 1})
    by_version: dict[str, int] = defaultdict(int)
    for metric in metrics:
        by_version[metric["version"]] += metric["count"]
    assert by_version == {"old": 1_000, "__other__": 1_000}


@pytest.mark.parametrize("value", [1.5, "a", [1, 2], None])
def test_feature_names_without_end_are_left_out_and_the_busiest_are_kept(value: Any) -> None:
    rng = random.Random(1)
    events = [event(i, features={"x": i % 7, f"f{rng.randrange(10**6)}": value}) for i in range(3_000)]
    metrics = judged(events, caps={"measures": 20})
    measures = {name for m in metrics for name in m["measures"]}
    assert "x" in measures and "prediction" in measures
    assert len(measures) <= 20 + 1  # volume is made by the judge itself
    assert sum(m["count"] for m in metrics) == 3_000


def test_segments_above_the_cap_are_left_out_and_all_is_counted() -> None:
    events = [event(i, tags={"city": f"c{i % 300}"}) for i in range(3_000)]
    metrics = judged(events, caps={"segments": 10}, segments=[["city"]])
    assert len({m["segment"] for m in metrics}) == 10
    assert sum(m["count"] for m in metrics if m["segment"] == "all") == 3_000


def test_a_model_is_not_forgotten_while_what_came_after_a_long_silence_waits() -> None:
    """Time jumps past `caps.model_ttl` with the very event that ends the silence."""
    events = [event(i) for i in range(100)] + [event(100, ts=T0 + 30 * 86_400_000)]
    assert sum(m["count"] for m in judged(events)) == 101


def test_a_model_that_was_forgotten_and_comes_again_gets_baselines_though_describe_still_knew_its_edges() -> None:
    """What is counted on edges that the judge has forgotten is left out; it asks for values, and they come."""
    run = Replay(quick_settings(caps={"model_ttl": "1m"}), lambda output: None)
    rng = random.Random(1)
    lines: list[tuple[str, bytes]] = []
    for i in range(4_000):
        for model in ("m", "other") if i < 400 or i >= 3_000 else ("other",):
            features = {"x": rng.gauss(0, 1)}
            body = {"id": f"{model}{i}", "model": model, "ts": T0 + 100 * i, "features": features, "prediction": 1}
            lines.append(("predictions", json.dumps(body).encode()))
    for at in range(0, len(lines), 50):
        run.feed(lines[at : at + 50])
    baseline = run.judge.seats[0].judge.models["m"].state.lanes["input"].baselines.shared["all", "x"]
    assert baseline.since > T0 + 300_000 and baseline.n >= 100 and baseline.left_out > 0
    assert baseline.events == sum(baseline.kinds.values())
