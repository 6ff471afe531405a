"""A reader that follows topics for ever, outside of any group, from positions that the caller keeps."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from stream_monitor.config.settings import Settings
from stream_monitor.errors import BrokerError
from stream_monitor.kafka.client_config import CALL_S, FETCH, arrived, common, connected, made
from stream_monitor.stages.contract import Partition

ENDS_S = 1.0
"""How often the follower asks for the ends of the partitions, and for topics that were missing."""
ENDS_SHARE = 10
"""Where asking takes long, because there are many partitions, it asks less often: at most this part of the time."""


class FollowedRecord(NamedTuple):
    """A record: its place, its Kafka time (epoch ms), key and value."""

    role: str
    number: int
    offset: int
    ts: int
    key: bytes
    value: bytes | None


class FollowedBatch(NamedTuple):
    """Records that arrived, and where each partition goes on."""

    records: list[FollowedRecord]
    positions: dict[Partition, int]
    moved: bool
    """Whether a position is another one than before: markers of transactions have no record."""
    lost: dict[str, int]
    """By role: offsets that the retention of the topic passed before they were read, at most."""


class Follower:
    """Follows topics; those that do not exist yet are looked for from time to time.

    Args:
        settings: of the app.
        roles: the topics.
        positions: by (role, partition), the offset to go on at, where there is one.
        starts: by role, where other partitions begin: at a Kafka time (epoch ms), or at their beginning (None).
    """

    def __init__(
        self,
        settings: Settings,
        roles: Sequence[str],
        positions: Mapping[Partition, int],
        starts: Mapping[str, int | None],
    ) -> None:
        self.settings, self._starts = settings, starts
        self._roles = {settings.topic(role): role for role in roles}
        connected(settings)  # gives the reason, where a consumer would only time out
        self._consumer = made(
            Consumer,
            common(settings, "dashboard")
            | FETCH
            | {
                "group.id": f"{settings.app}.dashboard",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
            },
        )
        self._next = dict(positions)
        self._begins: dict[Partition, int] = {}
        self._ends: dict[Partition, int] = {}
        self._assigned = set[Partition]()
        self._lost = dict[str, int]()
        self._followed: Sequence[str] = ()
        self._look_at = 0.0
        self.made_anew = self._find_made_anew()
        """Roles whose topic is another one than was read: it ends before a position, or has fewer partitions.

        A topic that is not told of is none of them: a broker that has just started does not know all topics.
        """

    def __enter__(self) -> Follower:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()

    def _find_made_anew(self) -> list[str]:
        self._look()
        known = {role for role, _ in self._ends}
        gone = {p[0] for p, at in self._next.items() if p[0] in known and at > self._ends.get(p, -1)}
        self._next = {partition: at for partition, at in self._next.items() if partition[0] not in gone}
        return sorted(gone)

    def _look(self) -> None:
        """Ask for the partitions that there are, and their ends."""
        began = time.monotonic()
        for topic, role in self._roles.items():
            try:
                known = self._consumer.list_topics(topic, CALL_S).topics[topic]
                if known.error is not None:
                    continue
                for number in known.partitions:
                    tp = TopicPartition(topic, number)
                    begin, end = self._consumer.get_watermark_offsets(tp, CALL_S)
                    self._begins[role, number], self._ends[role, number] = begin, end
            except KafkaException as error:
                raise BrokerError(f"cannot read {topic}: {error.args[0].str()}") from error
        now = time.monotonic()
        self._look_at = now + max(ENDS_S, ENDS_SHARE * (now - began))

    def follow(self, roles: Sequence[str]) -> None:
        """Read these topics from now on."""
        self._followed = roles
        self._assign()

    def _assign(self) -> None:
        new = [p for p in self._ends if p[0] in self._followed and p not in self._assigned]
        if not new:
            return
        for partition in new:
            if partition not in self._next:
                self._next[partition] = max(self._start(partition), self._begins[partition])
        self._skip_expired(new)
        at = [TopicPartition(self.settings.topic(role), n, self._next[role, n]) for role, n in new]
        self._consumer.incremental_assign(at)
        self._assigned |= set(new)

    def _skip_expired(self, partitions: Iterable[Partition]) -> None:
        """Go on at the begin of each partition that begins after the next offset to read, and count what is lost."""
        for partition in partitions:
            gap = self._begins[partition] - self._next[partition]
            if gap > 0:
                self._lost[partition[0]] = self._lost.get(partition[0], 0) + gap
                self._next[partition] += gap

    def _start(self, partition: Partition) -> int:
        role, number = partition
        topic, since = self.settings.topic(role), self._starts[role]
        if since is None:
            return 0
        try:
            (found,) = self._consumer.offsets_for_times([TopicPartition(topic, number, since)], CALL_S)
        except KafkaException as error:
            raise BrokerError(f"cannot find offsets by time in {topic}: {error.args[0].str()}") from error
        return int(found.offset) if found.offset >= 0 else self._ends[partition]

    def poll(self, most: int, timeout_s: float) -> FollowedBatch:
        """Records that arrived within the timeout, at most so many."""
        if time.monotonic() > self._look_at:
            self._look()
            for (role, _), end in self._behind_ends():
                raise BrokerError(f"{self.settings.topic(role)} ends at {end}, before what was read: it was made anew")
            self._skip_expired(self._assigned)
            self._assign()
        records = list[FollowedRecord]()
        for message in arrived(self._consumer, most, timeout_s) if self._assigned else self._wait(timeout_s):
            error = message.error()
            if error is not None:
                if not error.retriable():
                    raise BrokerError(f"cannot read {message.topic()}/{message.partition()}: {error.str()}")
                continue
            role = self._roles[message.topic()]
            place = role, message.partition(), message.offset()
            records.append(FollowedRecord(*place, message.timestamp()[1], message.key() or b"", message.value()))
        lost, self._lost = self._lost, {}
        return FollowedBatch(records, *self._positions(), lost)

    def _behind_ends(self) -> list[tuple[Partition, int]]:
        """Partitions that end before the next offset to read, right after the ends were asked for."""
        return [(p, end) for p, end in self._ends.items() if self._next.get(p, 0) > end]

    @staticmethod
    def _wait(timeout_s: float) -> list[Message]:
        time.sleep(timeout_s)
        return []

    def _positions(self) -> tuple[dict[Partition, int], bool]:
        moved = False
        for tp in self._consumer.position([TopicPartition(self.settings.topic(r), n) for r, n in self._assigned]):
            partition = self._roles[tp.topic], tp.partition
            if tp.offset > self._next[partition]:
                self._next[partition], moved = tp.offset, True
        return {p: at for p, at in self._next.items() if p in self._assigned}, moved

    def known_ends(self) -> dict[Partition, int]:
        """By (role, partition) of the topics that are followed: the end, as it was when it was asked for last."""
        return {p: end for p, end in self._ends.items() if p in self._assigned and p[0] in self._followed}

    def behind(self, ends: Mapping[Partition, int] | None = None) -> int:
        """Offsets that are left to read up to these ends; without them, up to the ends that are known now."""
        return sum(max(0, end - self._next[p]) for p, end in (self.known_ends() if ends is None else ends).items())
