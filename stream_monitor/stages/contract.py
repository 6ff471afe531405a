"""The contract between the two pure stages and their drivers: the Kafka loop, a replay, a test.

A stage never blocks and reads no clock. It raises only for broken records of our own, and where the settings stop it
at too many events that cannot be counted. Its driver delivers the messages of one topic partition in offset order.
After `flush` the driver calls `committed` or, when the commit was aborted, `revoke` and `assign`: an abort is handled
in the same way as a restart.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple, Protocol

from stream_monitor.stages.statistics import StageStatistics

Partition = tuple[str, int]
"""(topic role, partition number); a role such as `predictions` stands for the topic's name."""


ChangeLogs = dict[int, list[tuple[int, bytes]]]
"""(offset, value) of the records of a change log (`pending` or `state`) by partition number, in log order."""


Headers = Sequence[tuple[str, bytes | None]]
"""The headers of a record, in its order; a name may come more than once."""


class Skip(NamedTuple):
    """A record on one of our topics that workers leave out."""

    role: str
    partition: int
    offset: int


class Consent(NamedTuple):
    """What a person accepts for this start of a worker."""

    new_topics: bool = False
    """Topics were created again: read them from their beginning."""
    skips: Collection[Skip] = ()
    """Records to leave out because they are not ours."""


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

    def headers(self) -> Headers | None:
        """The record's headers; None or empty where it has none."""


class Position(NamedTuple):
    """The committed state of a topic partition. `metadata` is empty when nothing was committed."""

    offset: int
    metadata: str


class Output(NamedTuple):
    """A record to publish.

    With `partition` None the key decides. `tracked` asks for the record's offset. With `timestamp` None the time of
    sending holds. A `tombstone` has no value: it deletes its key from a compacted topic.
    """

    role: str
    value: bytes
    key: bytes | None = None
    partition: int | None = None
    tracked: bool = False
    timestamp: int | None = None
    tombstone: bool = False
    headers: Headers = ()


class PartitionStatus(NamedTuple):
    """The facts about an assigned topic partition that only the driver knows."""

    at_end: bool
    idle: bool
    ended: bool = False
    position: int = 0
    """The offset at which reading continues, past markers of transactions."""
    end: int | None = None
    """The current end of the log; None: not known."""
    merged_by_time: bool = False
    """The driver feeds all partitions as one stream in the order of time: nothing older remains to be read."""


class OffsetsOnly:
    """The topic methods of most stages. They do nothing, because the loop keeps the topic ids with the offsets."""

    def know_sources(self, ids: dict[str, str]) -> None:
        """Do nothing: the committed offsets name the ids."""

    def source_of(self, log: Sequence[bytes]) -> str:
        """Nothing: the change log does not record the id."""
        return ""

    def tell_again(self, role: str) -> None:
        """Do nothing: the stage publishes to no topic that may be created again without a stop."""


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
        """Roles of the topics on which the committed offsets depend: another topic of the same name is a stop."""

    def know_sources(self, ids: dict[str, str]) -> None:
        """Learn the ids of the topics that the stage reads and writes, by role; before `assign`."""

    def source_of(self, log: Sequence[bytes]) -> str:
        """The id of the topic to which a change log belongs, where its records name it; else nothing."""

    def tell_again(self, role: str) -> None:
        """Publish the records on a topic again: it was created again, and that need not stop the stage."""

    def restore_offset(self, partition: Partition, position: Position) -> int | None:
        """The offset of the change log at which a restore begins; None when there is nothing to restore."""

    def assign(self, positions: dict[Partition, Position], logs: ChangeLogs) -> dict[Partition, int]:
        """Own these topic partitions; `logs` are their change logs. Returns the offsets from which to read."""

    def revoke(self, partitions: Sequence[Partition]) -> None:
        """Forget these topic partitions; with the last of them everything that is not committed."""

    def process(self, role: str, messages: Sequence[Message]) -> None:
        """Process messages of one topic."""

    def flush(self, status: dict[Partition, PartitionStatus]) -> Iterable[Output]:
        """Everything to publish since the last commit. Later outputs may be computed while earlier ones are sent."""

    def offsets(self, delivered: Sequence[int]) -> dict[Partition, Position]:
        """Offsets (next to read) that this commit finishes; `delivered` are the offsets of the tracked outputs."""

    def committed(self) -> None:
        """The driver has committed the last flush."""

    def stats(self) -> StageStatistics:
        """The figures of the stage for telemetry, as of the last commit."""

    def partitions_to_pause(self, status: dict[Partition, PartitionStatus]) -> set[Partition]:
        """Partitions to pause until slower ones have caught up."""
