"""The rekey stage: labels and feedback that are keyed otherwise, or on other partition counts, to where ids belong.

It comes before describe, which then reads `labels-by-id` and `feedback-by-id`. A record goes on as it is, with its own
time, under the id of its prediction; one whose id cannot be read goes on too, and describe makes it a dead letter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from stream_monitor.stages.contract import (
    ChangeLogs,
    Message,
    OffsetsOnly,
    Output,
    Partition,
    PartitionStatus,
    Position,
)
from stream_monitor.stages.statistics import StageStatistics

TARGET = {"labels": "labels-by-id", "feedback": "feedback-by-id"}
"""The role that each role's records go to."""


class _Id(msgspec.Struct):
    id: str


_decoder = msgspec.json.Decoder(_Id)
_METADATA = '{"v":1}'


class Rekey(OffsetsOnly):
    """Implements `stages.Stage` for labels and feedback; remembers nothing."""

    changelog = ""
    keyed = False
    stands_on = (*TARGET, *TARGET.values())

    def __init__(self) -> None:
        self._outputs: list[Output] = []
        self.buffered_bytes = 0
        self._next: dict[Partition, int] = {}
        self._saved: dict[Partition, int] = {}

    def restore_offset(self, partition: Partition, position: Position) -> int | None:
        """There is nothing to restore."""
        return None

    def assign(self, positions: dict[Partition, Position], logs: ChangeLogs) -> dict[Partition, int]:
        """Own these partitions."""
        starts = {partition: position.offset for partition, position in positions.items()}
        self._next |= starts
        self._saved |= {partition: position.offset for partition, position in positions.items() if position.metadata}
        return starts

    def revoke(self, partitions: Sequence[Partition]) -> None:
        """Forget partitions that another worker owns now."""
        for partition in partitions:
            self._next.pop(partition, None)
            self._saved.pop(partition, None)
        if not self._next:
            self._outputs, self.buffered_bytes = [], 0

    def process(self, role: str, messages: Sequence[Message]) -> None:
        """Pass records on under their ids."""
        for message in messages:
            value = message.value() or b""
            self.buffered_bytes += len(value)
            self._outputs.append(Output(TARGET[role], value, id_of(value), timestamp=message.timestamp()[1]))
            self._next[role, message.partition()] = message.offset() + 1

    def flush(self, status: Mapping[Partition, PartitionStatus]) -> list[Output]:
        """What was passed on since the last commit; a partition at its end is read past the markers there."""
        for partition, told in status.items():
            if told.at_end:
                self._next[partition] = max(self._next[partition], told.position)
        return self._outputs

    def offsets(self, delivered: Sequence[int]) -> dict[Partition, Position]:
        """Offsets of partitions that moved."""
        moved = {part: at for part, at in self._next.items() if at != self._saved.get(part)}
        return {part: Position(at, _METADATA) for part, at in moved.items()}

    def committed(self) -> None:
        """Start from zero."""
        self._outputs, self.buffered_bytes = [], 0
        self._saved = dict(self._next)

    def stats(self) -> StageStatistics:
        """It has none of its own."""
        return StageStatistics()

    def partitions_to_pause(self, status: Mapping[Partition, PartitionStatus]) -> set[Partition]:
        """It waits for nobody."""
        return set()


def id_of(value: bytes) -> bytes:
    """The id of a label or feedback; empty for what is no event."""
    try:
        return _decoder.decode(value).id.encode()
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return b""
