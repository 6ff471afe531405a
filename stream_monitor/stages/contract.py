"""The contract between the two pure stages and whatever drives them: the Kafka loop, a replay, a test.

A stage never blocks, reads no clock and raises only for broken records of our own, and where the settings stop it at
too many events that cannot be counted. Its driver promises that the messages of one topic partition come in offset
order, and that after `flush` either `committed` follows or, when the commit was aborted, `drop` and `assign`: the way
back is the way of a restart.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple, Protocol

from stream_monitor.stages.statistics import StageStatistics

Partition = tuple[str, int]
"""(topic role, partition number); a role such as `predictions` stands for the topic's name."""


ChangeLogs = dict[int, list[tuple[int, bytes]]]
"""(offset, value) of the records of a change log (`pending` or `state`) by partition number, in log order."""


class Skip(NamedTuple):
    """A record of one of our topics that is left out."""

    role: str
    partition: int
    offset: int


class Consent(NamedTuple):
    """What a person lets a worker go on with at this start."""

    new_topics: bool = False
    """Topics that were made anew: they are read from their beginning."""
    skips: Collection[Skip] = ()
    """Records that are not ours."""


class Message(Protocol):
    """One record as consumed; confluent_kafka.Message has this shape."""

    def value(self) -> bytes | None:
        """The raw value."""

    def partition(self) -> int:
        """Partition number."""

    def offset(self) -> int:
        """Offset in its partition."""

    def key(self) -> bytes | None:
        """The record's key."""

    def timestamp(self) -> tuple[int, int]:
        """(type, epoch ms)."""


class Position(NamedTuple):
    """What was committed for a topic partition; `metadata` is empty when nothing was."""

    offset: int
    metadata: str


class Output(NamedTuple):
    """A record to publish.

    `partition` None lets the key decide, `tracked` asks for its offset, `timestamp` None is the time of sending. A
    `tombstone` has no value: it deletes its key from a compacted topic.
    """

    role: str
    value: bytes
    key: bytes | None = None
    partition: int | None = None
    tracked: bool = False
    timestamp: int | None = None
    tombstone: bool = False


class PartitionStatus(NamedTuple):
    """What only the driver knows of an assigned topic partition."""

    at_end: bool
    idle: bool
    ended: bool = False
    position: int = 0
    """Where reading goes on, past markers of transactions."""
    end: int | None = None
    """Where the log ends now; None: not known."""
    merged_by_time: bool = False
    """All partitions are fed as one stream in the order of time: nothing older than what came is left to read."""


class OffsetsOnly:
    """What most stages do when they hear of topics: nothing, for the loop keeps the ids with their offsets."""

    def know_sources(self, ids: dict[str, str]) -> None:
        """Offsets name them."""

    def source_of(self, log: Sequence[bytes]) -> str:
        """The change log does not tell."""
        return ""

    def tell_again(self, role: str) -> None:
        """It has told nothing that it need not stop at."""


class Stage(Protocol):
    """A pure stage."""

    @property
    def buffered_bytes(self) -> int:
        """Bytes of the records taken in since the last commit."""

    @property
    def changelog(self) -> str:
        """The role of the topic that its state is restored from."""

    @property
    def keyed(self) -> bool:
        """Whether only the last record of each key of that topic counts."""

    @property
    def stands_on(self) -> tuple[str, ...]:
        """Roles of the topics that the committed offsets mean something of: another topic of the name is a stop."""

    def know_sources(self, ids: dict[str, str]) -> None:
        """The ids of the topics that it reads and writes, by role, before `assign`."""

    def source_of(self, log: Sequence[bytes]) -> str:
        """The id of the topic that a change log is of, where its records tell; else nothing."""

    def tell_again(self, role: str) -> None:
        """A topic was made anew that the stage has told things, and need not stop at: tell them again."""

    def restore_offset(self, partition: Partition, position: Position) -> int | None:
        """The offset of the change log from which a restore reads; None when there is nothing to restore."""

    def assign(self, positions: dict[Partition, Position], logs: ChangeLogs) -> dict[Partition, int]:
        """Own these topic partitions; `logs` are their change logs. Returns the offsets from which to read."""

    def revoke(self, partitions: Sequence[Partition]) -> None:
        """Forget these topic partitions; with the last of them all that is not committed."""

    def process(self, role: str, messages: Sequence[Message]) -> None:
        """Take in messages of one topic."""

    def flush(self, status: dict[Partition, PartitionStatus]) -> Iterable[Output]:
        """Everything to publish since the last commit; may be made while it is sent."""

    def offsets(self, delivered: Sequence[int]) -> dict[Partition, Position]:
        """Offsets (next to read) that this commit finishes; `delivered` are the offsets of the tracked outputs."""

    def committed(self) -> None:
        """The last flush is committed."""

    def stats(self) -> StageStatistics:
        """What telemetry shows of the stage, as of the last commit."""

    def partitions_to_pause(self, status: dict[Partition, PartitionStatus]) -> set[Partition]:
        """Partitions to pause until slower ones have caught up."""
