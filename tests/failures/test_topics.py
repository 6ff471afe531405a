"""Offsets and records that are not where they should be, and poison (failure tests 7, 9 and 12)."""

from __future__ import annotations

import json
import signal
import time
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from stream_monitor.kafka.client_config import admin
from stream_monitor.kafka.topic_reader import TopicReader
from stream_monitor.kafka.topics import ready
from stream_monitor.stages.contract import Partition
from tests.failures.fleet import Fleet, Traffic, settle
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.kafka


def stopped(fleet: Fleet, seed: int) -> Traffic:
    """An app that has counted, and whose workers are gone."""
    traffic = Traffic(fleet.rules, seed)
    fleet.heal()
    traffic.send(1_000)
    settle(fleet, traffic)
    fleet.stop()
    return traffic


def committed(fleet: Fleet, stage: str) -> dict[Partition, TopicPartition]:
    group = f"{fleet.rules.app}.{stage}"
    client = admin(fleet.rules)
    found = client.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result(30)
    return {(tp.topic, tp.partition): tp for tp in found.topic_partitions}


def move(fleet: Fleet, stage: str, moved: list[TopicPartition]) -> None:
    """What a reset tool does; the group must be empty, so this waits until the broker has missed its members."""
    group = f"{fleet.rules.app}.{stage}"
    client, deadline = admin(fleet.rules), time.monotonic() + PATIENCE_S
    while True:
        request = ConsumerGroupTopicPartitions(group, moved)
        found = client.alter_consumer_group_offsets([request])[group].result(30)
        if all(tp.error is None for tp in found.topic_partitions):
            return
        assert time.monotonic() < deadline, found.topic_partitions
        time.sleep(0.2)


def expire(fleet: Fleet, role: str, number: int) -> None:
    """Delete all records of a partition that are there now."""
    tp = TopicPartition(fleet.rules.topic(role), number, -1)  # the end
    client = admin(fleet.rules)
    for answer in client.delete_records([tp]).values():
        answer.result(30)


def refuses(fleet: Fleet, role: str, reason: str) -> None:
    worker = fleet.start(role)
    assert worker.ended() == 1, worker.said()
    assert reason in worker.said()


@pytest.mark.parametrize("stage", ["describe", "judge"])
def test_a_moved_group_is_a_loud_stop(fleet: Fleet, stage: str) -> None:
    stopped(fleet, 21)
    some = next(tp for tp in committed(fleet, stage).values() if tp.offset > 1)
    move(fleet, stage, [TopicPartition(some.topic, some.partition, some.offset - 1)])
    refuses(fleet, stage, "a tool moved the group")


def test_committed_offsets_that_have_expired_are_a_loud_stop(fleet: Fleet) -> None:
    traffic = stopped(fleet, 22)
    traffic.send(500)  # nobody reads these, and then they are gone
    for number in range(4):
        expire(fleet, "predictions", number)
    refuses(fleet, "describe", "the committed offset has expired")


def test_an_expired_change_log_is_a_loud_stop(fleet: Fleet) -> None:
    stopped(fleet, 23)
    for number in range(4):
        expire(fleet, "pending", number)
    refuses(fleet, "describe", "the change log has expired")


@pytest.mark.long
def test_snapshots_on_a_topic_that_was_compacted_to_its_end_restore_the_same(fleet: Fleet) -> None:
    """The end offset of a compacted topic is no record's any more, and most parts of old snapshots are gone."""
    client, topic = admin(fleet.rules), fleet.rules.topic("state")
    quick = {"segment.ms": "500", "min.cleanable.dirty.ratio": "0.01", "max.compaction.lag.ms": "500"}
    entries = [ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in quick.items()]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    client.incremental_alter_configs([resource])[resource].result(30)
    traffic = Traffic(fleet.rules, 27)
    fleet.heal()
    audit, deadline = TopicReader(fleet.rules), time.monotonic() + PATIENCE_S
    while not compacted(audit):
        assert time.monotonic() < deadline
        traffic.send(200)
    settle(fleet, traffic)
    for worker in fleet.running("judge"):
        worker.signal(signal.SIGKILL)
        worker.ended()
    traffic.send(500)
    settle(fleet, traffic)


def compacted(audit: TopicReader) -> bool:
    """Whether the first records of some partition of `state` are gone."""
    first: dict[int, int] = {}
    for _, message in audit.read(audit.decided(audit.partitions("state"))):
        first.setdefault(message.partition(), message.offset())
    return any(offset > 0 for offset in first.values())


def test_a_missing_dead_letter_topic_stops_the_worker_and_loses_nothing(fleet: Fleet) -> None:
    traffic = stopped(fleet, 25)
    client = admin(fleet.rules)
    topic = fleet.rules.topic("dead-letters")
    before = traffic.sent
    traffic.feed.send("predictions", "bad", b"{")
    traffic.feed.flush()
    told = dead_letters(fleet)
    client.delete_topics([topic])[topic].result(30)
    worker = fleet.start("describe")
    assert worker.ended() == 1, worker.said()
    assert "dead-letters" in worker.said()
    ready(fleet.rules)
    fleet.heal()
    deadline = time.monotonic() + PATIENCE_S
    while dead_letters(fleet) == 0:  # the old ones went with the topic; the new one is not lost
        assert time.monotonic() < deadline, worker.said()
    assert told > 0
    assert dead_letters(fleet) == 1
    assert traffic.sent == before


def dead_letters(fleet: Fleet) -> int:
    from stream_monitor.kafka.tail import tail

    return sum(1 for _ in tail(fleet.rules, "dead-letters", follow=False))


def test_poison_between_good_events(fleet: Fleet) -> None:
    traffic = Traffic(fleet.rules, 26)
    fleet.heal()
    now = int(time.time() * 1000)
    poison: list[Any] = [
        b"", b"{", b"\xff\xfe", b"null", b"[]", b"[" * 5_000, b'{"id":1}', json.dumps({"id": "a", "ts": -5}).encode(),
        json.dumps({"id": "b", "ts": now + 10**12}).encode(), b'{"id":"c","ts":1e400}', b"x" * 900_000,
        json.dumps({"id": "d", "ts": now, "features": {f"f{i}": 1 for i in range(1_500)}}).encode(),
    ]  # fmt: skip
    for _ in range(5):
        for raw in poison:
            for role in ("predictions", "labels", "feedback"):
                traffic._send(role, "k", raw)
        traffic.send(100)
    report = settle(fleet, traffic)
    assert report.events["predictions"] > 500
