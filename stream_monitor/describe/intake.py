"""What becomes of the events of each input partition, counted from the beginning of the app.

The counts of a partition travel with its offset, so that a restart or another worker goes on with them, and in the
watermark records, by which the judge tells when too much is lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from stream_monitor.events.rejects import TOMBSTONE
from stream_monitor.profiles.records import PartitionIntake
from stream_monitor.stages.contract import Message, Partition

REASONS = 16
"""Reasons of a partition that are told apart, because offset metadata is limited; further ones count as `other`."""


class IntakeCounts(msgspec.Struct, array_like=True):
    """The counts of a partition, as its offset's metadata holds them; see `records.PartitionIntake`."""

    read: int = 0
    refused: dict[str, int] = {}
    items: int = 0
    joined: int = 0


class Intake:
    """The counts of the partitions of one worker."""

    def __init__(self) -> None:
        self._counts: dict[Partition, IntakeCounts] = {}
        self._changed: set[Partition] = set()

    def restore(self, partition: Partition, counts: IntakeCounts | None) -> None:
        """Own a partition, with the counts of its committed offset."""
        self._counts[partition] = counts or IntakeCounts()
        self._changed.discard(partition)

    def revoke(self, partitions: Sequence[Partition]) -> None:
        """Forget partitions."""
        for partition in partitions:
            self._counts.pop(partition, None)
            self._changed.discard(partition)

    def read(self, role: str, messages: Sequence[Message]) -> None:
        """Count the messages of a batch."""
        for number, count in Counter(message.partition() for message in messages).items():
            self._of((role, number)).read += count

    def refuse(self, role: str, number: int, reason: str) -> None:
        """Count an event that becomes a dead letter. A tombstone is no event."""
        counts = self._of((role, number))
        if reason == TOMBSTONE:
            counts.read -= 1
            return
        reason = reason if reason in counts.refused or len(counts.refused) < REASONS else "other"
        counts.refused[reason] = counts.refused.get(reason, 0) + 1

    def join(self, items: Mapping[Partition, int], joined: Mapping[Partition, int]) -> None:
        """Count labels and signals, and those that have joined a prediction."""
        for partition in sorted(items.keys() | joined.keys()):
            counts = self._of(partition)
            counts.items += items.get(partition, 0)
            counts.joined += joined.get(partition, 0)

    def _of(self, partition: Partition) -> IntakeCounts:
        self._changed.add(partition)
        return self._counts.setdefault(partition, IntakeCounts())

    def of(self, partition: Partition) -> IntakeCounts | None:
        """The counts for the metadata of an offset; None while nothing came."""
        counts = self._counts.get(partition)
        return counts if counts is not None and counts != IntakeCounts() else None

    def changed(self, partition: Partition) -> bool:
        """Whether the counts have grown since the last commit."""
        return partition in self._changed

    def records(self) -> list[PartitionIntake]:
        """The counts that have grown since the last commit."""
        return [
            PartitionIntake(role, number, *msgspec.structs.astuple(self._counts[role, number]))
            for role, number in sorted(self._changed)
        ]

    def committed(self) -> None:
        """The commit succeeded."""
        self._changed.clear()
