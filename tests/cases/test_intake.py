"""What is refused or joins nothing rings for the whole app, by minutes of broker time, exactly once, crashes or not."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from stream_monitor.describe.intake import IntakeCounts
from stream_monitor.describe.offset_metadata import OffsetMetadata
from stream_monitor.events.contracts import Alert, Health, Metric
from stream_monitor.profiles.records import PartitionTime, WatermarkRecord, read_record, write_record
from stream_monitor.stages.topology import partition_of
from tests.schedules import Cluster
from tests.streams import quick_settings

START = 1_800_000_000_000
"""Broker time at which the in-memory cluster begins, the start of a minute."""
PARTITIONS = 2
Send = Callable[[int, random.Random], list[tuple[str, str, dict[str, Any]]]]


def event(i: int, ts: int, **more: Any) -> dict[str, Any]:
    return {"id": f"e{i}", "ts": ts, "model": "m", "features": {"x": 1}, "prediction": True, **more}


class App:
    """A cluster that is fed step by step of broker time."""

    def __init__(self, seed: int = 1, crashes: float = 0.0) -> None:
        self.cluster = Cluster(quick_settings(commit={"snapshot_interval": "5s"}), PARTITIONS, seed, crashes)
        self.rng, self.sent = random.Random(seed), 0
        for role in ("describe", "judge"):
            self.cluster.start(role)

    def run(self, steps: int, send: Send, step_ms: int = 1_000) -> None:
        for _ in range(steps):
            for role, key, body in send(self.cluster.now, self.rng):
                number = partition_of(key, PARTITIONS)
                self.cluster.broker.append(role, json.dumps(body).encode(), key.encode(), number)
            self.cluster.now += step_ms
            for role in ("describe", "judge"):
                self.cluster.tick(role, 0)
                self.cluster.tick(role, 0)
                loop = self.cluster.loops[role][0]
                if loop.owned and not self.cluster.crashes:
                    loop.commit()

    def of(self, role: str, kind: type[Any]) -> list[Any]:
        return [msgspec.json.decode(value, type=kind) for _, value in self.cluster.broker.values(role)]

    def alerts(self) -> list[Alert]:
        return [alert for alert in self.of("alerts", Alert) if alert.model == "__all__" and alert.kind == "quality"]

    def counter(self) -> int:
        self.sent += 1
        return self.sent


def in_seconds(app: App, count: int) -> Send:
    def send(now: int, rng: random.Random) -> list[tuple[str, str, dict[str, Any]]]:
        numbers = [app.counter() for _ in range(count)]
        return [("predictions", f"e{i}", event(i, now // 1000)) for i in numbers]

    return send


def good(app: App, count: int) -> Send:
    def send(now: int, rng: random.Random) -> list[tuple[str, str, dict[str, Any]]]:
        numbers = [app.counter() for _ in range(count)]
        return [("predictions", f"e{i}", event(i, now)) for i in numbers]

    return send


def nothing(now: int, rng: random.Random) -> list[tuple[str, str, dict[str, Any]]]:
    return []


def test_3000_refused_events_and_nothing_else_ring_within_a_minute() -> None:
    app = App()
    app.run(3, in_seconds(app, 1_000))
    app.run(62, nothing)
    (alert,) = app.alerts()
    assert (alert.status, alert.measure, alert.severity) == ("open", "predictions.refused", "critical")
    assert alert.reason.startswith("all models: 3,000 of 3,000 predictions (100 %) were refused, since ")
    assert "most of them (3,000) as before_2000" in alert.reason and "stream-monitor check" in alert.reason
    assert alert.ts <= START + 120_000
    (metric,) = [m for m in app.of("metrics", Metric) if m.model == "__all__"]
    assert (metric.kind, metric.version, metric.count) == ("intake", "predictions", 3_000)
    summary = metric.measures["predictions.refused"]
    assert (summary.n, summary.sum, summary.top) == (3_000, 3_000, {"before_2000": 3_000})
    health = app.of("health", Health)[-1]
    assert health.app and [one.id for one in health.open] == [alert.id]


def test_it_is_told_once_and_resolves_when_the_share_is_back() -> None:
    app = App()
    app.run(150, in_seconds(app, 5))
    app.run(200, good(app, 5))
    assert [alert.status for alert in app.alerts()] == ["open", "resolved"]
    assert app.alerts()[-1].reason == "all models: the share of predictions that were refused is usual again"


def test_few_events_are_judged_once_there_are_fifty() -> None:
    app = App()
    settings_min = 20  # `min_count` of the settings of the tests
    app.run(59, lambda now, rng: in_seconds(app, 1)(now, rng) if app.sent < settings_min - 1 else [])
    app.run(120, nothing)
    assert app.alerts() == []
    app.run(1, in_seconds(app, 1))
    app.run(61, nothing)
    assert [alert.status for alert in app.alerts()] == ["open"]


@pytest.mark.parametrize("share", [0.0, 0.05])
def test_few_refused_ones_are_no_alert(share: float) -> None:
    app = App()

    def send(now: int, rng: random.Random) -> list[tuple[str, str, dict[str, Any]]]:
        return (in_seconds if rng.random() < share else good)(app, 1)(now, rng) * 1 + good(app, 9)(now, rng)

    app.run(200, send)
    assert app.alerts() == []
    assert bool([m for m in app.of("metrics", Metric) if m.kind == "intake"]) == bool(share)


@pytest.mark.parametrize("seed", range(3))
def test_crashes_change_neither_counts_nor_alerts(seed: int) -> None:
    """Counts travel with the offsets: a worker that comes back goes on with them."""
    app = App(seed, crashes=0.05)
    app.run(100, in_seconds(app, 20))
    app.cluster.crashes = 0.0
    app.run(70, nothing)
    assert [alert.status for alert in app.alerts()] == ["open"]
    judge = app.cluster.loops["judge"][0].stage
    latest = judge.assignments[0].judge.state.intake.latest  # type: ignore[attr-defined]
    assert sum(report.read for report in latest.values()) == 2_000
    assert sum(sum(report.refused.values()) for report in latest.values()) == 2_000
    metrics = [m for m in app.of("metrics", Metric) if m.kind == "intake"]
    assert sum(m.count for m in metrics) <= 2_000
    assert len({(m.window_start, m.window_end) for m in metrics}) == len(metrics)


def labelled(app: App, joined: float) -> Send:
    """Twenty predictions a second, each with a label a second later; a share of labels has an id of its own."""
    before: list[int] = []

    def send(now: int, rng: random.Random) -> list[tuple[str, str, dict[str, Any]]]:
        numbers = [app.counter() for _ in range(20)]
        sent = [("predictions", f"e{i}", event(i, now)) for i in numbers]
        for i in before:
            key = f"e{i}" if rng.random() < joined else f"x{i}"
            sent.append(("labels", key, {"id": key, "ts": now, "label": True}))
        before[:] = numbers
        return sent

    return send


def test_labels_that_join_nothing_ring_and_resolve() -> None:
    app = App()
    app.run(200, labelled(app, 0.0))
    app.run(250, labelled(app, 1.0))
    assert [(a.status, a.measure) for a in app.alerts()] == [
        ("open", "labels.unjoined"),
        ("resolved", "labels.unjoined"),
    ]
    assert "labels (100 %) joined no prediction" in app.alerts()[0].reason


def test_labels_that_come_before_their_predictions_are_no_loss() -> None:
    app = App()

    def send(now: int, rng: random.Random) -> list[tuple[str, str, dict[str, Any]]]:
        numbers = [app.counter() for _ in range(20)]
        sent: list[tuple[str, str, dict[str, Any]]]
        sent = [("labels", f"e{i + 60}", {"id": f"e{i + 60}", "ts": now, "label": True}) for i in numbers]
        return sent + [("predictions", f"e{i}", event(i, now)) for i in numbers]

    app.run(250, send)
    assert app.alerts() == []
    judge = app.cluster.loops["judge"][0].stage
    latest = judge.assignments[0].judge.state.intake.latest  # type: ignore[attr-defined]
    labels = [report for (role, _), report in latest.items() if role == "labels"]
    assert sum(r.items for r in labels) == 5_000
    assert sum(r.joined for r in labels) == 5_000 - 60


def test_a_label_of_two_versions_joins_once() -> None:
    app = App()

    def send(now: int, rng: random.Random) -> list[tuple[str, str, dict[str, Any]]]:
        i = app.counter()
        label = ("labels", f"e{i}", {"id": f"e{i}", "ts": now, "label": True})
        sent = [("predictions", f"e{i}", event(i, now, version=version)) for version in "12"]
        return [label, *sent] if i % 2 else [*sent, label]

    app.run(50, send)
    judge = app.cluster.loops["judge"][0].stage
    latest = judge.assignments[0].judge.state.intake.latest  # type: ignore[attr-defined]
    labels = [report for (role, _), report in latest.items() if role == "labels"]
    assert [sum(r.items for r in labels), sum(r.joined for r in labels)] == [50, 50]


def test_watermark_records_of_a_former_version_are_read() -> None:
    record = WatermarkRecord(1, [PartitionTime(0, 1, 1, 1, 1, False, False)])
    former = msgspec.msgpack.decode(write_record(record))
    assert former.pop("intake") == []
    read = read_record(msgspec.msgpack.encode(former))
    assert isinstance(read, WatermarkRecord) and read == record


def test_offset_metadata_of_a_former_version_is_read_and_the_new_one_is_short() -> None:
    assert msgspec.json.decode('{"ts":1,"n":1}', type=OffsetMetadata).intake is None
    counts = IntakeCounts(10**12, {f"reason_number_{i}": 10**12 for i in range(16)}, 10**12, 10**12)
    assert len(msgspec.json.encode(OffsetMetadata(intake=counts))) < 800
