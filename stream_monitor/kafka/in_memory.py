"""A broker in this process behind the interface of the Kafka client: for tests of thousands of schedules only.

It has what exactly-once depends on: transactions whose records stay invisible until they commit, markers that take an
offset, offsets with metadata that the transaction stores, generations that fence a worker which lost its partitions,
and crashes at any step of a commit. It proves nothing about Kafka itself, and is never used in production.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import xxhash

from stream_monitor.errors import BrokerError
from stream_monitor.kafka.interface import Batch, Listener, OffsetsOf, TableRecord, Topic
from stream_monitor.stages.contract import Headers, Output, Partition, Position

Crash = Callable[[str], None]
"""The broker calls it with the name of each step of a commit. It raises to crash there."""


class MemoryRecord(NamedTuple):
    """A record in a log, in the shape of a confluent_kafka message."""

    raw: bytes | None
    number: int
    at: int
    arrived: int
    label: bytes | None
    transaction: int | None
    tombstone: bool = False
    head: Headers = ()

    def value(self) -> bytes | None:
        """The raw value."""
        return None if self.tombstone else self.raw

    def partition(self) -> int:
        """Partition number."""
        return self.number

    def offset(self) -> int:
        """Offset."""
        return self.at

    def key(self) -> bytes | None:
        """The key."""
        return self.label

    def timestamp(self) -> tuple[int, int]:
        """Broker time."""
        return 1, self.arrived

    def headers(self) -> Headers:
        """The headers."""
        return self.head


@dataclass(slots=True)
class Group:
    """A consumer group: its members, and the offsets that they have committed."""

    generation: int = 0
    members: list[MemoryClient] = field(default_factory=list)
    offsets: dict[Partition, Position] = field(default_factory=dict)


class MemoryBroker:
    """Logs, transactions and groups. `clock` gives broker time in ms."""

    def __init__(self, partitions: dict[str, int], clock: Callable[[], int]) -> None:
        self.partitions, self.clock = partitions, clock
        self.logs: dict[Partition, list[MemoryRecord]] = {
            (r, n): [] for r, count in partitions.items() for n in range(count)
        }
        self.groups: dict[str, Group] = {}
        self.open: set[int] = set()
        self.aborted: set[int] = set()
        self._transactions = 0
        self.made: dict[str, int] = {}
        """How often each topic was created again."""
        self.expired: dict[Partition, int] = {}
        """The oldest offsets that still exist, where records have expired."""

    def make_anew(self, role: str) -> None:
        """Delete a topic and create it again, empty. Groups keep their offsets, as they do while a member is frozen."""
        self.made[role] = self.made.get(role, 0) + 1
        for number in range(self.partitions[role]):
            self.logs[role, number].clear()

    def group(self, name: str) -> Group:
        """The group of this name. The first use creates it."""
        return self.groups.setdefault(name, Group())

    def append(
        self, role: str, value: bytes, key: bytes | None = None, number: int | None = None, headers: Headers = ()
    ) -> None:
        """Produce a record outside any transaction, as a user's producer does."""
        self._append(Output(role, value, key, number, headers=headers), None)

    def _append(self, output: Output, transaction: int | None) -> tuple[Partition, int]:
        role, number = output.role, output.partition
        if number is None:
            number = xxhash.xxh3_64_intdigest(output.key or b"") % self.partitions[role]
        log = self.logs[role, number]
        at, arrived = len(log), self.clock()
        log.append(
            MemoryRecord(
                output.value, number, at, arrived, output.key, transaction, output.tombstone, tuple(output.headers)
            )
        )
        return (role, number), at

    def _mark(self, partition: Partition, transaction: int) -> None:
        log = self.logs[partition]
        log.append(MemoryRecord(None, partition[1], len(log), self.clock(), None, transaction))

    def begin(self) -> int:
        """Begin a transaction; returns its number."""
        self._transactions += 1
        self.open.add(self._transactions)
        return self._transactions

    def end(self, transaction: int, touched: Iterable[Partition], committed: bool) -> None:
        """Commit or abort a transaction. Its marker takes an offset in every partition to which it wrote."""
        self.open.discard(transaction)
        if not committed:
            self.aborted.add(transaction)
        for partition in set(touched):
            self._mark(partition, transaction)

    def visible(self, partition: Partition, start: int, limit: int) -> tuple[list[MemoryRecord], int]:
        """(committed records from `start`, next position). It stops before an undecided transaction."""
        found: list[MemoryRecord] = []
        at = start
        for record in self.logs[partition][start:]:
            if record.transaction in self.open or len(found) >= limit:
                break
            at = record.at + 1
            if record.raw is not None and record.transaction not in self.aborted:
                found.append(record)
        return found, at

    def values(self, role: str) -> list[tuple[bytes | None, bytes]]:
        """All committed (key, value) of a topic, as a subscriber reads them."""
        return [
            (record.label, record.raw)
            for number in range(self.partitions[role])
            for record in self.visible((role, number), 0, 1 << 60)[0]
            if record.raw is not None
        ]

    def rebalance(self, name: str) -> None:
        """Assign all partitions of a group's topics to its members again; equal numbers of all topics stay together."""
        group = self.groups[name]
        group.generation += 1
        for member in group.members:
            member.give_up()
        for at, member in enumerate(group.members):
            member.take_over([
                (role, number)
                for role in member.roles
                for number in range(self.partitions[role])
                if number % len(group.members) == at
            ])  # fmt: skip


class MemoryClient:
    """`Client` on a MemoryBroker."""

    def __init__(self, broker: MemoryBroker, group: str, crash: Crash = lambda step: None) -> None:
        self.broker, self.group_name, self.crash = broker, group, crash
        self.group = broker.group(group)
        self.roles: list[str] = []
        self._at: dict[Partition, int] = {}
        self._generation = -1
        self._paused: set[Partition] = set()
        self._table: dict[Partition, int] = {}

    def subscribe(self, roles: Sequence[str], listener: Listener) -> None:
        """Join the group."""
        self.roles, self._listener = list(roles), listener
        self.group.members.append(self)
        self.broker.rebalance(self.group_name)

    def give_up(self) -> None:
        """The group takes all partitions back. The worker may commit finished work under the old generation."""
        if self._at:
            self.group.generation -= 1
            self._listener.revoked(sorted(self._at))
            self.group.generation += 1
            self._at.clear()

    def take_over(self, partitions: list[Partition]) -> None:
        """The group assigns partitions."""
        self._generation = self.group.generation
        self._at = dict.fromkeys(partitions, 0)
        self._at.update(self._listener.assigned(partitions))

    def die(self) -> None:
        """Die as by kill -9: no commit, and the other members take over."""
        self.group.members.remove(self)
        self._at.clear()
        if self.group.members:
            self.broker.rebalance(self.group_name)

    def consume(self, limit: int, timeout_s: float) -> list[Batch]:
        """The messages that exist; never waits."""
        batches: list[Batch] = []
        for partition in sorted(self._at):
            if partition in self._paused:
                continue
            records, self._at[partition] = self.broker.visible(partition, self._at[partition], limit)
            if records:
                batches.append((partition[0], records))
        return batches

    def committed(self, partitions: Sequence[Partition]) -> dict[Partition, Position]:
        """Committed positions; the beginning where nothing is committed."""
        return {p: self.group.offsets.get(p, Position(0, "")) for p in partitions}

    def beginnings(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """The oldest offsets that still exist."""
        return {partition: self.broker.expired.get(partition, 0) for partition in partitions}

    def topics(self, roles: Collection[str]) -> dict[str, Topic]:
        """Ids and partition counts. The id changes when a topic is created again."""
        creations, partitions = self.broker.made, self.broker.partitions
        return {
            role: Topic(f"{role}-{creations.get(role, 0)}", partitions[role]) for role in roles if role in partitions
        }

    def ends(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Log ends."""
        return {p: len(self.broker.logs[p]) for p in partitions}

    def positions(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Read positions."""
        return {p: self._at[p] for p in partitions}

    def read_log(self, role: str, number: int, start: int, keyed: bool) -> list[tuple[int, bytes]]:
        """Read a change log to its end."""
        if any(record.transaction in self.broker.open for record in self.broker.logs[role, number]):
            raise BrokerError("an undecided transaction: a restore would miss what it may still commit")
        begin = self.broker.expired.get((role, number), 0)
        if 0 <= start < begin:
            raise BrokerError(f"{role}/{number} begins at {begin}, but a restore needs {start}")
        records, _ = self.broker.visible((role, number), max(start, begin), 1 << 60)
        last = {r.label if keyed else r.at: r for r in records}
        return [(r.at, r.raw) for r in last.values() if r.raw is not None and not r.tombstone]

    restored = 1.0
    moved = float("-inf")

    def table(self, role: str) -> list[TableRecord]:
        """New records of a whole topic."""
        found: list[TableRecord] = []
        for number in range(self.broker.partitions[role]):
            records, at = self.broker.visible((role, number), self._table.get((role, number), 0), 1 << 60)
            self._table[role, number] = at
            found += [TableRecord(r.number, r.at, r.raw) for r in records if r.raw is not None]
        return found

    def transact(self, outputs: Iterable[Output], offsets: OffsetsOf) -> None:
        """Run a transaction. `crash` may raise at every step, Aborted included."""
        transaction = self.broker.begin()
        touched: list[Partition] = []
        try:
            self.crash("begun")
            landed = []
            for output in outputs:
                where, at = self.broker._append(output, transaction)
                touched.append(where)
                if output.tracked:
                    landed.append(at)
            self.crash("produced")
            positions = offsets(landed)
            if self._generation != self.group.generation:
                raise BrokerError("fenced: the group has gone on without us")
            self.crash("offsets sent")
        except BaseException:
            self.broker.end(transaction, touched, committed=False)
            raise
        self.group.offsets.update(positions)
        self.broker.end(transaction, touched, committed=True)
        self.crash("committed")

    def rewind(self, starts: dict[Partition, int]) -> None:
        """Read from these offsets."""
        self._at.update(starts)

    def pause(self, partitions: set[Partition]) -> None:
        """Do not read these partitions."""
        self._paused = partitions

    def close(self) -> None:
        """Leave the group, unless the client has left it already."""
        if self not in self.group.members:
            return
        self.group.members.remove(self)
        self._at.clear()
        if self.group.members:
            self.broker.rebalance(self.group_name)
