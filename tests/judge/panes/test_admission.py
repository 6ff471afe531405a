"""What input can name without end gets a bounded number of places: versions, segments, features."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from typing import Any

import numpy as np
import pytest

from stream_monitor.file_replay import Replay, replay
from stream_monitor.judge.timelines.state import TimelineState
from stream_monitor.profiles.bins import DIGEST, BinEdges
from stream_monitor.stages.contract import Output
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
    run, lines = Replay(quick_settings(caps={"model_ttl": "1m"}), lambda output: None), two_lives(0.0)
    for at in range(0, len(lines), 50):
        run.feed(lines[at : at + 50])
    baseline = run.judge.assignments[0].judge.models["m"].state.timelines["input"].baselines.shared["all", "x"]
    assert baseline.since > T0 + 300_000 and baseline.n >= 100 and baseline.left_out > 0
    assert baseline.events == sum(baseline.kinds.values())


LIVES = 400, 3_000, 4_000
"""Events of `other` after which the model goes, comes again, and the stream is over."""


def two_lives(second: float) -> list[tuple[str, bytes]]:
    """A model whose x is about 0, goes for longer than `model_ttl`, and comes again with x about `second`."""
    rng, (gone, back, end) = random.Random(1), LIVES
    lines: list[tuple[str, bytes]] = []
    for i in range(end):
        for model in ("m", "other") if i < gone or i >= back else ("other",):
            features = {"x": rng.gauss(second if i >= back and model == "m" else 0, 1)}
            body = {"id": f"{model}{i}", "model": model, "ts": T0 + 100 * i, "features": features, "prediction": 1}
            lines.append(("predictions", json.dumps(body).encode()))
    return lines


class HalfDeaf(Replay):
    """Describe hears that there are no edges, but not of new ones: it counts on those of the first life."""

    first: BinEdges | None = None

    def __init__(self, **sections: Any) -> None:
        self.metrics: list[dict[str, Any]] = []
        super().__init__(quick_settings(caps={"model_ttl": "1m"}, **sections), self._keep)

    def _keep(self, output: Output) -> None:
        if output.role == "metrics":
            self.metrics.append(json.loads(output.value))
        if output.role == "baselines":
            known = self.catalog.of("m", "input")
            edges = known.edges.get("x")
            if edges is not None and self.first is None:
                self.first = edges
            if edges is not None and self.first is not None and edges.version != self.first.version:
                known.add_edges("x", self.first)

    def timeline(self) -> TimelineState:
        return self.judge.assignments[0].judge.models["m"].state.timelines["input"]


def test_edges_of_a_model_that_comes_again_are_not_taken_for_those_of_before() -> None:
    run, lines = HalfDeaf(), two_lives(2.0)
    for at in range(0, len(lines), 50):
        run.feed(lines[at : at + 50])
    first, now = run.first, run.timeline().edges["x"]
    assert first is not None and run.timeline().baselines.shared["all", "x"].mean == pytest.approx(2, abs=0.3)
    assert now.version != first.version and now.ordinal == first.ordinal == 1
    last = [m for m in run.metrics if m["model"] == "m" and m["final"]][-1]["measures"]["x"]
    assert last["n"] > 50 and last["mean"] == pytest.approx(2, abs=0.4)
    assert last["approximate"], "its counts lie on edges that nobody knows any more, and are left out"


def test_a_snapshot_of_before_counts_on() -> None:
    """Versions were the ordinal alone: the next edges of a measure come after them, and are not any of before."""
    borders = np.array([0.0, 1.0])
    old, new = BinEdges(3, borders), BinEdges.of(borders, 4)
    assert old.ordinal == 3 and new.ordinal == 4 and new.version > old.version
    assert BinEdges.of(borders).version == BinEdges.of(borders.copy()).version != BinEdges.of(borders + 1).version
    assert DIGEST <= BinEdges.of(borders).version < 2 * DIGEST


def resolved(batch: int) -> list[dict[str, Any]]:
    """Alerts of a model whose x moves at its twentieth second and which stops at its fortieth, oldest first."""
    alerts: list[dict[str, Any]] = []

    def publish(output: Output) -> None:
        if output.role == "alerts":
            alerts.append(json.loads(output.value))

    rng, lines = random.Random(1), list[tuple[str, bytes]]()
    for i in range(2_000):
        for model in ("m", "other") if i < 400 else ("other",):
            features = {"x": rng.gauss(20 if i >= 200 and model == "m" else 0, 1)}
            body = {"id": f"{model}{i}", "model": model, "ts": T0 + 100 * i, "features": features, "prediction": 1}
            lines.append(("predictions", json.dumps(body).encode()))
    run = Replay(quick_settings(caps={"model_ttl": "1m"}), publish)
    for at in range(0, len(lines), batch):
        run.feed(lines[at : at + batch])
    run.finish()
    return [alert for alert in alerts if alert["model"] == "m" and alert["status"] != "outcome"]


def test_the_alerts_of_a_model_that_is_forgotten_end_with_a_record_that_says_so() -> None:
    alerts = resolved(50)
    last = {alert["id"]: alert for alert in alerts}
    assert all(alert["status"] == "resolved" for alert in last.values())
    (x,) = [alert for alert in last.values() if alert["measure"] == "x" and "forgotten" in alert["reason"]]
    assert x["ts"] == T0 + 39_000 + 60_000, "the last pane had begun at second 39, and model_ttl is a minute"
    assert x["reason"] == "m 0: x is not watched any more: nothing of the model came for 1m, and it is forgotten"
    assert any(alert["status"] == "open" and alert["id"] == x["id"] for alert in alerts) and x["opened_ts"] < x["ts"]
    assert len({(alert["id"], alert["status"], alert["revision"]) for alert in alerts}) == len(alerts)


def test_when_a_model_is_forgotten_does_not_show_in_how_its_alerts_end() -> None:
    assert resolved(50) == resolved(23)
