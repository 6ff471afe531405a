"""A reader of an app's topics from the outside, up to known offsets: the input of `stream-monitor verify`."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from stream_monitor.config.settings import Settings
from stream_monitor.errors import BrokerError
from stream_monitor.kafka.client_config import CALL_S, FETCH, arrived, common, connected, made
from stream_monitor.stages.contract import Partition, Position

STUCK_S = 60.0


class Span(NamedTuple):
    """Offsets [first, end) of a partition."""

    first: int
    end: int


class TopicReader:
    """An observer of an app, a member of none of its groups."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._admin: AdminClient = connected(settings)

    def partitions(self, role: str) -> list[Partition]:
        """The partitions of a topic; none when it does not exist."""
        topic = self.settings.topic(role)
        try:
            known = self._admin.list_topics(timeout=CALL_S).topics.get(topic)
        except KafkaException as error:
            raise BrokerError(
                f"no answer from {self.settings.kafka.bootstrap_servers}: {error.args[0].str()}"
            ) from error
        return [(role, number) for number in sorted(known.partitions)] if known is not None else []

    def committed(self, stage: str, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """Offsets that a stage has committed; partitions without one are absent."""
        return {partition: position.offset for partition, position in self._positions(stage, partitions).items()}

    def metadata(self, stage: str, partitions: Sequence[Partition]) -> list[str]:
        """The metadata that a stage has committed with its offsets."""
        return [position.metadata for position in self._positions(stage, partitions).values()]

    def _positions(self, stage: str, partitions: Sequence[Partition]) -> dict[Partition, Position]:
        asked = {(self.settings.topic(role), number): (role, number) for role, number in partitions}
        group = f"{self.settings.app}.{stage}"
        request = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, number) for topic, number in asked])
        try:
            found = self._admin.list_consumer_group_offsets([request], require_stable=True)[group].result(CALL_S)
        except TimeoutError as error:
            raise BrokerError(f"no answer for {CALL_S:.0f} s to what group {group} has committed") from error
        except KafkaException as error:
            raise BrokerError(f"cannot read the offsets of group {group}: {error.args[0].str()}") from error
        return {
            asked[tp.topic, tp.partition]: Position(tp.offset, tp.metadata or "")
            for tp in found.topic_partitions
            if tp.offset >= 0
        }

    def spans(self, partitions: Sequence[Partition]) -> dict[Partition, Span]:
        """The offsets of the records in the partitions, open transactions included."""
        first = self._offsets(partitions, OffsetSpec.earliest(), IsolationLevel.READ_UNCOMMITTED)
        end = self._offsets(partitions, OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED)
        return {partition: Span(first[partition], end[partition]) for partition in partitions}

    def decided(self, partitions: Sequence[Partition]) -> dict[Partition, Span]:
        """The offsets in the partitions now, after all transactions that are open now have ended."""
        spans = self.spans(partitions)
        deadline = time.monotonic() + STUCK_S
        while True:
            stable = self._offsets(partitions, OffsetSpec.latest(), IsolationLevel.READ_COMMITTED)
            waiting = [f"{role}/{n}" for (role, n), span in spans.items() if stable[role, n] < span.end]
            if not waiting:
                return spans
            if time.monotonic() > deadline:
                raise BrokerError(f"a transaction on {', '.join(waiting)} stays open: is a worker dead or hanging?")
            time.sleep(0.05)

    def stable(self, partitions: Sequence[Partition]) -> dict[Partition, Span]:
        """The offsets before any open transaction: a reader can read them without waiting."""
        first = self._offsets(partitions, OffsetSpec.earliest(), IsolationLevel.READ_UNCOMMITTED)
        end = self._offsets(partitions, OffsetSpec.latest(), IsolationLevel.READ_COMMITTED)
        return {partition: Span(first[partition], end[partition]) for partition in partitions}

    def at_time(self, partitions: Sequence[Partition], millis: int) -> dict[Partition, int]:
        """The first offset whose record time is at or after this (epoch ms); the end where there is none."""
        found = self._offsets(partitions, OffsetSpec.for_timestamp(millis), IsolationLevel.READ_UNCOMMITTED)
        none = [partition for partition, offset in found.items() if offset < 0]
        return found | self._offsets(none, OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED)

    def _offsets(
        self, partitions: Sequence[Partition], at: OffsetSpec, isolation: IsolationLevel
    ) -> dict[Partition, int]:
        if not partitions:
            return {}
        asked = {TopicPartition(self.settings.topic(role), number): at for role, number in partitions}
        roles = {self.settings.topic(role): role for role, _ in partitions}
        try:
            answers = self._admin.list_offsets(asked, isolation_level=isolation, request_timeout=CALL_S)
            return {(roles[tp.topic], tp.partition): answer.result().offset for tp, answer in answers.items()}
        except KafkaException as error:
            raise BrokerError(f"cannot list offsets: {error.args[0].str()}") from error

    def read(self, spans: Mapping[Partition, Span]) -> Iterator[tuple[str, Any]]:
        """(role, message) of committed records, topic by topic; those of a partition come in log order."""
        by_role: dict[str, dict[int, Span]] = defaultdict(dict)
        for (role, number), span in spans.items():
            if span.first < span.end:
                by_role[role][number] = span
        for role, parts in by_role.items():
            # a new consumer for each topic: librdkafka asks for the leaders of a further topic only after a second
            consumer = self._consumer()
            try:
                yield from ((role, message) for message in self._read(consumer, role, parts))
            finally:
                consumer.close()

    def _consumer(self) -> Consumer:
        return made(
            Consumer,
            common(self.settings, "audit")
            | FETCH
            | {
                "group.id": f"{self.settings.app}.audit",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
            },
        )

    def _read(self, consumer: Consumer, role: str, spans: Mapping[int, Span]) -> Iterator[Any]:
        topic = self.settings.topic(role)
        at = {number: span.first for number, span in spans.items()}
        consumer.assign([TopicPartition(topic, number, offset) for number, offset in at.items()])
        moved = time.monotonic()
        while at:
            for message in arrived(consumer, 1_000, 0.2):
                if message.error() is not None:
                    raise BrokerError(f"cannot read {topic}/{message.partition()}: {message.error().str()}")
                if message.offset() < spans[message.partition()].end:
                    yield message
            for tp in consumer.position([TopicPartition(topic, number) for number in at]):
                if tp.offset > at[tp.partition]:
                    at[tp.partition], moved = tp.offset, time.monotonic()
                if at[tp.partition] >= spans[tp.partition].end:
                    del at[tp.partition]
                    consumer.incremental_unassign([TopicPartition(topic, tp.partition)])
            if at and time.monotonic() - moved > STUCK_S:
                number, offset = next(iter(at.items()))
                raise BrokerError(
                    f"{topic}/{number} brings nothing after offset {offset}, and its end is {spans[number].end}"
                )
