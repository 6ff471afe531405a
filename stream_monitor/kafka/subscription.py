"""A member of a consumer group that reads committed records and commits what it has finished, with metadata.

It produces nothing. Callbacks only note what happened: an exception out of one would lose the messages in hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from stream_monitor.config.settings import Settings
from stream_monitor.errors import BrokerError, StreamMonitorError
from stream_monitor.kafka.client_config import CALL_S, FETCH, common, connected, made
from stream_monitor.kafka.follower import FollowedRecord
from stream_monitor.stages.contract import Partition, Position

SESSION_MS = 6_000
"""After so long without a sign of life another member takes over."""
REBALANCING = (
    KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID, KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError._STATE, KafkaError._ASSIGNMENT_LOST,
)  # fmt: skip
"""A commit that came too late: the partitions are, or soon will be, another member's."""
HEALING = (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._RESOLVE)
"""Errors that the client mends by itself, once a broker is there again."""


class Grant(NamedTuple):
    """A partition that this member reads from now on."""

    partition: Partition
    committed: Position | None
    """None: the group has never committed here."""
    start: int
    """Where reading begins."""
    end: int
    """Where the committed records ended at that moment."""


class Delivered(NamedTuple):
    """What came, in this order."""

    revoked: list[Partition]
    granted: list[Grant]
    records: list[FollowedRecord]


StartOf = Callable[[Position], int]
"""Where reading begins, by what was committed."""


class Subscription:
    """Reads topics as a member of the group `<app>.<name>`.

    Args:
        settings: of the app.
        name: of the group.
        roles: topics; those that do not exist are left out.
        start_of: where reading begins. A partition without a commit is read from its beginning.
    """

    def __init__(self, settings: Settings, name: str, roles: Sequence[str], start_of: StartOf) -> None:
        self.settings, self._start_of = settings, start_of
        client = connected(settings)
        try:
            known = client.list_topics(timeout=CALL_S).topics
        except KafkaException as error:
            raise BrokerError(f"cannot find the topics: {error.args[0].str()}") from error
        self._roles = {topic: role for role in roles if (topic := settings.topic(role)) in known}
        if settings.topic(roles[0]) not in known:
            raise BrokerError(f"{settings.topic(roles[0])} is missing: `stream-monitor topics create` makes it")
        self._consumer = made(
            Consumer,
            common(settings, name)
            | FETCH
            | {
                "group.id": f"{settings.app}.{name}",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "earliest",
                "partition.assignment.strategy": "range",
                "session.timeout.ms": SESSION_MS,
            },
        )
        self._revoked: list[Partition] = []
        self._granted: list[Grant] = []
        self._version = 0
        self._failure: StreamMonitorError | None = None
        self._held: FollowedRecord | None = None
        self.owned = set[Partition]()
        self._paused = False
        self._consumer.subscribe(list(self._roles), on_assign=self._on_assign, on_revoke=self._on_revoke)

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    # --- the group ---

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._version += 1
        try:
            granted = [self._grant(tp) for tp in consumer.committed(partitions, CALL_S)]
        except KafkaException as error:
            self._failure = BrokerError(f"cannot read the offsets of the group: {error.args[0].str()}")
            granted = []
        except StreamMonitorError as error:
            self._failure, granted = error, []
        self._granted += granted
        self.owned |= {grant.partition for grant in granted}
        consumer.assign([self._tp(grant.partition, grant.start) for grant in granted])
        self._paused = False

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._version += 1
        gone = [(self._roles[tp.topic], tp.partition) for tp in partitions]
        self._revoked += gone
        self._granted = [grant for grant in self._granted if grant.partition not in gone]
        self.owned -= set(gone)
        consumer.unassign()

    def _grant(self, tp: TopicPartition) -> Grant:
        begin, end = self._consumer.get_watermark_offsets(TopicPartition(tp.topic, tp.partition), CALL_S)
        partition = (self._roles[tp.topic], tp.partition)
        if tp.offset < 0:
            return Grant(partition, None, begin, end)
        committed = Position(tp.offset, tp.metadata or "")
        return Grant(partition, committed, max(begin, min(self._start_of(committed), tp.offset)), end)

    def _tp(self, partition: Partition, offset: int = 0) -> TopicPartition:
        return TopicPartition(self.settings.topic(partition[0]), partition[1], offset)

    # --- reading ---

    def poll(self, most: int, timeout_s: float) -> Delivered:
        """What has come within the timeout. Partitions that were taken and given came before the records."""
        records = [] if self._held is None else [self._held]
        self._held, version = None, self._version if records else None
        while len(records) < most:
            found = self._next(0.0 if records else timeout_s)
            if version is not None and version != self._version:  # these records are of the former partitions
                self._held = found
                return Delivered([], [], records)
            if found is None:
                break
            records.append(found)
            version = self._version
        revoked, granted = self._revoked, self._granted
        self._revoked, self._granted = [], []
        return Delivered(revoked, granted, records)

    def _next(self, timeout_s: float) -> FollowedRecord | None:
        try:
            messages: list[Message] = self._consumer.consume(1, timeout_s)
        except KafkaException as error:
            raise BrokerError(f"cannot read: {error.args[0].str()}") from error
        if self._failure is not None:
            raise self._failure
        for message in messages:
            failure = message.error()
            if failure is None:
                place = self._roles[message.topic()], message.partition(), message.offset()
                return FollowedRecord(*place, message.timestamp()[1], message.key() or b"", message.value())
            if not failure.retriable() and failure.code() not in HEALING:
                raise BrokerError(f"cannot read {message.topic()}: {failure.str()}")
        return None

    def pause(self, wanted: bool) -> None:
        """Read nothing more, or go on; the group is not left."""
        if wanted != self._paused:
            step = self._consumer.pause if wanted else self._consumer.resume
            step([self._tp(partition) for partition in self.owned])
            self._paused = wanted

    def positions(self) -> dict[Partition, int]:
        """How far each partition is read, past markers of transactions; what was read of none yet is absent."""
        try:
            found = self._consumer.position([self._tp(partition) for partition in self.owned])
        except KafkaException as error:
            raise BrokerError(f"cannot tell how far topics are read: {error.args[0].str()}") from error
        return {(self._roles[tp.topic], tp.partition): tp.offset for tp in found if tp.offset >= 0}

    def ends(self) -> dict[Partition, int]:
        """Where the committed records end now."""
        try:
            return {p: self._consumer.get_watermark_offsets(self._tp(p), CALL_S)[1] for p in self.owned}
        except KafkaException as error:
            raise BrokerError(f"cannot find the ends of topics: {error.args[0].str()}") from error

    def commit(self, positions: Mapping[Partition, Position]) -> bool:
        """Commit offsets (next to read) with their metadata; False where the partitions are another member's now."""
        offsets = []
        for partition, position in positions.items():
            tp = self._tp(partition, position.offset)
            offsets.append(TopicPartition(tp.topic, tp.partition, position.offset, position.metadata))
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            if error.args[0].code() in REBALANCING:
                return False
            raise BrokerError(f"cannot commit: {error.args[0].str()}") from error
        return True
