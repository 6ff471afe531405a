"""Exactly once on a real Apache Kafka: workers are killed with -9 and the totals still equal the input."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from stream_monitor.config.settings import Settings, parse
from stream_monitor.kafka.tail import Tail
from stream_monitor.kafka.topics import create, inspect, ready
from stream_monitor.kafka.writer import EventWriter
from stream_monitor.service import run as app
from stream_monitor.service.registry import stages_of
from stream_monitor.stages.topology import Topology
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.kafka


def settings_for(kafka: str, **sections: Any) -> Settings:
    name = f"t{uuid.uuid4().hex[:10]}"
    base = {"app": name, "kafka": {"bootstrap_servers": kafka}, "http": {"enabled": False}}
    quick = {"commit": {"interval": "200ms", "snapshot_interval": "1s"}, "time": {"idle_after": "2s"}}
    return parse(base | {"topics": {"partitions": 4}} | quick | sections)


class Watcher:
    """A subscriber of the output topics: last metric of each key, alerts by id, status and revision."""

    def __init__(self, rules: Settings) -> None:
        self.tail = Tail(rules, ("metrics", "alerts", "dead-letters"))
        shortest = min(spec.size for spec in rules.time.windows)
        self.sizes = {"traffic": shortest, "performance": max(shortest, rules.join.grain)}
        self.metrics: dict[tuple[Any, ...], dict[str, Any]] = {}
        self.alerts: list[tuple[str, str, int]] = []
        self.dead = 0

    def read(self, timeout_s: float = 0.2) -> None:
        for role, value in self.tail.read(timeout_s):
            record = json.loads(value)
            if role == "metrics":
                names = ("model", "version", "segment", "window_start", "window_end", "kind", "part")
                self.metrics[tuple(record.get(name) for name in names)] = record
            elif role == "alerts":
                self.alerts.append((record["id"], record["status"], record["revision"]))
            else:
                self.dead += 1

    def total(self, *names: str) -> int:
        chosen = [m for m in self._shortest("traffic") if m["segment"] == "all"]
        return sum(m.get(name, 0) for m in chosen for name in names)

    def labelled(self) -> int:
        return sum(m.get("labelled", 0) for m in self._shortest("performance"))

    def _shortest(self, kind: str) -> list[dict[str, Any]]:
        """The metrics of the shortest windows of a kind; the longer ones hold the same events."""
        of_kind = [m for m in self.metrics.values() if m["kind"] == kind]
        return [m for m in of_kind if m["window_end"] - m["window_start"] == self.sizes[kind]]

    def until(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not done():
            assert time.monotonic() < deadline, f"{self.total('count')} counted, {self.dead} dead letters"
            self.read()


@contextmanager
def workers_of(rules: Settings, topology: Topology, count: int) -> Iterator[list[app.Worker]]:
    started = app.start_workers(rules, topology, stages_of(False), count)
    try:
        yield started
    finally:
        app.stop_workers(started)


def replace(rules: Settings, topology: Topology, workers: list[app.Worker], at: int) -> None:
    """kill -9 a worker, and start another in its place."""
    victim = workers[at]
    assert victim.process.pid is not None
    os.kill(victim.process.pid, signal.SIGKILL)
    victim.process.join()
    process = multiprocessing.get_context("spawn").Process(
        target=app._worker_main, args=(rules, topology, victim.role, victim.number)
    )
    process.start()
    workers[at] = app.Worker(victim.role, victim.number, process)


@pytest.mark.parametrize("count", [20_000, pytest.param(100_000, marks=pytest.mark.long)])
def test_a_run_without_settings_counts_what_a_plain_producer_sends(kafka: str, count: int) -> None:
    rules = settings_for(kafka)
    topology = ready(rules)
    watcher, feed = Watcher(rules), EventWriter(rules)
    with workers_of(rules, topology, 1):
        for i in range(count):
            event = {"id": f"{i}", "ts": int(time.time() * 1000), "features": {"x": i % 7}, "prediction": True}
            feed.send("predictions", f"{i}", json.dumps(event).encode())
        feed.flush()
        watcher.until(lambda: watcher.total("count") >= count)
    assert watcher.total("count") == count
    assert watcher.total("duplicates", "late", "after_idle") == 0


@pytest.mark.parametrize(("count", "kills"), [(60_000, 6), pytest.param(200_000, 10, marks=pytest.mark.long)])
def test_workers_killed_at_any_moment_lose_nothing_and_double_nothing(kafka: str, count: int, kills: int) -> None:
    rules = settings_for(kafka)
    topology = ready(rules)
    watcher, feed, rng = Watcher(rules), EventWriter(rules), random.Random(5)
    with workers_of(rules, topology, 2) as workers:
        for i in range(count):
            ts = int(time.time() * 1000)
            features = {"x": rng.gauss(0 if i < count / 2 else 3, 1), "c": rng.choice("abc")}
            event = {"id": f"{i}", "model": f"m{i % 3}", "ts": ts, "features": features, "prediction": i % 2 == 0}
            feed.send("predictions", f"{i}", json.dumps(event).encode())
            if i % 2:
                feed.send("labels", f"{i}", json.dumps({"id": f"{i}", "ts": ts, "label": i % 4 == 1}).encode())
            if i % (count // kills) == count // kills - 1:
                feed.flush()
                watcher.read(rng.random())
                replace(rules, topology, workers, rng.randrange(len(workers)))
        feed.flush()
        watcher.until(lambda: watcher.total("count", "late") >= count and watcher.labelled() >= count // 2)
        for _ in range(10):
            watcher.read()
    assert watcher.total("count", "late", "duplicates", "after_idle") == count
    assert watcher.total("duplicates") == 0
    assert watcher.labelled() == count // 2
    assert len(watcher.alerts) == len(set(watcher.alerts))


def test_a_restart_goes_on_from_snapshots_and_change_logs(kafka: str) -> None:
    rules = settings_for(kafka, baseline={"first": 500})
    topology = ready(rules)
    watcher, feed = Watcher(rules), EventWriter(rules)
    for start in (0, 3_000, 6_000):
        with workers_of(rules, topology, 1):
            for i in range(start, start + 3_000):
                event = {"id": f"{i}", "ts": int(time.time() * 1000), "features": {"x": i % 7}, "prediction": True}
                feed.send("predictions", f"{i}", json.dumps(event).encode())
                if i >= 3_000:  # the label of a prediction that was read before the restart
                    feed.send("labels", f"{i - 3_000}", json.dumps({"id": f"{i - 3_000}", "label": False}).encode())
            feed.flush()
            end = start + 3_000

            def reached(end: int = end) -> bool:
                return watcher.total("count") >= end and watcher.labelled() >= end - 3_000

            watcher.until(reached)
    assert (watcher.total("count"), watcher.labelled()) == (9_000, 6_000)


def test_topics_are_made_and_checked(kafka: str) -> None:
    rules = settings_for(kafka)
    assert f"{rules.app}.predictions" in create(rules)
    assert create(rules) == []
    report = inspect(rules)
    assert report.problems == []
    assert report.partitions["predictions"] == report.partitions["pending"] == 4
