"""Rollouts on a real Kafka: orders by the command line, a router that restarts at random, workers that are killed."""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
import yaml
from typer.testing import CliRunner, Result

from stream_monitor.cli.main import app as command_line
from stream_monitor.config.settings import Settings
from stream_monitor.errors import StreamMonitorError
from stream_monitor.events.rollouts import RolloutDecision
from stream_monitor.kafka.local import LocalKafka
from stream_monitor.kafka.tail import Tail, tail
from stream_monitor.kafka.writer import EventWriter
from stream_monitor.verify.run import verify
from tests.broker_folder import broker_folder
from tests.failures.fleet import Fleet, fleet_of, settings_for
from tests.patience import until
from tests.rollouts.routed import PLAN, SHADOW, RoutedReplay, Version

pytestmark = pytest.mark.kafka
SAME, WORSE = Version(), Version(error=0.4)
JOIN = {"label_horizon": "1m", "early_horizon": "10s", "grain": "10s", "revisions": ["0s", "20s"]}


SOON = {
    "group.consumer.min.session.timeout.ms": "6000", "group.consumer.session.timeout.ms": "6000",
    "group.consumer.min.heartbeat.interval.ms": "1000", "group.consumer.heartbeat.interval.ms": "1000",
}  # fmt: skip
"""A broker that misses a killed worker after six seconds; by default it waits for 45."""


@pytest.fixture(scope="module")
def broker(real_kafka: None) -> Iterator[str]:
    with broker_folder() as folder, LocalKafka(folder, properties=SOON) as found:
        yield found.bootstrap


class LiveRequests:
    """Requests that go to Kafka; the router reads `decisions`, and restarts at random."""

    def __init__(self, fleet: Fleet, config: Path, seed: int, mirrored: float) -> None:
        self.fleet, self.config, self.chance = fleet, config, random.Random(seed)
        self.source = RoutedReplay(fleet.rules, seed)
        self.source.mirrored = mirrored
        self.router, self.writer = self.source.router, EventWriter(fleet.rules)
        self.tail = Tail(fleet.rules, ["decisions"])

    def send(self, seconds: int, candidate: Version = SAME) -> None:
        """So many seconds of event time, as fast as it goes; the router follows between them."""
        for _ in range(seconds):
            for role, raw in self.source.lines(SAME, candidate):
                self.writer.send(role, json.loads(raw)["id"], raw)
            self.writer.flush()
            self.follow()

    def follow(self) -> int:
        """Apply the decisions that have come, now and then after a restart that reads the topic from its beginning."""
        if self.chance.random() < 0.1:
            self.tail.close()
            self.tail = Tail(self.fleet.rules, ["decisions"])
        for _, value in self.tail.read(0.02):
            self.router.apply(msgspec.json.decode(value, type=RolloutDecision))
        return self.router.seq

    def kill(self, role: str) -> None:
        """Kill a worker; the fleet's supervisor starts another one."""
        for worker in self.fleet.running(role)[:1]:
            worker.signal(signal.SIGKILL)

    def order(self, *arguments: str) -> int:
        """A command line."""
        by = [] if arguments[0] in ("status", "list", "watch") else ["--by", "anna"]
        result = CliRunner().invoke(command_line, ["rollout", *arguments, "-c", str(self.config), *by])
        assert result.exception is None or isinstance(result.exception, SystemExit | StreamMonitorError), result.output
        return result.exit_code

    def decisions(self) -> list[RolloutDecision]:
        """All that are on the topic, in their order there."""
        values = tail(self.fleet.rules, "decisions", follow=False)
        return [msgspec.json.decode(value, type=RolloutDecision) for value in values]


@contextmanager
def app_of(broker: str, folder: Path, seed: int, mirrored: float = 0.0) -> Iterator[LiveRequests]:
    """An app with its workers, after a minute of the primary alone."""
    rules: Settings = settings_for(
        broker,
        topics={"partitions": 2},
        segments=[],
        join=JOIN,
        baseline={"first": 100},
        detection={"input": []},
    )
    config = folder / "app.yaml"
    config.write_text(yaml.safe_dump(rules.model_dump(mode="json", exclude_unset=True)))
    with fleet_of(rules, folder) as fleet, fleet.supervised():
        requests = LiveRequests(fleet, config, seed, mirrored)
        requests.send(30)
        yield requests
        requests.tail.close()


def plan(folder: Path, text: str = PLAN) -> str:
    """The rollout file."""
    path = folder / "rollout.yaml"
    path.write_text(text)
    return str(path)


def check(requests: LiveRequests) -> list[str]:
    """One decision a number, the router at the published weights; the names of the decisions."""
    decided = requests.decisions()
    assert [one.seq for one in decided] == list(range(1, len(decided) + 1))
    until(lambda: requests.follow() == decided[-1].seq, "the router at the last decision")
    assert requests.router.weight == decided[-1].weights.get("42", 0.0)
    return [one.decision for one in decided if one.decision != "progress"]


def test_a_canary_goes_to_the_end_by_approval_though_its_workers_are_killed(broker: str, tmp_path: Path) -> None:
    with app_of(broker, tmp_path, 1) as requests:
        assert requests.order("start", plan(tmp_path, PLAN + "approve: [promote]\n"), "--reason", "June") == 0
        known = len(requests.decisions())
        for role in ("judge", "describe"):
            requests.kill(role)
        while len(requests.decisions()) == known:
            requests.send(2)
        while requests.decisions()[-1].holds != ["approval"]:
            requests.send(5)
        assert requests.order("approve", "fraud-42", "--reason", "looks good") == 0
        while requests.router.weight < 1:
            requests.send(2)
        names = check(requests)
        assert names[0] == "started" and names[-1] == "promoted" and names.count("approved") == 1
        assert {"promote_step"} <= set(names) <= {"started", "promote_step", "hold", "approved", "promoted", "resumed"}
        assert requests.order("status", "fraud-42") == 0 and requests.order("promote", "fraud-42") == 2
        until(lambda: not verify(requests.fleet.rules, settled=False).problems, "a clean verification")


def judged_again(requests: LiveRequests, rollout: str) -> None:
    """`rejudge` decides about the recorded rollout as it was decided, and says harm of the same file over the past."""
    recorded = [one for one in requests.decisions() if one.decision != "progress"]

    def rejudge(*more: str) -> Result:
        done = CliRunner().invoke(command_line, ["rejudge", "-c", str(requests.config), *more], env={"COLUMNS": "200"})
        assert done.exception is None or isinstance(done.exception, SystemExit), done.output
        return done

    (row,) = [line.split() for line in rejudge().stdout.splitlines() if line.split()[:2] == ["fraud", "fraud-42"]]
    assert row[2:6] == [str(len(recorded))] * 3 + ["rolled_back"] and row.count("rolled_back") == 2
    past = rejudge("--rollout", rollout, "--json")
    assert past.exit_code == 1 and json.loads(past.stdout)["verdict"] == "harm"
    assert "would have been stopped at" in rejudge("--rollout", rollout).stdout


def test_a_worse_candidate_is_rolled_back_and_its_router_ends_at_the_primary(broker: str, tmp_path: Path) -> None:
    with app_of(broker, tmp_path, 2) as requests:
        assert requests.order("start", plan(tmp_path)) == 0
        until(lambda: requests.follow() and requests.router.weight > 0, "the first step")
        requests.kill("judge")
        while requests.router.weight > 0:
            requests.send(5, WORSE)
        names = check(requests)
        assert names[-1] == "rolled_back" and set(names) <= {"started", "hold", "resumed", "rolled_back"}
        assert requests.decisions()[-1].reason.startswith("error is surely worse")
        assert requests.order("status", "fraud-42") == 1 and requests.order("resume", "fraud-42") == 2
        assert requests.order("status", "fraud-41") == 1
        assert requests.order("list") == 0 and requests.order("watch", "fraud-42") == 1
        judged_again(requests, plan(tmp_path))


def test_a_candidate_in_shadow_passes_though_its_workers_are_killed(broker: str, tmp_path: Path) -> None:
    """Both versions answer each request, and no decision moves one."""
    with app_of(broker, tmp_path, 3, mirrored=1.0) as requests:
        assert requests.order("start", plan(tmp_path, SHADOW), "--reason", "June") == 0
        for role in ("describe", "judge"):
            known = len(requests.decisions())
            requests.kill(role)
            while len(requests.decisions()) == known:
                requests.send(2)
        while requests.decisions()[-1].state != "passed":
            requests.send(5)
        names = check(requests)
        assert names[0] == "started" and names[-1] == "passed"
        assert set(names) <= {"started", "hold", "resumed", "passed"}
        assert all(one.weights == {"41": 1.0} for one in requests.decisions())
        assert requests.order("watch", "fraud-42") == 0 and requests.order("status", "fraud-42") == 0
        assert requests.order("abort", "fraud-42") == 2
        until(lambda: not verify(requests.fleet.rules, settled=False).problems, "a clean verification")


def test_an_app_without_the_topic_refuses_to_start_one(broker: str, tmp_path: Path) -> None:
    rules = settings_for(broker, topics={"partitions": 1, "names": {"decisions": "no-such-topic"}, "create": False})
    config = tmp_path / "app.yaml"
    config.write_text(yaml.safe_dump(rules.model_dump(mode="json", exclude_unset=True)))
    result = CliRunner().invoke(command_line, ["rollout", "start", plan(tmp_path), "-c", str(config)])
    assert result.exit_code == 1
