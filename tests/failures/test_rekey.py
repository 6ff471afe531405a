"""Labels that are keyed otherwise, or lie on other partition counts; inputs that grow (failure test 5 and rekeying)."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import NewPartitions, NewTopic

from stream_monitor.kafka.client_config import admin
from stream_monitor.kafka.local import LocalKafka
from stream_monitor.kafka.topics import ready
from tests.failures.fleet import Fleet, Traffic, fleet_of, settings_for, settle

pytestmark = pytest.mark.kafka


class Unkeyed(Traffic):
    """Labels and feedback under a key that says nothing of the prediction."""

    def _send(self, role: str, key: str, event: Any) -> None:
        super()._send(role, key if role == "predictions" else "all the same", event)


@pytest.fixture
def other_counts(broker: LocalKafka, tmp_path: Path) -> Iterator[Fleet]:
    """Labels on three partitions, where predictions have four."""
    rules = settings_for(broker.bootstrap)
    client = admin(rules)
    topics = [NewTopic(rules.topic(role), count, 1) for role, count in (("predictions", 4), ("labels", 3))]
    for answer in client.create_topics(topics).values():
        answer.result(30)
    with fleet_of(rules, tmp_path) as fleet:
        assert fleet.topology.rekey
        yield fleet


def test_rekeyed_labels_join_through_kills_of_every_stage(other_counts: Fleet) -> None:
    fleet = other_counts
    traffic = Unkeyed(fleet.rules, 41)
    fleet.heal()
    for role in ("rekey", "describe", "judge", "rekey"):
        traffic.send(400)
        for worker in fleet.running(role):
            worker.signal(signal.SIGKILL)
            worker.ended()
        fleet.heal()
    report = settle(fleet, traffic)
    assert report.events["labels"] > 500


def test_grown_inputs_are_a_loud_stop_and_can_be_accepted(fleet: Fleet) -> None:
    """Ids have moved: labels of before miss their predictions, everything else is counted, once."""
    traffic = Traffic(fleet.rules, 42)
    fleet.heal()
    traffic.send(500)
    settle(fleet, traffic)
    for worker in fleet.workers:
        worker.signal(signal.SIGTERM)
        assert worker.ended() == 0, worker.said()
    client = admin(fleet.rules)
    grown = [NewPartitions(fleet.rules.topic(role), 6) for role in ("predictions", "labels", "feedback")]
    for answer in client.create_partitions(grown).values():
        answer.result(30)
    fleet.topology = ready(fleet.rules, accept_repartition=True)
    assert (fleet.topology.inputs, fleet.topology.rekey) == (6, False)
    refusing = fleet.start("describe", accept=False)
    assert refusing.ended() == 1
    assert "run --accept-repartition" in refusing.said()
    fleet.heal()
    traffic.send(500)
    settle(fleet, traffic)
