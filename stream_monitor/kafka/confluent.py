"""`Client` on Kafka, by confluent_kafka. Comments name the traps at the places that avoid them."""

from __future__ import annotations

import faulthandler
import logging
from collections.abc import Collection, Iterable, Sequence
from itertools import groupby
from typing import IO, Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka import Message as KafkaMessage
from confluent_kafka.admin import OffsetSpec

from stream_monitor.config.settings import Settings
from stream_monitor.errors import BrokerError, RestoreError
from stream_monitor.kafka.client_config import CALL_S, FETCH, Reasons, common, made
from stream_monitor.kafka.interface import Batch, Listener, OffsetsOf, TableRecord, Topic
from stream_monitor.kafka.log_reader import LogReader
from stream_monitor.kafka.transactions import Transactions
from stream_monitor.kafka.worker_slots import take_slot
from stream_monitor.stages.contract import Output, Partition, Position

log = logging.getLogger(__name__)

STALL_S = 120.0
LEAVE_S = 10.0
"""A broker that needs longer to answer a leaving worker is down. It notices by itself that the worker is gone."""


class KafkaClient:
    """The clients of one stage in one process."""

    def __init__(self, settings: Settings, role: str) -> None:
        self.settings, self.role = settings, role
        self._roles: dict[str, str] = {}
        self._slot: IO[str] | None
        worker, self._slot = take_slot(settings, role)
        self.transactional_id = f"{settings.app}-{role}-{worker}"
        self._consumer: Consumer | None = None
        self._next_generation = True
        self._paused: set[Partition] = set()
        self._closed = False
        self._starts: dict[Partition, int] = {}
        """Where reading began in each partition, or began again."""
        self._reasons = Reasons()
        self._logs = LogReader(settings, role, self._reasons, lambda tp: self._transactions.end_lost(tp))
        self._transactions = self._new_transactions()

    def _new_transactions(self) -> Transactions:
        return Transactions(self.settings, self.role, self.transactional_id, self._reasons, self._logs)

    # --- the group ---

    def _group_config(self) -> dict[str, Any]:
        config = common(self.settings, self.role, self._reasons) | FETCH | {
            "group.id": f"{self.settings.app}.{self.role}",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",  # an expired offset must stop the worker, not move it
        }  # fmt: skip
        if self._next_generation:
            return config | {"group.protocol": "consumer", "group.remote.assignor": "range"}
        return config | {"partition.assignment.strategy": "range", "session.timeout.ms": 6_000}

    def subscribe(self, roles: Sequence[str], listener: Listener) -> None:
        """Join the group. The assignor `range` gives a worker the same partition numbers of all topics."""
        self._listener = listener
        self._roles = {self.settings.topic(role): role for role in roles}
        self._consumer = made(Consumer, self._group_config())
        self._consumer.subscribe(
            list(self._roles), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    @property
    def _group(self) -> Consumer:
        if self._consumer is None:
            raise BrokerError("subscribe first")
        return self._consumer

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self._closed:  # the group hands out partitions while the worker leaves it: restoring would take long
            return
        starts = self._listener.assigned(self._parts(partitions))
        self._starts |= starts
        placed = [
            TopicPartition(tp.topic, tp.partition, starts.get((self._roles[tp.topic], tp.partition), OFFSET_BEGINNING))
            for tp in partitions
        ]
        if self._next_generation:
            consumer.incremental_assign(placed)
        else:
            consumer.assign(placed)
        if placed:
            consumer.resume(placed)  # the client, and nothing else, remembers an earlier pause

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._listener.revoked(self._parts(partitions))
        self._unassign(consumer, partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._listener.lost(self._parts(partitions))
        self._unassign(consumer, partitions)

    def _unassign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._paused -= set(self._parts(partitions))
        if self._next_generation:
            consumer.incremental_unassign(partitions)
        else:
            consumer.unassign()

    def _parts(self, partitions: Iterable[TopicPartition]) -> list[Partition]:
        return [(self._roles[tp.topic], tp.partition) for tp in partitions]

    def _tps(self, partitions: Iterable[Partition]) -> list[TopicPartition]:
        return [TopicPartition(self.settings.topic(role), number) for role, number in partitions]

    # --- reading ---

    def consume(self, limit: int, timeout_s: float) -> list[Batch]:
        """At most `limit` messages, grouped by topic.

        A worker that does not return here in time prints its stacks, again and again, and continues.
        """
        faulthandler.dump_traceback_later(STALL_S, repeat=True)
        try:
            messages = self._group.consume(limit, timeout_s)
        except KafkaException as error:
            raise BrokerError(f"cannot consume: {self._logs.why(error)}") from error
        batches: list[Batch] = []
        for topic, group in groupby(messages, key=KafkaMessage.topic):
            found = list(group)
            if any(map(KafkaMessage.error, found)):
                self._check_errors(found)
                found = [message for message in found if message.error() is None]
            if found:
                batches.append((self._roles[topic], found))
        return batches

    def _check_errors(self, messages: Sequence[Any]) -> None:
        for message in messages:
            error = message.error()
            if error is None or (error.retriable() and not error.fatal()):
                continue
            if error.code() == KafkaError._UNSUPPORTED_FEATURE and self._next_generation:
                log.info("the broker has no KIP-848 groups: falling back to the classic protocol")
                self._next_generation = False
                self._group.close()
                self.subscribe(list(self._roles.values()), self._listener)
                return
            if error.code() in (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT):
                log.warning("kafka: %s", error.str())
                continue
            if error.code() == KafkaError._AUTO_OFFSET_RESET:
                raise RestoreError(f"{error.str()}: the committed offset has expired or lies beyond the log's end")
            raise BrokerError(f"kafka: {error.str()}")

    def committed(self, partitions: Sequence[Partition]) -> dict[Partition, Position]:
        """Committed offsets; the start by the settings where none is committed."""
        found: dict[Partition, Position] = {}
        fresh: list[Partition] = []
        for tp, part in zip(self._call(self._group.committed, self._tps(partitions), CALL_S), partitions, strict=True):
            if tp.offset >= 0:
                found[part] = Position(tp.offset, tp.metadata or "")
            else:
                fresh.append(part)
        spec = OffsetSpec.earliest() if self.settings.kafka.start == "earliest" else OffsetSpec.latest()
        inputs = {part for part in fresh if part[0] != "profiles"}
        starts = self._logs.offsets(inputs, spec) | self.beginnings(set(fresh) - inputs)
        found |= {part: Position(offset, "") for part, offset in starts.items()}
        for part, position in found.items():
            if not position.metadata and part not in fresh:
                raise RestoreError(
                    f"{self.settings.topic(part[0])}/{part[1]} has the committed offset {position.offset} without our "
                    "metadata: a tool moved the group. Choose another app name to begin anew."
                )
        return {part: found[part] for part in partitions}

    def beginnings(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """The oldest offsets that still exist."""
        return self._logs.offsets(partitions, OffsetSpec.earliest())

    def topics(self, roles: Collection[str]) -> dict[str, Topic]:
        """The ids and partition counts of the topics."""
        return self._logs.topics(roles)

    def _call(self, call: Any, *args: Any) -> Any:
        try:
            return call(*args)
        except KafkaException as error:
            raise BrokerError(f"kafka: {self._logs.why(error)}") from error

    def ends(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Log ends; they include open transactions."""
        return self._logs.ends(partitions)

    def read_log(self, role: str, number: int, start: int, keyed: bool) -> list[tuple[int, bytes]]:
        """Read a change log partition to its end."""
        return self._logs.read(role, number, start, keyed)

    @property
    def restored(self) -> float:
        """The fraction of a change log that is read, while the client reads one."""
        return self._logs.restored

    @property
    def moved(self) -> float:
        """When the reading of a change log last advanced."""
        return self._logs.moved

    def table(self, role: str) -> list[TableRecord]:
        """New records of a topic that is read whole."""
        return self._logs.table(role)

    def positions(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Read positions. A partition from which nothing was fetched has none yet: its start stands in."""
        parts = sorted(partitions)
        positions = self._call(self._group.position, self._tps(parts))
        return {
            part: tp.offset if tp.offset >= 0 else self._starts.get(part, 0)
            for part, tp in zip(parts, positions, strict=True)
        }

    def rewind(self, starts: dict[Partition, int]) -> None:
        """Seek back to these offsets."""
        self._starts |= starts
        for (role, number), offset in starts.items():
            self._call(self._group.seek, TopicPartition(self.settings.topic(role), number, offset))

    def pause(self, partitions: set[Partition]) -> None:
        """Pause partitions that are new in the set, and resume those that left it."""
        if new := partitions - self._paused:
            self._call(self._group.pause, self._tps(sorted(new)))
        if gone := self._paused - partitions:
            self._call(self._group.resume, self._tps(sorted(gone)))
        self._paused = set(partitions)

    def transact(self, outputs: Iterable[Output], offsets: OffsetsOf) -> None:
        """Run one transaction; `loop` gives the order and its reasons."""
        self._transactions.run(outputs, offsets, self._group)

    def close(self) -> None:
        """Leave the group at once, so that other workers need not wait for a time-out. A second call does nothing.

        The client does not wait for a broker that does not answer: the process ends, and prints its stacks to stderr.
        """
        faulthandler.cancel_dump_traceback_later()
        if self._closed:
            return
        self._closed = True
        faulthandler.dump_traceback_later(LEAVE_S, exit=True)
        try:
            if self._consumer is not None:
                self._call(self._consumer.close)
            self._logs.close()
        finally:
            faulthandler.cancel_dump_traceback_later()
            if self._slot is not None:
                self._slot.close()
