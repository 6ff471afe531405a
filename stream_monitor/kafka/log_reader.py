"""A reader of topics outside the group: log ends, change logs to their end, small topics whole."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from typing import TypeVar

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import OffsetSpec

from stream_monitor.config.settings import Settings
from stream_monitor.errors import BrokerError, RestoreError
from stream_monitor.kafka.client_config import CALL_S, FETCH, Reasons, admin, arrived, common, made
from stream_monitor.kafka.interface import TableRecord, Topic
from stream_monitor.stages.contract import Partition

log = logging.getLogger(__name__)

PATIENCE_S = 60.0
"""The reader waits this long for a broker that restarts. Then the worker stops with an error."""
TELL_S = 5.0
LOST_S = 5.0
"""A transaction of the worker's own id that is still open so long after its start is one that the broker has lost."""
NO_ID = "AAAAAAAAAAAAAAAAAAAAAA"
"""The id that a broker without topic ids gives."""
EMBEDDED = "mockCluster"
"""The name that librdkafka gives to the cluster of an embedded broker."""
OPEN_S = 30.0
"""A transaction that stays open this much longer than allowed is one that the broker has lost."""

T = TypeVar("T")


class LogReader:
    """Reads topics for a worker of one role, each with a consumer of its own.

    The reader calls `end_lost` with a partition on which a transaction, perhaps one of ours, stays open.
    """

    def __init__(
        self, settings: Settings, role: str, reasons: Reasons, end_lost: Callable[[TopicPartition], None]
    ) -> None:
        self.settings, self.role, self.reasons, self._end_lost = settings, role, reasons, end_lost
        self.admin = admin(settings, reasons)
        self._tables: dict[str, Consumer] = {}
        self.restored = 1.0
        """The fraction of a change log that is read, while the reader reads one."""
        self._embedded: bool | None = None
        """Whether this is the embedded broker, which describes no topics; None: not known yet."""
        self.moved = float("-inf")
        """When the reading of a change log last advanced."""

    def why(self, error: KafkaException) -> str:
        """The reason of an error, as the connections of the clients reported it."""
        self.admin.poll(0)  # runs the callbacks for errors of its connections
        return self.reasons.of(error)

    def offsets(self, partitions: Collection[Partition], spec: OffsetSpec) -> dict[Partition, int]:
        """Offsets of partitions; they include open transactions. The reader waits for a broker that restarts."""
        return self._patiently(lambda: self._offsets_once(partitions, spec)) if partitions else {}

    def _patiently(self, ask: Callable[[], T]) -> T:
        """The answer of a broker. The reader waits for one that restarts."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return ask()
            except KafkaException as error:
                if time.monotonic() > deadline:
                    raise BrokerError(f"no answer for {PATIENCE_S:.0f} s: {self.reasons.of(error)}") from error
                time.sleep(0.5)
                # the old client keeps the leader epochs from before the restart
                self.admin = admin(self.settings, self.reasons)

    def topics(self, roles: Collection[str]) -> dict[str, Topic]:
        """The topics that exist now, by role. Topics that do not exist are absent."""
        return self._patiently(lambda: self._topics_once(roles))

    def _topics_once(self, roles: Collection[str]) -> dict[str, Topic]:
        names = {self.settings.topic(role): role for role in roles}
        if self._embedded is None:
            self._embedded = str(self.admin.list_topics(timeout=CALL_S).cluster_id).startswith(EMBEDDED)
        if self._embedded:
            known = self.admin.list_topics(timeout=CALL_S).topics
            return {role: Topic(None, len(known[name].partitions)) for name, role in names.items() if name in known}
        found = {}
        answers = self.admin.describe_topics(TopicCollection(list(names)), request_timeout=CALL_S)
        for name, future in answers.items():
            try:
                description = future.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise
                continue
            topic_id = str(description.topic_id)
            found[names[name]] = Topic(None if topic_id == NO_ID else topic_id, len(description.partitions))
        return found

    def _offsets_once(self, partitions: Collection[Partition], spec: OffsetSpec) -> dict[Partition, int]:
        wanted = {TopicPartition(self.settings.topic(r), n): spec for r, n in partitions}
        roles = {self.settings.topic(role): role for role, _ in partitions}
        futures = self.admin.list_offsets(
            wanted, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=CALL_S
        )
        return {(roles[tp.topic], tp.partition): future.result().offset for tp, future in futures.items()}

    def ends(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Log ends, which include open transactions: the last stable offset would end too early."""
        return self.offsets(partitions, OffsetSpec.latest())

    def read(self, role: str, number: int, start: int, keyed: bool) -> list[tuple[int, bytes]]:
        """Read a change log partition to its end with a consumer of its own."""
        topic = self.settings.topic(role)
        begin = self.offsets([(role, number)], OffsetSpec.earliest())[role, number]
        end = self.ends([(role, number)])[role, number]
        if 0 <= start < begin and role == "pending":
            raise RestoreError(
                f"{topic}/{number} begins at {begin}, but a restore needs {start}: the change log has expired. "
                "Labels of predictions before that would be lost; raise its retention, or choose another app name."
            )
        at = max(start, begin)
        return self._read_span(TopicPartition(topic, number, at), end, keyed) if at < end else []

    def _read_span(self, tp: TopicPartition, end: int, keyed: bool) -> list[tuple[int, bytes]]:
        """Committed records from the offset of `tp` on. `end` includes open transactions: the reader waits for them."""
        found: dict[bytes | int, tuple[int, bytes]] = {}
        at = tp.offset
        moved = reported = time.monotonic()
        patience = self.settings.kafka.transaction_timeout / 1000 + OPEN_S
        consumer, ended = self._reader([tp]), False
        try:
            while at < end:
                for message in arrived(consumer, 1_000, 0.5):
                    if message.error() is None:
                        key = message.key() if keyed else message.offset()
                        found.pop(key, None)
                        if message.value() is not None:
                            found[key] = message.offset(), message.value()
                    elif not message.error().retriable():
                        raise BrokerError(f"cannot read {tp.topic}/{tp.partition}: {message.error().str()}")
                position, waited = consumer.position([tp])[0].offset, time.monotonic() - moved
                self.restored = (at - tp.offset) / (end - tp.offset)
                if time.monotonic() - reported > TELL_S:
                    reported = time.monotonic()
                    log.info("restoring %s/%s: %.0f %%", tp.topic, tp.partition, 100 * self.restored)
                if position > at:
                    at, moved = position, time.monotonic()
                    self.moved = moved
                elif waited > LOST_S and not ended:
                    self._end_lost(tp)
                    ended = True
                elif waited > patience:
                    raise BrokerError(
                        f"{tp.topic}/{tp.partition} brings nothing after offset {at}, and its end is {end}: a "
                        "transaction is open there that the broker does not end. `kafka-transactions.sh find-hanging` "
                        "shows it, and `kafka-transactions.sh abort` sets the app free."
                    )
        finally:
            self.restored = 1.0
            consumer.close()
        return list(found.values())

    def _reader(self, partitions: list[TopicPartition]) -> Consumer:
        consumer = made(
            Consumer,
            common(self.settings, f"{self.role}-reader", self.reasons)
            | FETCH
            | {
                "group.id": f"{self.settings.app}.{self.role}.reader",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
            },
        )
        consumer.assign(partitions)
        return consumer

    def table(self, role: str) -> list[TableRecord]:
        """New records of a topic that is read whole."""
        if role not in self._tables:
            topic = self.settings.topic(role)
            numbers = self._partitions(topic)
            self._tables[role] = self._reader([TopicPartition(topic, n, OFFSET_BEGINNING) for n in numbers])
        messages = self._tables[role].consume(10_000, 0)
        return [
            TableRecord(m.partition(), m.offset(), m.value())
            for m in messages
            if m.error() is None and m.value() is not None
        ]

    def _partitions(self, topic: str) -> list[int]:
        try:
            return list(self.admin.list_topics(topic, CALL_S).topics[topic].partitions)
        except KafkaException as error:
            raise BrokerError(f"kafka: {self.reasons.of(error)}") from error

    def close(self) -> None:
        """Close the clients that are open."""
        for consumer in self._tables.values():
            consumer.close()
