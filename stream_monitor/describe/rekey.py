"""The rekey stage: it copies labels and feedback to topics that are keyed by prediction id.

An app needs it if its labels or feedback have other keys or other partition counts. It runs before describe, which then
reads `labels-by-id` and `feedback-by-id`. The stage copies a record unchanged, with its own time and headers, under the
id of its prediction. It also copies a record whose id it cannot read; describe makes that a dead letter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from stream_monitor.config.settings import Settings
from stream_monitor.events.json_text import decode_json
from stream_monitor.formats.contract import text_of
from stream_monitor.formats.registry import format_of
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
"""By role, the role to which its records are copied."""


class _Id(msgspec.Struct):
    id: str


_decoder = msgspec.json.Decoder(_Id)
_METADATA = '{"v":1}'


class Rekey(OffsetsOnly):
    """Implements `stages.Stage` for labels and feedback; it has no state between commits."""

    changelog = ""
    keyed = False
    stands_on = (*TARGET, *TARGET.values())

    def __init__(self, settings: Settings) -> None:
        self._formats = {role: format_of(settings.topics.formats, role) for role in TARGET}
        self._outputs: list[Output] = []
        self.buffered_bytes = 0
        self._next: dict[Partition, int] = {}
        self._saved: dict[Partition, int] = {}

    def restore_offset(self, partition: Partition, position: Position) -> int | None:
        """None: there is nothing to restore."""
        return None

    def assign(self, positions: dict[Partition, Position], logs: ChangeLogs) -> dict[Partition, int]:
        """Take ownership of these partitions."""
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
        """Copy records under their ids."""
        for message in messages:
            value = message.value() or b""
            self.buffered_bytes += len(value)
            key = id_of(text_of(self._formats[role], message))
            self._outputs.append(
                Output(TARGET[role], value, key, timestamp=message.timestamp()[1], headers=message.headers() or ())
            )
            self._next[role, message.partition()] = message.offset() + 1

    def flush(self, status: Mapping[Partition, PartitionStatus]) -> list[Output]:
        """The copies since the last commit. A partition that is read to its end advances beyond the markers there."""
        for partition, reported in status.items():
            if reported.at_end:
                self._next[partition] = max(self._next[partition], reported.position)
        return self._outputs

    def offsets(self, delivered: Sequence[int]) -> dict[Partition, Position]:
        """The offsets of partitions that have advanced."""
        moved = {part: offset for part, offset in self._next.items() if offset != self._saved.get(part)}
        return {part: Position(offset, _METADATA) for part, offset in moved.items()}

    def committed(self) -> None:
        """The commit succeeded: forget the copies."""
        self._outputs, self.buffered_bytes = [], 0
        self._saved = dict(self._next)

    def stats(self) -> StageStatistics:
        """Empty: the stage has no statistics of its own."""
        return StageStatistics()

    def partitions_to_pause(self, status: Mapping[Partition, PartitionStatus]) -> set[Partition]:
        """None: the stage never pauses a partition."""
        return set()


def id_of(text: bytes) -> bytes:
    """The id of the JSON of a label or feedback; empty if it has no readable id."""
    try:
        return decode_json(_decoder, text).id.encode()
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return b""
