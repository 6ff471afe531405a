"""The describe stage: it takes batches of events, and at each commit returns the deltas and watermarks to publish.

Pure: no clock, no client. Between commits the stage keeps the pending rows (`join.joiner`), the clocks of the
partitions, and the catalog, which the judge publishes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from operator import methodcaller
from typing import Any

import numpy as np

from stream_monitor.config.settings import ROLES_IN, Settings
from stream_monitor.describe.aggregate.delta_writer import Batch, batches
from stream_monitor.describe.aggregate.grouping import ACCEPTED, DUPLICATE, LATE
from stream_monitor.describe.aggregate.row_sampling import SampleSpec
from stream_monitor.describe.clock_jumps import Arrivals
from stream_monitor.describe.dead_letter_quota import DeadLetterQuota, by_reason
from stream_monitor.describe.decode.admissible import decode_admissible
from stream_monitor.describe.decode.prediction_buffer import PredictionBuffer, stamped
from stream_monitor.describe.decode.scanned_columns import PredictionScanner
from stream_monitor.describe.intake import Intake
from stream_monitor.describe.join.joiner import Joiner
from stream_monitor.describe.key_placement import KeyPlacement, placement_problem
from stream_monitor.describe.observation_buffer import ObservationBuffer
from stream_monitor.describe.offset_metadata import OffsetFormat
from stream_monitor.describe.profile_outputs import ProfileOutputs
from stream_monitor.describe.watermarks import JOINED_ROLES, Clocks, Limits
from stream_monitor.errors import RestoreError
from stream_monitor.events.decode import Event, Reject
from stream_monitor.formats.registry import format_of
from stream_monitor.kernels.id_hash import hash_ids
from stream_monitor.profiles.bin_catalog import BinCatalog
from stream_monitor.profiles.records import WatermarkRecord
from stream_monitor.stages.contract import (
    ChangeLogs,
    Message,
    OffsetsOnly,
    Output,
    Partition,
    PartitionStatus,
    Position,
)
from stream_monitor.stages.statistics import DescribeStatistics
from stream_monitor.stages.topology import Topology
from stream_monitor.types import I64

_partition = methodcaller("partition")


class Describe(OffsetsOnly):
    """Implements `stages.Stage` for the input topics."""

    def __init__(self, settings: Settings, topology: Topology, catalog: BinCatalog) -> None:
        self.settings, self.topology, self.catalog = settings, topology, catalog
        self.clocks = Clocks(settings.time.jump)
        self.joiner = Joiner(settings)
        self._offsets = OffsetFormat(settings, topology)
        self._profiles = ProfileOutputs(settings, topology, catalog)
        self.next_offset: dict[Partition, int] = {}
        self._saved: dict[Partition, int] = {}
        self._scanner = PredictionScanner(
            settings.segments, settings.privacy.rules(), settings.embeddings, settings.sample.rows > 0
        )
        self._formats = {role: format_of(settings.topics.formats, role) for role in ROLES_IN}
        self._rejected, self.intake = DeadLetterQuota(settings), Intake()
        self._placed_keys = {role: KeyPlacement() for role in JOINED_ROLES}
        self._stats = DescribeStatistics()
        self._reset_overlay()

    def _reset_overlay(self) -> None:
        self._intake = PredictionBuffer(self._scanner, self._formats["predictions"], self.settings.time.max_skew)
        self._others = 0
        self._late, self._duplicates = Counter[str](), Counter[str]()
        self._observed = ObservationBuffer()
        self._rejected.forget()

    @property
    def buffered_bytes(self) -> int:
        """Bytes of events taken in since the last commit."""
        return self._intake.bytes + self._others

    # --- partitions ---

    changelog = "pending"
    keyed = False
    stands_on = ("predictions", "labels", "feedback", "observations", "pending", "profiles")

    def restore_offset(self, partition: Partition, position: Position) -> int | None:
        """Offset in the change log of the oldest row that was pending at the last commit; -1 before the first commit.

        None for a partition that has no change log.
        """
        if partition[0] != "predictions":
            return None
        return self._offsets.read(*partition, position).low if position.metadata else -1

    def assign(self, positions: dict[Partition, Position], logs: ChangeLogs) -> dict[Partition, int]:
        """Take ownership of these partitions.

        Raises:
            RestoreError: the offset metadata of a commit is not ours, or has another layout.
        """
        for (role, number), position in sorted(positions.items(), key=lambda item: item[0][0] != "predictions"):
            metadata = self._offsets.read(role, number, position)
            clock = self.clocks.add(role, number)
            clock.largest, clock.candidate = metadata.ts, metadata.ahead
            self._rejected.restore((role, number), metadata.dead)
            self.intake.restore((role, number), metadata.intake)
            self.next_offset[role, number] = position.offset
            if self._offsets.is_current(role, metadata):
                # otherwise the next commit writes this offset again, with the new partition count and structure
                self._saved[role, number] = position.offset
            if role == "predictions":
                self.joiner.assign(number, logs.get(number, []))
            elif role != "observations" and number not in self.joiner.stores:
                raise RestoreError(
                    f"{role}/{number} was assigned without predictions/{number}: the group's assignor does not keep "
                    "topics together; use the range assignor"
                )
        return {partition: position.offset for partition, position in positions.items()}

    def revoke(self, partitions: Sequence[Partition]) -> None:
        """Forget partitions that another worker owns now."""
        self._rejected.revoke(partitions)
        self.intake.revoke(partitions)
        for role, number in partitions:
            self.next_offset.pop((role, number), None)
            self._saved.pop((role, number), None)
            self.clocks.remove(role, number)
            if role == "predictions":
                self.joiner.revoke(number)
        if not self.next_offset:
            self._reset_overlay()

    # --- events ---

    def process(self, role: str, messages: Sequence[Message]) -> None:
        """Decode a batch of one topic."""
        self.intake.read(role, messages)
        if self.topology.inputs > 1 and role in self._placed_keys:
            self._placed_keys[role].observe(messages, self.topology.inputs)
        if role == "predictions":
            self._intake.take(messages, partial(self.clocks.admit, role), partial(self._decode, role))
        else:
            self._process_others(role, messages)
        partitions = list(map(_partition, messages))
        last = dict(zip(partitions, range(len(partitions)), strict=True))
        for number, index in last.items():
            self.next_offset[role, number] = messages[index].offset() + 1

    def _process_others(self, role: str, messages: Sequence[Message]) -> None:
        self._others += sum(len(message.value() or b"") for message in messages)
        kept: list[Event] = []
        where: list[Message] = []
        for message in messages:
            event = self._decode(role, message)
            if event is not None:
                kept.append(event)
                where.append(message)
        if kept:
            self._take[role](self, kept, where)

    def _decode(self, role: str, message: Message) -> Event | None:
        event = decode_admissible(self._formats[role], role, message, self.settings.time.max_skew)
        if isinstance(event, Reject):
            self._rejected.add(event, role, message)
            self.intake.refuse(role, message.partition(), event.reason)
            return None
        return event

    def _take_observations(self, events: list[Any], where: list[Message]) -> None:
        _, ts, before = self._admit("observations", events, where)
        self._observed.take(events, ts, before)

    def _take_labels(self, events: list[Any], where: list[Message]) -> None:
        timed = [
            event.ts if event.ts is not None else message.timestamp()[1]
            for event, message in zip(events, where, strict=True)
        ]
        partition, ts, _ = self._admit("labels", events, where, timed)
        self.joiner.labels(events, partition, ts)

    def _take_feedback(self, events: list[Any], where: list[Message]) -> None:
        partition, ts, _ = self._admit("feedback", events, where)
        self.joiner.feedback(events, partition, ts)

    _take = {  # noqa: RUF012
        "observations": _take_observations,
        "labels": _take_labels,
        "feedback": _take_feedback,
    }

    def _admit(
        self, role: str, events: list[Any], where: list[Message], times: list[int] | None = None
    ) -> tuple[I64, I64, I64]:
        """(partition, ts, largest earlier ts of the partition) of a batch in log order."""
        arrivals = _arrivals(role, events, where, times)
        return arrivals.partition, arrivals.ts, self.clocks.admit(role, arrivals)

    # --- the commit ---

    def flush(self, status: Mapping[Partition, PartitionStatus]) -> Iterator[Output]:
        """The outputs of this commit: change log, deltas, watermarks, in this order.

        The driver sends the change log while the stage builds the rest. A watermark promises that the deltas below it
        are published, so it follows them.
        """
        for partition, reported in status.items():
            self.clocks.learn(partition, reported)
            if reported.at_end:  # beyond the markers of a transactional producer, which would look like lag for ever
                self.next_offset[partition] = max(self.next_offset.get(partition, 0), reported.position)
        yield from self._rejected.outputs()
        traffic, ended = self._traffic(), {partition for partition, reported in status.items() if reported.ended}
        lateness, over = self.settings.time.allowed_lateness, self.clocks.over(ended)
        joined = self.joiner.flush(self.clocks.joined, lateness, over)
        self.intake.join(joined.items, joined.joined)
        for number, value in joined.changes:
            yield Output("pending", value, partition=number, tracked=True)
        yield from self._profiles.deltas([*traffic, *joined.batches], joined.performance, joined.pairs)
        yield from self._profiles.watermarks(self._watermarks(ended), self.intake.records())

    def _traffic(self) -> list[Batch]:
        traffic: list[Batch] = []
        lateness, most = self.settings.time.allowed_lateness, self.settings.sample.rows
        if self._intake.size:
            partition, ts, before = self._intake.clocks()
            parts = self._intake.columns()
            late = ts < before - lateness
            status = np.where(late, LATE, ACCEPTED)
            ids = self._intake.hashes()
            status[self.joiner.predictions((partition, ts, before), ids, parts)] = DUPLICATE
            self._count("predictions", status)
            panes = self._pane(np.where(late, before, ts)), status
            traffic += batches("input", parts, panes, SampleSpec(ids[:, 0], most) if most else None)
        if (observed := self._observed.columns()) is not None:
            ts, before = observed.ts, observed.before
            status = np.where(ts < before - lateness, LATE, ACCEPTED)
            self._count("observations", status)
            panes = self._pane(np.where(status == LATE, before, ts)), status
            traffic += batches("observation", observed.columns, panes)
        return traffic

    def _count(self, role: str, status: I64) -> None:
        """Count late events and duplicates for telemetry."""
        self._late[role] += int((status == LATE).sum())
        self._duplicates[role] += int((status == DUPLICATE).sum())

    def _pane(self, ts: I64) -> I64:
        return ts - ts % self.settings.time.pane

    def _watermarks(self, ended: set[Partition]) -> WatermarkRecord:
        lateness, horizon = self.settings.time.allowed_lateness, self.settings.join.label_horizon
        partitions = self.clocks.partition_times(ended, lateness, horizon)
        observations = self.clocks.observation_times(ended, lateness)
        return WatermarkRecord(self.topology.inputs, partitions, observations, self.topology.observations)

    def offsets(self, delivered: Sequence[int]) -> dict[Partition, Position]:
        """The offsets to commit, with their metadata; `delivered` are the offsets of the change log records."""
        low = self.joiner.delivered(delivered)
        return {
            (role, number): Position(offset, self._offset_metadata(role, number, low.get(number)))
            for (role, number), offset in self.next_offset.items()
            if self._saved.get((role, number)) != offset
            or (role == "predictions" and number in low)
            or self.intake.changed((role, number))
        }

    def _offset_metadata(self, role: str, number: int, low: int | None) -> str:
        quota = self._rejected.allowance((role, number))
        low = low if role == "predictions" else None
        intake = self.intake.of((role, number))
        clock = self.clocks.clock(role, number)
        return self._offsets.write(role, (clock.largest, clock.candidate), low, quota, intake)

    def committed(self) -> None:
        """The commit succeeded: publish its statistics, and start the counts and buffers from zero."""
        self._stats = _statistics(self.joiner, self._rejected, self._placed_keys, self.topology.rekey)
        self._stats = replace(self._stats, late=dict(self._late), duplicates=dict(self._duplicates))
        self.joiner.committed()
        self.intake.committed()
        self._saved = dict(self.next_offset)
        self._reset_overlay()

    def stats(self) -> DescribeStatistics:
        """Statistics of the last commit: rejects, late events, duplicates, pending rows."""
        return self._stats

    def partitions_to_pause(self, status: Mapping[Partition, PartitionStatus]) -> set[Partition]:
        """Partitions that have run more than `align` ahead of the slowest partition that is not read to its end.

        The slowest may belong to another worker. The judge publishes the progress of all workers, and that figure is at
        most an eighth of `align` old. When a judge reports that it holds too much, no partition may run ahead by more
        than the age of that figure.
        """
        progress, slack = self.catalog.progress, self.settings.time.allowed_lateness + self.settings.align // 8
        align = 0 if self.catalog.wait else self.settings.align
        own = slack if self.catalog.wait else align
        joined = None if progress is None else progress + slack + align
        return self.clocks.ahead(status, self.next_offset.keys(), Limits(own, joined))


def _arrivals(role: str, events: list[Any], where: list[Message], times: list[int] | None) -> Arrivals:
    """The events of a batch for the clocks; `times` where they are not those of the events."""
    ts = np.array([event.ts for event in events] if times is None else times, np.int64)
    names = [event.source if role == "observations" else event.id for event in events]
    partition = np.fromiter(map(_partition, where), np.int64, len(where))
    return Arrivals(partition, ts, lambda: hash_ids(names)[:, 0], lambda: stamped(where))


def _statistics(
    joiner: Joiner, rejected: DeadLetterQuota, placed: Mapping[str, KeyPlacement], rekey: bool
) -> DescribeStatistics:
    """The figures of a commit, but for late events and duplicates."""
    refused, summed = rejected.counted()
    partitioner = rejected.settings.topics.partitioner
    return DescribeStatistics(
        rejects=by_reason(refused),
        refused=refused,
        summed=summed,
        evicted=joiner.evicted,
        overflow=joiner.overflow,
        unpaired=joiner.unpaired,
        pending=sum(len(store) for store in joiner.stores.values()),
        misplaced_keys={role: keys.misplaced(partitioner) for role, keys in placed.items()},
        problem=placement_problem(placed, partitioner, rekey),
    )
