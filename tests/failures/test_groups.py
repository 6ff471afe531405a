"""Workers that hang, are too slow, or come and go (failure tests 2, 3, 5 and 10)."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stream_monitor.cli.main import app as command_line
from stream_monitor.config.settings import ROLES_IN
from stream_monitor.kafka.local import LocalKafka
from stream_monitor.kafka.topic_reader import TopicReader
from stream_monitor.verify.run import verify
from tests.failures.fleet import Fleet, Traffic, fleet_of, settings_for, settle
from tests.failures.worker import STEPS, Fault
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.kafka
ROLES = ("describe", "judge")


@pytest.mark.parametrize("role", ["describe", pytest.param("judge", marks=pytest.mark.long)])
def test_a_frozen_worker_that_wakes_up_after_its_successor_adds_nothing(fleet: Fleet, role: str) -> None:
    """Its commit is refused, and its output stays invisible: the group has a new generation."""
    traffic = Traffic(fleet.rules, 11)
    fleet.heal()
    traffic.send(500)
    settle(fleet, traffic)
    (frozen,) = fleet.running(role)
    frozen.signal(signal.SIGSTOP)
    fleet.start(role)
    traffic.send(500)
    settle(fleet, traffic)  # so the successor owns all partitions
    frozen.signal(signal.SIGCONT)
    traffic.send(500)
    settle(fleet, traffic)


@pytest.mark.parametrize(("role", "method"), [("describe", "process"), ("judge", "process"), ("describe", "flush")])
@pytest.mark.long
def test_slower_than_max_poll_interval(fleet: Fleet, role: str, method: str) -> None:
    """The group goes on without the worker; what it comes back with is not committed, and nothing is counted twice."""
    options = {"max.poll.interval.ms": 6_000}
    traffic = Traffic(fleet.rules, 12)
    traffic.send(500)
    slow = fleet.start(role, Fault(slow=method, slow_s=9.0), options=options)
    fleet.heal()
    fleet.start(role)
    settle(fleet, traffic)
    assert slow.running() or "Error" not in slow.said(), slow.said()


def test_storms(broker: LocalKafka, tmp_path: Path, seeds: int, first_seed: int) -> None:
    """Up to four workers of each stage start, stop, freeze, are killed, or die within a commit, at seeded moments.

    After every fifth schedule the output must be exactly right. An app lives through twenty, then a new one begins, for
    each check reads the whole of it.
    """
    last = first_seed + seeds - 1
    for first in range(first_seed, last + 1, 20):
        folder = tmp_path / str(first)
        folder.mkdir()
        with fleet_of(settings_for(broker.bootstrap), folder) as fleet:
            traffic = Traffic(fleet.rules, first)
            for seed in range(first, min(first + 20, last + 1)):
                weather(fleet, traffic, random.Random(seed))
                if seed % 5 == 4 or seed == last:
                    settle(fleet, traffic)


def weather(fleet: Fleet, traffic: Traffic, rng: random.Random) -> None:
    for _ in range(12):
        traffic.send(rng.randrange(50, 300))
        storm(fleet, rng)
        time.sleep(rng.random() * 0.5)  # the moment is the point
    for worker in fleet.workers:
        worker.signal(signal.SIGCONT)


def storm(fleet: Fleet, rng: random.Random) -> None:
    role = rng.choice(ROLES)
    running = fleet.running(role)
    blow = rng.choice(["start", "stop", "kill", "freeze", "thaw", "fault"])
    if blow == "start" and len(running) < 4:
        fleet.start(role)
    elif blow == "fault" and len(running) < 4:
        fleet.start(role, Fault(rng.choice(STEPS), rng.randrange(1, 5), rng.choice(["kill", "unknown", "abort"])))
    elif running and blow in ("stop", "kill", "freeze", "thaw"):
        numbers = {"stop": signal.SIGTERM, "kill": signal.SIGKILL, "freeze": signal.SIGSTOP, "thaw": signal.SIGCONT}
        rng.choice(running).signal(numbers[blow])


def test_killed_while_it_restores(fleet: Fleet) -> None:
    """The change log has aborted records and markers at its end then; the next one restores the same."""
    traffic = Traffic(fleet.rules, 13)
    fleet.heal()
    traffic.send(2_000)
    settle(fleet, traffic)
    for role in ROLES:
        for worker in fleet.running(role):
            worker.signal(signal.SIGKILL)
            worker.ended()
    traffic.send(500)
    dying = fleet.start("describe", Fault("offsets sent", nth=1))
    assert dying.ended() == -9
    restoring = [fleet.start(role, Fault(slow="assign", slow_s=30.0)) for role in ROLES]
    deadline = time.monotonic() + PATIENCE_S
    while not all("running" in worker.said() for worker in restoring) and time.monotonic() < deadline:
        time.sleep(0.1)
    for worker in restoring:
        worker.signal(signal.SIGKILL)
        worker.ended()
    settle(fleet, traffic)


def test_a_graceful_stop_loses_nothing_and_leaves_nothing_behind(fleet: Fleet, tmp_path: Path) -> None:
    """What was committed is right with nobody running, where the judge stopped first and is behind, too."""
    traffic = Traffic(fleet.rules, 14)
    fleet.heal()
    traffic.send(1_000)
    settle(fleet, traffic)
    (judge,), (describe,) = (fleet.running(role) for role in ("judge", "describe"))
    judge.signal(signal.SIGTERM)
    assert judge.ended() == 0, judge.said()
    audit = TopicReader(fleet.rules)
    inputs = [part for role in ROLES_IN for part in audit.partitions(role)]
    traffic.send(1_000)
    deadline = time.monotonic() + PATIENCE_S
    while sum(audit.committed("describe", inputs).values()) < traffic.sent and time.monotonic() < deadline:
        time.sleep(0.1)
    assert sum(audit.committed("describe", inputs).values()) == traffic.sent
    describe.signal(signal.SIGTERM)
    assert describe.ended() == 0, describe.said()
    report = verify(fleet.rules, settled=False)
    assert report.problems == [] and report.unjudged > 0
    config = tmp_path / "settings.yaml"
    config.write_text(fleet.rules.model_dump_json())
    shown = CliRunner().invoke(command_line, ["verify", "-c", str(config)])
    assert shown.exit_code == 1 and "start a judge, and verify again" in shown.output and "exactly" not in shown.output
    settle(fleet, traffic)
