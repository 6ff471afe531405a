"""The interface between the loop and a broker: Kafka, or a broker in this process.

A call blocks no longer than its docstring allows. A call raises `Aborted` when the transaction did not happen and the
loop can retry everything from the committed offsets. It raises `CommitUnknown` when the outcome is unknown, and
`BrokerError` for all other failures.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple, Protocol

from stream_monitor.errors import BrokerError
from stream_monitor.stages.contract import Message, Output, Partition, Position

Batch = tuple[str, Sequence[Message]]
OffsetsOf = Callable[[Sequence[int]], dict[Partition, Position]]


class Topic(NamedTuple):
    """The id and the number of partitions of a topic. The id distinguishes it from others of the same name."""

    id: str | None
    """None where the broker gives none."""
    partitions: int


class TableRecord(NamedTuple):
    """A record of a topic that every worker reads whole."""

    partition: int
    offset: int
    value: bytes


class Aborted(BrokerError):
    """The broker aborted the transaction: no part of it exists."""


class Listener(Protocol):
    """Receives the partitions that the group gives and takes. `consume` calls it. It may block but must not raise."""

    def assigned(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """Own these partitions; returns the offsets from which to read."""

    def revoked(self, partitions: Sequence[Partition]) -> None:
        """Commit finished work now: the group is about to take these partitions."""

    def lost(self, partitions: Sequence[Partition]) -> None:
        """Commit nothing: these partitions belong to another member already."""


class Client(Protocol):
    """One group consumer and one transactional producer."""

    def subscribe(self, roles: Sequence[str], listener: Listener) -> None:
        """Join the group of this stage."""

    def consume(self, limit: int, timeout_s: float) -> Iterable[Batch]:
        """Messages by topic role, those of a partition in offset order; waits at most `timeout_s` for the first one."""

    def committed(self, partitions: Sequence[Partition]) -> dict[Partition, Position]:
        """The group's offsets and metadata. Where none are committed: the start by the settings, and empty metadata."""

    def beginnings(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """The oldest offsets that still exist."""

    def topics(self, roles: Collection[str]) -> dict[str, Topic]:
        """The topics that have these names now. Topics that do not exist are absent."""

    def ends(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Log ends; they include open transactions."""

    def positions(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """How far the client has read each partition, past markers and aborted records."""

    def read_log(self, role: str, number: int, start: int, keyed: bool) -> list[tuple[int, bytes]]:
        """(offset, value) of a change log partition from `start` (below 0: from the oldest record) to its end.

        Of a `keyed` one, only the last record of each key, so that memory holds no more than counts.
        """

    @property
    def restored(self) -> float:
        """The fraction of a change log that is read, while the client reads one; else 1."""

    @property
    def moved(self) -> float:
        """When the reading of a change log last advanced, by `time.monotonic`; minus infinity before the first one."""

    def table(self, role: str) -> list[TableRecord]:
        """New records of a small topic that every worker reads whole; never blocks."""

    def transact(self, outputs: Iterable[Output], offsets: OffsetsOf) -> None:
        """One transaction: outputs, flush, offsets, commit."""

    def rewind(self, starts: dict[Partition, int]) -> None:
        """Read these partitions from these offsets."""

    def pause(self, partitions: set[Partition]) -> None:
        """Read all assigned partitions except these."""

    def close(self) -> None:
        """Leave the group, and close all clients. A second call does nothing."""
