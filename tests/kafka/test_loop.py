"""When the loop commits; over the broker in this process."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from stream_monitor.config.settings import ROLES, ROLES_IN
from stream_monitor.errors import RestoreError
from stream_monitor.kafka.in_memory import MemoryBroker, MemoryClient
from stream_monitor.kafka.interface import Batch
from stream_monitor.kafka.loop import CONSUME, FEWEST, STEP_S, Loop
from stream_monitor.profiles.records import DeltaRecord, read_record
from stream_monitor.service.registry import loop_of
from stream_monitor.stages.contract import Partition
from stream_monitor.stages.topology import Topology
from tests.streams import T0, quick_settings, shop


def loop_over(count: int, text: str, **commit: object) -> tuple[Loop, list[int]]:
    """A describe loop whose clock stands still, on as many events with a text in each; what its commits counted."""
    broker = MemoryBroker(dict.fromkeys(ROLES, 1), lambda: T0)
    for i in range(count):
        event = {"id": f"{i}", "ts": T0, "features": {"text": text}}
        broker.append("predictions", json.dumps(event).encode(), b"k")
    rules = quick_settings(commit={"interval": "1h", **commit})
    loop = loop_of("describe", MemoryClient(broker, "describe"), rules, Topology(1, 1, 1), lambda: 0.0)
    committed: list[int] = []
    loop.on_commit = lambda report: committed.append(report.messages.get("predictions", 0))
    return loop, committed


def broker_with(count: int) -> MemoryBroker:
    """So many predictions, on two partitions in turn."""
    broker = MemoryBroker(dict.fromkeys(ROLES, 2), lambda: T0)
    for i in range(count):
        event = json.dumps({"id": f"{i}", "ts": T0, "features": {}}).encode()
        broker.append("predictions", event, f"{i}".encode(), i % 2)
    return broker


class LateHearing(MemoryClient):
    """Hears of a lost partition while it holds messages of others that it has dequeued, as librdkafka does."""

    losing: Sequence[Partition] = ()

    def consume(self, limit: int, timeout_s: float) -> list[Batch]:
        batches = super().consume(limit, timeout_s)
        if batches and self.losing:
            lost, self.losing = self.losing, ()
            for partition in lost:
                del self._at[partition]
            self._listener.lost(lost)
        return batches


def test_what_was_dequeued_before_a_partition_was_lost_is_counted_once() -> None:
    broker = broker_with(100)
    client = LateHearing(broker, "describe")
    loop = loop_of("describe", client, quick_settings(), Topology(2, 2, 1), lambda: 0.0)
    client.losing = [(role, 1) for role in ROLES_IN]
    loop.tick()
    loop.tick()
    loop.commit()
    counts = [
        delta.counts.sum(axis=0).tolist()
        for _, value in broker.values("profiles")
        if isinstance(record := read_record(value), DeltaRecord)
        for delta in record.deltas
    ]
    assert counts == [[50, 0, 0]]


def test_a_commit_comes_when_enough_events_were_taken_in() -> None:
    loop, committed = loop_over(200, "short", events=200)
    loop.tick()
    assert committed == [200]


def test_a_commit_comes_when_enough_bytes_were_taken_in() -> None:
    loop, committed = loop_over(200, "long" * 1_000, bytes=500_000)
    loop.tick()
    assert committed == [200] and loop.stage.buffered_bytes == 0


def test_neither_comes_early() -> None:
    loop, committed = loop_over(199, "short", events=200, bytes=500_000)
    loop.tick()
    assert committed == [] and 0 < loop.stage.buffered_bytes < 500_000


def test_a_commit_within_a_rebalance_pauses_nothing() -> None:
    """A partition that was paused when it left would still be paused when it came back, with nobody to resume it."""
    broker = broker_with(20)
    client = MemoryClient(broker, "describe")
    loop = loop_of("describe", client, quick_settings(), Topology(2, 2, 1), lambda: 0.0)
    loop.tick()
    loop.commit(within=True)
    assert client._paused == set()


class Asked(MemoryClient):
    """Keeps how many messages it was asked for."""

    def __init__(self, broker: MemoryBroker, member: str) -> None:
        super().__init__(broker, member)
        self.limits: list[int] = []

    def consume(self, limit: int, timeout_s: float) -> list[Batch]:
        self.limits.append(limit)
        return super().consume(limit, timeout_s)


def test_who_takes_long_over_a_step_asks_for_fewer_messages_and_for_more_when_it_does_not() -> None:
    client, now, takes = Asked(broker_with(10), "describe"), 0.0, 0.0

    def clock() -> float:
        nonlocal now
        now += takes
        return now

    loop = loop_of("describe", client, quick_settings(commit={"interval": "1h"}), Topology(2, 2, 1), clock)
    for _ in range(5):
        loop.tick()
    takes = 2 * STEP_S
    for _ in range(8):
        loop.tick()
    takes = STEP_S / 2
    loop.tick()
    loop.tick()
    assert client.limits[:5] == [500, 1_000, 2_000, 4_000, CONSUME]
    assert client.limits[5:] == [CONSUME, 2_500, 1_250, 625, 312, 156, 78, FEWEST, FEWEST, FEWEST]


def counted(broker: MemoryBroker) -> int:
    """Accepted predictions on `profiles`."""
    records = (read_record(value) for _, value in broker.values("profiles"))
    return sum(int(d.counts[:, 0].sum()) for r in records if isinstance(r, DeltaRecord) for d in r.deltas)


def test_who_is_to_stop_leaves_messages_in_hand_to_the_next_one_and_none_is_lost() -> None:
    broker, taken = broker_with(400), 0
    client = MemoryClient(broker, "describe")
    loop = loop_of("describe", client, quick_settings(commit={"interval": "1h"}), Topology(2, 2, 1), lambda: 0.0)
    loop._piece = 150  # as after slow steps

    def stopping() -> bool:
        """SIGTERM comes after the first piece of the first batch."""
        nonlocal taken
        taken = loop._count
        return taken >= 150

    loop.run(stopping)
    assert taken == 150
    client.close()
    assert counted(broker) == 150
    after = loop_of("describe", MemoryClient(broker, "describe"), quick_settings(), Topology(2, 2, 1), lambda: 0.0)
    after.tick()
    after.commit()
    assert counted(broker) == 400


class Broken(MemoryClient):
    """Fails when it is asked for messages the second time."""

    calls = 0

    def consume(self, limit: int, timeout_s: float) -> list[Batch]:
        self.calls += 1
        if self.calls > 1:
            raise RestoreError("the fault of this test")
        return super().consume(limit, timeout_s)


def test_who_ends_with_an_error_leaves_its_group_without_a_commit() -> None:
    broker = broker_with(10)
    client = Broken(broker, "describe")
    loop = loop_of("describe", client, quick_settings(commit={"interval": "1h"}), Topology(2, 2, 1), lambda: 0.0)
    with pytest.raises(RestoreError):
        loop.run(lambda: False)
    other = loop_of("describe", MemoryClient(broker, "describe"), quick_settings(), Topology(2, 2, 1), lambda: 0.0)
    client.close()
    client.close()
    assert counted(broker) == 0 and len(broker.group("describe").members) == 1
    other.tick()
    other.commit()
    assert counted(broker) == 10


class Restoring(MemoryClient):
    """Says that the reading of a change log moves."""

    moved = float("-inf")


def test_a_loop_that_does_not_come_back_is_hung_and_one_that_restores_or_commits_is_not() -> None:
    now = 0.0
    rules = quick_settings(http={"hung_after": "2m"}, kafka={"transaction_timeout": "30s"})
    client = Restoring(broker_with(10), "describe")
    loop = loop_of("describe", client, rules, Topology(2, 2, 1), lambda: now)
    loop.tick()
    loop.commit()
    now = 120.0
    assert loop.hung() is None
    now = 121.0
    assert loop.hung() == "the loop has not come back for 121 s"
    client.moved = 100.0
    assert loop.hung() is None
    now = 221.0
    assert loop.hung() is not None
    loop.tick()
    assert loop.hung() is None
    loop._come_back(rules.kafka.transaction_timeout / 1000)
    now += 150.0
    assert loop.hung() is None, "a commit has the time of a transaction besides"


def test_a_worker_that_stops_with_messages_in_hand_commits_no_offset_beyond_what_it_has_taken_in() -> None:
    """Also where a commit is due at that moment."""
    events = shop(1, 300)
    broker = MemoryBroker(dict.fromkeys(ROLES, 1), lambda: 1_800_000_000_000)
    for event in events:
        broker.append(event.role, event.raw, event.id.encode(), 0)
    client = MemoryClient(broker, "describe")
    rules = quick_settings(commit={"interval": "0s"})
    loop = loop_of("describe", client, rules, Topology(1, 1, 1), lambda: 0.0)
    loop._piece, asked = 20, iter([False] * 25)
    loop.run(lambda: next(asked, True))
    committed = {role: broker.group("describe").offsets[role, 0].offset for role in ("predictions", "labels")}
    assert 0 < committed["predictions"] < len(broker.logs["predictions", 0])
    client.close()
    second = loop_of("describe", MemoryClient(broker, "describe"), rules, Topology(1, 1, 1), lambda: 0.0)
    for _ in range(5):
        second.tick(0)
    counted = 0
    for _, value in broker.values("profiles"):
        record = read_record(value)
        for delta in record.deltas if isinstance(record, DeltaRecord) else ():
            counted += int(delta.counts.sum()) if delta.timeline == "input" else 0
    assert counted == len(broker.logs["predictions", 0])
