"""The same events on a real Apache Kafka through 1 partition and 8, one worker and two: what a replay finds."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stream_monitor.baseline.build import build
from stream_monitor.baseline.control_records import pin
from stream_monitor.baselines.pinned import PinnedBaseline, read_file, write_file
from stream_monitor.cli.main import app as command_line
from stream_monitor.config.settings import Settings
from stream_monitor.errors import StreamMonitorError
from stream_monitor.file_replay import Replay
from stream_monitor.kafka.tail import Tail, tail
from stream_monitor.kafka.topics import inspect, ready
from stream_monitor.kafka.writer import EventWriter
from stream_monitor.profiles.bin_catalog import EdgesRecord, read_notice
from stream_monitor.profiles.names import ALL_MODELS
from stream_monitor.profiles.records import ResetRecord
from stream_monitor.stages.contract import Output
from tests.kafka.test_exactly_once import settings_for, workers_of
from tests.patience import PATIENCE_S
from tests.schedules import rounded
from tests.streams import T0, Event, quick_settings, shop

pytestmark = pytest.mark.kafka
CLOSING = "closing"
"""A model whose one event in each partition lies so late that all windows of the others are final."""


def events_of_a_day(partitions: int) -> list[Event]:
    closing = []
    for i in range(40 * partitions):  # so many ids that each partition gets one
        ts = T0 + 86_400_000
        body = {"id": f"c{i}", "model": CLOSING, "ts": ts, "features": {}, "prediction": 1}
        closing.append(Event("predictions", f"c{i}", ts, json.dumps(body).encode()))
    return [*shop(9, 3_000, 3), *closing]


class Found:
    """Final records of the last metrics, and alerts, without those of the closing model.

    What is said of all models is left out, too: it counts by the broker's minutes, of which a slow machine needs more.
    """

    def __init__(self) -> None:
        self.metrics: dict[tuple[Any, ...], Any] = {}
        self.alerts: dict[tuple[Any, ...], Any] = {}

    def add(self, role: str, value: bytes) -> None:
        record = json.loads(value)
        if record.get("model") in (CLOSING, ALL_MODELS):
            return
        if role == "metrics" and record["final"]:
            names = ("model", "version", "segment", "window_start", "window_end", "kind")
            key = tuple(record[name] for name in names)
            assert key not in self.metrics or record["revision"] > self.metrics[key]["revision"], f"twice: {key}"
            self.metrics[key] = rounded(record)
        elif role == "alerts":
            key = record["id"], record["status"], record["revision"]
            assert key not in self.alerts, f"twice: {key}"
            self.alerts[key] = rounded(record)


def by_replay(
    events: list[Event], rules: Settings, pinned: list[PinnedBaseline], resets: Sequence[ResetRecord] = ()
) -> Found:
    found = Found()

    def publish(output: Output) -> None:
        if output.role in ("metrics", "alerts"):
            found.add(output.role, output.value)

    run = Replay(rules, publish, pinned)
    for reset in resets:
        run.reset(reset)
    run.feed((event.role, event.raw) for event in events)
    run.finish()
    return found


def read_until(rules: Settings, done: Callable[[Found], bool]) -> Found:
    """What is published, up to where it is `done`; an AssertionError if it never is."""
    found, tail, deadline = Found(), Tail(rules, ("metrics", "alerts")), time.monotonic() + PATIENCE_S
    while not done(found):
        if time.monotonic() > deadline:
            counts = f"{len(found.metrics)} final metrics, {len(found.alerts)} records of alerts"
            raise AssertionError(f"not done after {PATIENCE_S:.0f} s: {counts}")
        for role, value in tail.read(0.2):
            found.add(role, value)
    end = time.monotonic() + 1.0
    while time.monotonic() < end:  # what should not be there would come now
        for role, value in tail.read(0.2):
            found.add(role, value)
    tail.close()
    return found


def rules_for(kafka: str, partitions: int) -> Settings:
    quick = quick_settings(segments=[["country"]])
    return settings_for(
        kafka,
        topics={"partitions": partitions},
        **{name: getattr(quick, name).model_dump(mode="json") for name in ("join", "baseline", "detection")},
        time=quick.time.model_dump(mode="json") | {"idle_after": "20s"},
        segments=[["country"]],
    )


@pytest.fixture(scope="module", params=["first-N", "pinned"])
def pinned(request: pytest.FixtureRequest) -> Iterator[list[PinnedBaseline]]:
    rules = quick_settings(segments=[["country"]])
    events = ((event.role, event.raw) for event in shop(4, 1_000, 3))
    yield build(rules, events, "calm", None).baselines if request.param == "pinned" else []


@pytest.mark.parametrize(("partitions", "workers"), [(1, 1), (8, 1), (8, 2)])
def test_live_finds_what_a_replay_finds(
    kafka: str, partitions: int, workers: int, pinned: list[PinnedBaseline]
) -> None:
    rules, events = rules_for(kafka, partitions), events_of_a_day(partitions)
    topology = ready(rules)
    expected = by_replay(events, rules, pinned)
    assert expected.alerts and len(expected.metrics) > 100
    if pinned:
        pin(rules, pinned)
    feed = EventWriter(rules)
    for event in events:
        feed.send(event.role, event.id, event.raw)
    feed.flush()
    with workers_of(rules, topology, workers):
        found = read_until(rules, lambda f: f.metrics == expected.metrics and f.alerts == expected.alerts)
    assert found.metrics == expected.metrics
    assert found.alerts == expected.alerts


def test_baselines_are_reset_from_the_command_line_and_live_finds_what_a_replay_finds(
    kafka: str, tmp_path: Path
) -> None:
    """Half of the events; a reset from a time on that none of them has reached; the other half."""
    rules, events, at = rules_for(kafka, 2), events_of_a_day(2), T0 + 200_000
    config, run = tmp_path / "settings.yaml", CliRunner().invoke
    config.write_text(rules.model_dump_json())
    topology, feed = ready(rules), EventWriter(rules)
    resets = [ResetRecord("m0", since=at), ResetRecord("m1", "amount", since=at)]
    expected = by_replay(events, rules, [], resets)
    assert any("was reset" in alert.get("reason", "") for alert in expected.alerts.values())

    def told() -> set[tuple[str, str, int | None]]:
        notices = [read_notice(raw) for raw in tail(rules, "baselines", follow=False)]
        return {(n.model, n.measure, n.until) for n in notices if isinstance(n, EdgesRecord) and n.borders is not None}

    def wait_for(*wanted: tuple[str, str, int | None]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not told().issuperset(wanted):
            assert time.monotonic() < deadline, told()
            time.sleep(0.2)

    with workers_of(rules, topology, 1):
        for event in (event for event in events if event.ts < at - 10_000):
            feed.send(event.role, event.id, event.raw)
        feed.flush()
        wait_for(("m0", "amount", None), ("m1", "amount", None), ("m0", "n", None))
        since = datetime.fromtimestamp(at / 1_000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        whole = run(
            command_line, ["baseline", "reset", "m0", "--from", since, "-c", str(config)], env={"COLUMNS": "300"}
        )
        assert whole.exit_code == 0 and "m0, all versions, all segments" in whole.output, whole.output
        one = run(command_line, ["baseline", "reset", "m1", "--measure", "amount", "--from", since, "-c", str(config)])
        assert one.exit_code == 0 and "reset: amount" in one.output, one.output
        with pytest.raises(StreamMonitorError, match="no baseline of model m1, measure amuont"):
            run(
                command_line,
                ["baseline", "reset", "m1", "--measure", "amuont", "-c", str(config)],
                catch_exceptions=False,
            )
        wait_for(("m0", "amount", at), ("m1", "amount", at), ("m0", "n", at))
    with workers_of(
        rules, topology, 1
    ):  # new ones: until describe hears of edges it sends values, which is right anyway
        for event in (event for event in events if event.ts >= at - 10_000):
            feed.send(event.role, event.id, event.raw)
        feed.flush()
        found = read_until(rules, lambda f: f.metrics == expected.metrics and f.alerts == expected.alerts)
    assert found.alerts == expected.alerts
    assert found.metrics == expected.metrics


def test_a_replay_of_the_topics_finds_what_a_replay_of_files_finds(kafka: str, tmp_path: Path) -> None:
    """Over eight partitions; the clock of the topics is that of the broker, and the app itself never ran."""
    rules, events = rules_for(kafka, 8), events_of_a_day(8)
    config, out = tmp_path / "settings.yaml", tmp_path / "out.ndjson"
    config.write_text(rules.model_dump_json())
    ready(rules)
    feed = EventWriter(rules)
    for event in events:
        feed.send(event.role, event.id, event.raw)
    feed.flush()
    run = CliRunner().invoke
    done = run(command_line, ["replay", "--topics", "--publish", "--out", str(out), "-c", str(config)])
    assert done.exit_code == 0, done.output
    found, published = Found(), Found()
    for line in out.read_text().splitlines():
        record = json.loads(line)
        found.add(record["topic"], json.dumps(record["value"]).encode())
    expected = by_replay(events, rules, [])
    assert (found.metrics, found.alerts) == (expected.metrics, expected.alerts)
    names = {role: f"{rules.app}.replay.{role}" for role in ("metrics", "alerts")}
    for role, name in names.items():
        there = rules.model_copy(update={"topics": rules.topics.model_copy(update={"names": {role: name}})})
        for value in tail(there, role, follow=False):
            published.add(role, value)
    assert (published.metrics, published.alerts) == (expected.metrics, expected.alerts)
    later = run(command_line, ["replay", "--topics", "--from", "2100-01-01", "-c", str(config)])
    assert later.exit_code == 0 and "0 events" in later.output
    assert inspect(rules).partitions["alerts"] == 8
    assert list(tail(rules, "alerts", follow=False)) == []


def test_a_baseline_is_built_pinned_and_shown_from_the_command_line(kafka: str, tmp_path: Path) -> None:
    rules = rules_for(kafka, 2)
    config = tmp_path / "settings.yaml"
    config.write_text(rules.model_dump_json())
    source = tmp_path / "calm.ndjson"
    source.write_bytes(b"".join(event.raw + b"\n" for event in shop(4, 1_000, 1) if event.role == "predictions"))
    run = CliRunner().invoke
    assert run(command_line, ["baseline", "show", "-c", str(config)]).exit_code != 0
    pinned = run(command_line, ["baseline", "build", "--from", str(source), "-c", str(config)])
    assert pinned.exit_code == 0, pinned.output
    feed = EventWriter(rules)
    for event in shop(9, 200, 1):
        feed.send(event.role, event.id, event.raw)
    feed.flush()
    with workers_of(rules, ready(rules), 1):
        deadline = time.monotonic() + PATIENCE_S
        while (shown := run(command_line, ["baseline", "show", "-c", str(config)])).exit_code != 0:
            assert time.monotonic() < deadline, shown.output
    assert "pinned-calm" in shown.stdout and "amount" in shown.stdout
    file = tmp_path / "calm.json"
    write_file(file, build(rules, ((e.role, e.raw) for e in shop(4, 1_000, 1)), "again", None).baselines)
    assert run(command_line, ["baseline", "pin", str(file), "-c", str(config)]).exit_code == 0
    mixed = run(command_line, ["baseline", "build", "--topics", "--from", str(source), "-c", str(config)])
    assert mixed.exit_code == 2


def test_a_baseline_of_the_topics_is_that_of_a_file_of_the_same_events(kafka: str, tmp_path: Path) -> None:
    rules, events = rules_for(kafka, 8), list(shop(4, 1_000, 1))
    config, out = tmp_path / "settings.yaml", tmp_path / "topics.json"
    config.write_text(rules.model_dump_json())
    ready(rules)
    feed = EventWriter(rules)
    for event in events:
        feed.send(event.role, event.id, event.raw)
    feed.flush()
    command = ["baseline", "build", "--topics", "--name", "same", "--out", str(out), "-c", str(config)]
    done = CliRunner().invoke(command_line, command)
    assert done.exit_code == 0, done.output
    of_topics, of_files = read_file(out), build(rules, ((e.role, e.raw) for e in events), "same", None).baselines
    assert [b.model for b in of_topics] == [b.model for b in of_files]
    for mine, expected in zip(of_topics, of_files, strict=True):
        assert [(m.timeline, m.segment, m.measure) for m in mine.measures] == [
            (m.timeline, m.segment, m.measure) for m in expected.measures
        ]
        for one, other in zip(mine.measures, expected.measures, strict=True):
            assert one.baseline.n == other.baseline.n and one.baseline.categories == other.baseline.categories
            assert (one.borders is None) == (other.borders is None)
            if one.borders is not None and other.borders is not None:
                assert one.borders.tolist() == other.borders.tolist()
    none = CliRunner().invoke(command_line, [*command, "--since", "2100-01-01"])
    assert none.exit_code != 0 and "no event could be used" in str(none.exception)
