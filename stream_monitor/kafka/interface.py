"""The seam between the loop and a broker; Kafka, and a broker in this process, stand behind it.

Calls may block as long as they say. They raise `Aborted` when a transaction did not happen and all can be tried again
from the committed offsets, `CommitUnknown` when nobody knows, and `BrokerError` for everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple, Protocol

from stream_monitor.errors import BrokerError
from stream_monitor.stages.contract import Message, Output, Partition, Position

Batch = tuple[str, Sequence[Message]]
OffsetsOf = Callable[[Sequence[int]], dict[Partition, Position]]


class Topic(NamedTuple):
    """What tells a topic from others of its name, and how many partitions it has."""

    id: str | None
    """None where the broker gives none."""
    partitions: int


class TableRecord(NamedTuple):
    """A record of a topic that every worker reads whole."""

    partition: int
    offset: int
    value: bytes


class Aborted(BrokerError):
    """The transaction was aborted: nothing of it exists."""


class Listener(Protocol):
    """Hears of the partitions that the group gives and takes; called within `consume`, may block, must not raise."""

    def assigned(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """Own these; returns the offsets from which to read."""

    def revoked(self, partitions: Sequence[Partition]) -> None:
        """About to lose these: commit now what is finished."""

    def lost(self, partitions: Sequence[Partition]) -> None:
        """These belong to somebody else already: commit nothing."""


class Client(Protocol):
    """One group consumer and one transactional producer."""

    def subscribe(self, roles: Sequence[str], listener: Listener) -> None:
        """Join the group of this stage."""

    def consume(self, limit: int, timeout_s: float) -> Iterable[Batch]:
        """Messages by topic role, those of a partition in offset order; waits at most `timeout_s` for the first."""

    def committed(self, partitions: Sequence[Partition]) -> dict[Partition, Position]:
        """The group's offsets and metadata; where nothing was committed the start by the settings, metadata empty."""

    def beginnings(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """The first offsets that there are."""

    def topics(self, roles: Collection[str]) -> dict[str, Topic]:
        """What the topics are that bear these names now; those that do not exist are absent."""

    def ends(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Log ends, open transactions included."""

    def positions(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """How far each partition has been read, past markers and aborted records."""

    def read_log(self, role: str, number: int, start: int, keyed: bool) -> list[tuple[int, bytes]]:
        """(offset, value) of a change log partition from `start` (below 0: what is left of it) to its end.

        Of one that is `keyed` only the last record of each key, so that memory holds no more than what counts.
        """

    @property
    def restored(self) -> float:
        """How much of a change log is read, while one is; else 1."""

    @property
    def moved(self) -> float:
        """When the reading of a change log last came forward, by `time.monotonic`; minus infinity before the first."""

    def table(self, role: str) -> list[TableRecord]:
        """New records of a small topic that every worker reads whole; never blocks."""

    def transact(self, outputs: Iterable[Output], offsets: OffsetsOf) -> None:
        """One transaction: outputs, flush, offsets, commit."""

    def rewind(self, starts: dict[Partition, int]) -> None:
        """Read these partitions from these offsets."""

    def pause(self, partitions: set[Partition]) -> None:
        """Read all assigned partitions but these."""

    def close(self) -> None:
        """Leave the group, and let go of everything; a second time does nothing."""
