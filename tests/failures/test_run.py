"""`stream-monitor run` as a whole: a second one on the host, workers that die, starts that cannot succeed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka.admin import AdminClient

from stream_monitor.config.settings import Settings
from stream_monitor.kafka.topics import ready
from stream_monitor.verify.run import verify
from tests.failures.fleet import Traffic, fleet_of, settings_for
from tests.failures.worker import Fault
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.kafka


@dataclass
class Command:
    """A `run` in a process of its own."""

    process: subprocess.Popen[bytes]
    log: Path

    def records(self) -> list[dict[str, Any]]:
        """Its log so far; what is no record is no JSON."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.endswith("}")]

    def said(self) -> str:
        return "\n".join(record["message"] for record in self.records())

    def until(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not done():
            assert time.monotonic() < deadline and self.process.poll() is None, self.log.read_text()[-3_000:]
            time.sleep(0.1)

    def until_said(self, text: str) -> None:
        self.until(lambda: text in self.said())


@contextmanager
def running(rules: Settings, folder: Path, name: str, *args: str, **http: Any) -> Iterator[Command]:
    """`run` with these settings; the endpoints are on, unlike in a fleet."""
    file, log = folder / f"{name}.yaml", folder / f"{name}.log"
    sections = rules.model_dump(mode="json", exclude_unset=True) | {"http": http}
    file.write_text(yaml.safe_dump(sections))
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "stream_monitor", "run", "-c", str(file), *args], stdout=output, stderr=output
        )
    try:
        yield Command(process, log)
    finally:
        process.terminate()
        try:
            process.wait(60)
        finally:
            process.kill()


def settled(rules: Settings, traffic: Traffic) -> bool:
    report = verify(rules, settled=True)
    return sum(report.events.values()) == traffic.sent and not report.unread and not report.problems


def members(bootstrap: str, group: str) -> int:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    return len(admin.describe_consumer_groups([group])[group].result().members)


def test_a_second_run_on_the_host_takes_the_next_ports_and_its_share(kafka: str, tmp_path: Path) -> None:
    """The sessions of this broker last 45 s: a member that had not left would hold its partitions longer than that."""
    rules = settings_for(kafka)
    ready(rules)
    traffic = Traffic(rules, 51)
    with running(rules, tmp_path, "first") as first:
        first.until_said("ready")
        with running(rules, tmp_path, "second") as second:
            second.until_said("ready")
            traffic.send(500)
            second.until(lambda: settled(rules, traffic))
            assert "is in use, so http.port is" in second.said()
    assert (first.process.returncode, second.process.returncode) == (0, 0)


def test_a_second_run_whose_port_is_named_joins_nothing(kafka: str, tmp_path: Path) -> None:
    rules = settings_for(kafka)
    ready(rules)
    traffic = Traffic(rules, 52)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with running(rules, tmp_path, "first") as first:
            first.until_said("ready")
            with running(rules, tmp_path, "second", port=port) as second:
                assert second.process.wait(PATIENCE_S) == 2
            assert f"http.port: cannot listen on 127.0.0.1:{port}" in second.log.read_text()
            traffic.send(300)
            first.until(lambda: settled(rules, traffic))
            assert "gave up" not in first.said(), "the group never knew of the second"


def test_an_invalid_limit_is_refused_before_anything_is_joined(kafka: str, tmp_path: Path) -> None:
    rules = settings_for(kafka, detection={"limits": ["latency_ms.p99 over 250"]})
    with running(rules, tmp_path, "limits") as command:
        assert command.process.wait(PATIENCE_S) == 2
    assert "latency_ms.p99 over 250" in command.log.read_text()
    assert rules.topic("predictions") not in AdminClient({"bootstrap.servers": kafka}).list_topics(timeout=30).topics


@pytest.mark.parametrize("method", ["assign", "process"])
def test_a_worker_that_ends_with_an_error_has_left_its_group(kafka: str, tmp_path: Path, method: str) -> None:
    """Long before its session ends, which would take 45 s here; the others have its partitions then."""
    rules = settings_for(kafka)
    with fleet_of(rules, tmp_path) as fleet:
        traffic = Traffic(rules, 53)
        fleet.heal()
        (living,) = fleet.running("describe")
        while "assigned" not in living.said():
            time.sleep(0.1)
        broken = fleet.start("describe", Fault(broken=method))
        deadline = time.monotonic() + PATIENCE_S
        while broken.running() and time.monotonic() < deadline:
            traffic.send(50)  # until the broken one has got some
        assert broken.ended() == 1 and "the fault of this test" in broken.said()
        assert '"running"' in broken.said(), "it never joined its group"
        others = len(fleet.running("describe"))  # a slow machine may have fenced the other one, which then ended, too
        assert members(kafka, f"{rules.app}.describe") <= others


def test_a_worker_that_is_killed_is_started_again_and_everything_is_counted_once(kafka: str, tmp_path: Path) -> None:
    rules = settings_for(kafka)
    ready(rules)
    traffic = Traffic(rules, 54)
    with running(rules, tmp_path, "run") as command:
        command.until(lambda: command.said().count("ready") >= 2)
        traffic.send(500)
        judge = next(r for r in command.records() if r["message"] == "running" and r["role"] == "judge")
        os.kill(judge["pid"], signal.SIGKILL)
        command.until_said("was killed by SIGKILL")
        assert f"worker judge-0 (process {judge['pid']})" in command.said()
        traffic.send(500)
        command.until(lambda: settled(rules, traffic))
    assert command.process.returncode == 0


def test_a_worker_that_cannot_go_on_ends_the_command_with_its_reason(kafka: str, tmp_path: Path) -> None:
    rules = settings_for(kafka, dead_letters={"limit": 0.01, "burst": 1, "above": "stop"})
    ready(rules)
    traffic = Traffic(rules, 55)
    for at in range(100):
        traffic.feed.send("predictions", f"{at}", b"{")
    traffic.feed.flush()
    with running(rules, tmp_path, "run", "--workers", "2") as command:
        assert command.process.wait(PATIENCE_S) == 1
    said = command.said()
    assert "dead_letters.above" in said or "dead_letters.limit" in said
    assert "it cannot go on, and has said why" in said and "started again" not in said


def test_workers_end_when_the_command_that_watches_them_is_killed(kafka: str, tmp_path: Path) -> None:
    rules = settings_for(kafka)
    ready(rules)
    with running(rules, tmp_path, "run") as command:
        command.until(lambda: command.said().count("ready") >= 2)
        command.process.kill()
        command.process.wait()
        deadline = time.monotonic() + PATIENCE_S
        while command.said().count("stopped") < 2:
            assert time.monotonic() < deadline, command.said()
            time.sleep(0.1)
    assert members(kafka, f"{rules.app}.describe") == 0
