"""A reader of a range of the input topics, beside the running app: for `replay --topics`."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from itertools import groupby
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka import Message as KafkaMessage

from stream_monitor.config.settings import ROLES_IN, Settings
from stream_monitor.errors import BrokerError, TopicsError
from stream_monitor.kafka.client_config import CALL_S, FETCH, PARTITIONER, arrived, common, made
from stream_monitor.kafka.interface import Batch
from stream_monitor.kafka.topic_reader import STUCK_S, Span, TopicReader
from stream_monitor.kafka.topics import create_plain
from stream_monitor.stages.contract import Output, Partition

CONSUME = 5_000
REPLAYED = ("alerts", "metrics", "dead-letters")
"""The topics that a replay publishes, under names of its own."""


class TopicRange:
    """The records of all input topics from one broker time to another; without a group, without commits.

    `since` and `until` are Kafka record times in epoch ms. None: from the oldest record; up to the records there now.
    """

    def __init__(self, settings: Settings, since: int | None, until: int | None) -> None:
        self.settings = settings
        audit = TopicReader(settings)
        parts = [partition for role in ROLES_IN for partition in audit.partitions(role)]
        if not parts:
            raise TopicsError(f"there are no topics of the app {settings.app!r}")
        self.spans = self._cut(audit, parts, since, until)
        self.done = 0
        self._roles = {settings.topic(role): role for role in ROLES_IN}
        self._at = {part: span.first for part, span in self.spans.items() if span.first < span.end}
        self._paused: set[Partition] = set()
        self._consumer = made(
            Consumer,
            common(settings, "replay") | FETCH | {
                "group.id": f"{settings.app}.replay", "isolation.level": "read_committed",
                "enable.auto.commit": False, "auto.offset.reset": "error",
            }
        )  # fmt: skip
        self._consumer.assign([self._tp(part, at) for part, at in self._at.items()])

    @staticmethod
    def _cut(audit: TopicReader, parts: list[Partition], since: int | None, until: int | None) -> dict[Partition, Span]:
        held = audit.spans(parts)
        firsts = audit.at_time(parts, since) if since is not None else {part: held[part].first for part in parts}
        ends = audit.at_time(parts, until) if until is not None else {part: held[part].end for part in parts}
        return {part: Span(max(held[part].first, firsts[part]), min(held[part].end, ends[part])) for part in parts}

    @property
    def total(self) -> int:
        """Offsets in the range: records, and markers of transactions."""
        return sum(max(0, span.end - span.first) for span in self.spans.values())

    @property
    def ended(self) -> set[Partition]:
        """Partitions that are read to the end of the range."""
        return self.spans.keys() - self._at.keys()

    def _tp(self, part: Partition, offset: int = -1) -> TopicPartition:
        return TopicPartition(self.settings.topic(part[0]), part[1], offset)

    def read(self) -> Iterator[list[Batch]]:
        """Batches, until all partitions have ended. Between two of them the caller may pause partitions far ahead."""
        moved = time.monotonic()
        while self._at:
            before = dict(self._at)
            whole = self.total - self.done > CONSUME  # large batches, but no wait at the end
            messages = self._consumer.consume(CONSUME, 0.2) if whole else arrived(self._consumer, CONSUME, 0.2)
            yield [(role, list(found)) for role, found in groupby(self._within(messages), self._role)]
            self._advance()
            if self._at != before:
                moved = time.monotonic()
            elif time.monotonic() - moved > STUCK_S:
                places = ", ".join(f"{role}/{number}" for role, number in self._at)
                raise BrokerError(f"{places} bring nothing: is a producer's transaction open?")

    def _role(self, message: Any) -> str:
        return self._roles[message.topic()]

    def _within(self, messages: list[Any]) -> Iterator[KafkaMessage]:
        for message in messages:
            if message.error() is not None:
                raise BrokerError(f"cannot read the range: {message.error().str()}")
            if message.offset() < self.spans[self._role(message), message.partition()].end:
                yield message

    def _advance(self) -> None:
        for tp in self._consumer.position([self._tp(part) for part in self._at]):
            part = self._roles[tp.topic], tp.partition
            end = self.spans[part].end
            at = min(max(tp.offset, self._at[part]), end)
            self.done += at - self._at[part]
            self._at[part] = at
            if at >= end:
                del self._at[part]
                self._consumer.incremental_unassign([self._tp(part)])

    def pause(self, partitions: Collection[Partition]) -> None:
        """Read all partitions except these."""
        wanted = set(partitions) & self._at.keys()
        if new := wanted - self._paused:
            self._consumer.pause([self._tp(part) for part in new])
        if gone := (self._paused - wanted) & self._at.keys():
            self._consumer.resume([self._tp(part) for part in gone])
        self._paused = wanted

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()


class ReplayTopics:
    """`<app>.replay.alerts`, `.metrics` and `.dead-letters`: a replay publishes here, never on the live topics."""

    def __init__(self, settings: Settings) -> None:
        self.names = {role: f"{settings.app}.replay.{role}" for role in REPLAYED}
        create_plain(settings, list(self.names.values()))
        config = {"enable.idempotence": True, "partitioner": PARTITIONER[settings.topics.partitioner]}
        self._producer = made(Producer, common(settings, "replay") | config)
        self._failed: list[str] = []

    def publish(self, output: Output) -> None:
        """Queue a record for sending."""
        while True:
            try:
                self._producer.produce(self.names[output.role], output.value, output.key, on_delivery=self._delivered)
                break
            except BufferError:
                self._producer.poll(0.1)
        self._producer.poll(0)

    def _delivered(self, error: Any, message: Any) -> None:
        if error is not None:
            self._failed.append(error.str())

    def close(self) -> None:
        """Wait until the broker has all records; BrokerError when some of them did not arrive."""
        try:
            left = self._producer.flush(CALL_S)
        except KafkaException as error:
            raise BrokerError(f"cannot publish the replay: {error.args[0].str()}") from error
        if left or self._failed:
            raise BrokerError(f"{left + len(self._failed)} records of the replay were not delivered {self._failed[:1]}")
