"""The describe stage: it takes batches of events, and at each commit returns the deltas and watermarks to publish.

Pure: no clock, no client. Between commits the stage keeps the pending rows (`join.joiner`), the clocks of the
partitions, and the catalog, which the judge publishes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from operator import methodcaller
from typing import Any

import msgspec
import numpy as np

from stream_monitor.config.settings import Settings
from stream_monitor.describe.aggregate.delta_writer import Batch, batches, pack_deltas, pack_records
from stream_monitor.describe.aggregate.grouping import ACCEPTED, DUPLICATE, LATE
from stream_monitor.describe.aggregate.row_sampling import SampleSpec
from stream_monitor.describe.dead_letter_quota import DeadLetterQuota
from stream_monitor.describe.decode import columns as build
from stream_monitor.describe.decode.columns import Columns, merge
from stream_monitor.describe.decode.prediction_buffer import PredictionBuffer
from stream_monitor.describe.decode.scanned_columns import PredictionScanner
from stream_monitor.describe.join.joiner import Joiner
from stream_monitor.describe.key_placement import KeyPlacement, placement_problem
from stream_monitor.describe.offset_metadata import WIDTHS, OffsetMetadata, read_metadata
from stream_monitor.describe.watermarks import PartitionClock, TopicClock
from stream_monitor.errors import RestoreError
from stream_monitor.events.decode import EARLIEST, Event, Reject, decode
from stream_monitor.profiles.bin_catalog import BinCatalog
from stream_monitor.profiles.names import END, NEVER
from stream_monitor.profiles.records import ObservationTime, PartitionTime, WatermarkRecord, write_record
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
from stream_monitor.stages.topology import Topology, partition_of
from stream_monitor.types import I64

_partition = methodcaller("partition")
JOINED_ROLES = ("predictions", "labels", "feedback")


class Describe(OffsetsOnly):
    """Implements `stages.Stage` for the input topics."""

    def __init__(self, settings: Settings, topology: Topology, catalog: BinCatalog) -> None:
        self.settings, self.topology, self.catalog = settings, topology, catalog
        self.clocks: dict[int, PartitionClock] = {}
        self.observation_clocks: dict[int, TopicClock] = {}
        self.joiner = Joiner(settings)
        self._structure = settings.profile_structure()
        self.next_offset: dict[Partition, int] = {}
        self._saved: dict[Partition, int] = {}
        self._scanner = PredictionScanner(
            settings.segments, settings.privacy.rules(), settings.embeddings, settings.sample.rows > 0
        )
        self._rejected = DeadLetterQuota(settings)
        self._placed_keys = {role: KeyPlacement() for role in JOINED_ROLES}
        self._stats = DescribeStatistics()
        self._reset_overlay()

    def _reset_overlay(self) -> None:
        self._intake = PredictionBuffer(self._scanner, self.settings.time.max_skew)
        self._others = 0
        self._late, self._duplicates = Counter[str](), Counter[str]()
        self._observed: list[tuple[I64, I64, list[Columns]]] = []
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
        return self._metadata(*partition, position).low if position.metadata else -1

    def assign(self, positions: dict[Partition, Position], logs: ChangeLogs) -> dict[Partition, int]:
        """Take ownership of these partitions.

        Raises:
            RestoreError: the offset metadata of a commit is not ours, or has another layout.
        """
        for (role, number), position in sorted(positions.items(), key=lambda item: item[0][0] != "predictions"):
            metadata = self._metadata(role, number, position)
            clock = self._clock(role, number, create=True)
            clock.largest = metadata.ts
            self._rejected.restore((role, number), metadata.dead)
            self.next_offset[role, number] = position.offset
            if (metadata.n, metadata.structure) == (self._expected(role), self._structure):
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

    def _metadata(self, role: str, number: int, position: Position) -> OffsetMetadata:
        metadata = read_metadata(f"{role}/{number}", position)
        if position.metadata:
            metadata.require_partitions(role, self._expected(role), self.topology.accept_repartition)
            metadata.require_structure(self.settings)
        return metadata

    def _expected(self, role: str) -> int:
        return self.topology.observations if role == "observations" else self.topology.inputs

    def _clock(self, role: str, number: int, create: bool = False) -> TopicClock:
        if role == "observations":
            return self.observation_clocks.setdefault(number, TopicClock())
        clock = self.clocks.setdefault(number, PartitionClock()) if create else self.clocks[number]
        chosen: TopicClock = getattr(clock, role)
        return chosen

    def revoke(self, partitions: Sequence[Partition]) -> None:
        """Forget partitions that another worker owns now."""
        self._rejected.revoke(partitions)
        for role, number in partitions:
            self.next_offset.pop((role, number), None)
            self._saved.pop((role, number), None)
            if role == "observations":
                self.observation_clocks.pop(number, None)
            elif role == "predictions":
                self.clocks.pop(number, None)
                self.joiner.revoke(number)
        if not self.next_offset:
            self._reset_overlay()

    # --- events ---

    def process(self, role: str, messages: Sequence[Message]) -> None:
        """Decode a batch of one topic."""
        if self.topology.inputs > 1 and role in self._placed_keys:
            self._placed_keys[role].observe(messages, self.topology.inputs)
        if role == "predictions":
            self._intake.take(messages, self._admit_predictions, self._decode_prediction)
        else:
            self._process_others(role, messages)
        partitions = list(map(_partition, messages))
        last = dict(zip(partitions, range(len(partitions)), strict=True))
        for number, index in last.items():
            self.next_offset[role, number] = messages[index].offset() + 1

    def _process_others(self, role: str, messages: Sequence[Message]) -> None:
        self._others += sum(len(message.value() or b"") for message in messages)
        kept: list[Event] = []
        where: list[tuple[int, int]] = []
        for message in messages:
            event = self._decode(role, message)
            if event is not None:
                kept.append(event)
                where.append((message.partition(), message.timestamp()[1]))
        if kept:
            self._take[role](self, kept, where)

    def _decode_prediction(self, message: Message) -> Event | None:
        return self._decode("predictions", message)

    def _decode(self, role: str, message: Message) -> Event | None:
        event = self._admissible(role, message)
        if isinstance(event, Reject):
            self._rejected.add(event, role, message)
            return None
        return event

    def _admissible(self, role: str, message: Message) -> Event | Reject:
        event = decode(role, message.value())
        if isinstance(event, Reject) or event.ts is None:
            return event
        if event.ts < EARLIEST:
            return Reject("before_2000", f"ts {event.ts} is before the year 2000: epoch milliseconds are expected")
        arrived = message.timestamp()[1]
        if event.ts > arrived + self.settings.time.max_skew:
            return Reject("future", f"ts {event.ts} is more than max_skew after the record's own time {arrived}")
        return event

    def _take_observations(self, events: list[Any], where: list[tuple[int, int]]) -> None:
        _, ts, before = self._admit("observations", events, where)
        start = sum(len(earlier) for earlier, _, _ in self._observed)
        by_model: dict[str, list[int]] = defaultdict(list)
        for row, event in enumerate(events):
            by_model[event.model].append(row)
        columns = [
            build.of_observations(model, [start + row for row in rows], [events[row] for row in rows])
            for model, rows in by_model.items()
        ]
        self._observed.append((ts, before, columns))

    def _take_labels(self, events: list[Any], where: list[tuple[int, int]]) -> None:
        timed = [
            event.ts if event.ts is not None else arrived for event, (_, arrived) in zip(events, where, strict=True)
        ]
        partition, ts, _ = self._admit("labels", events, where, timed)
        self.joiner.labels(events, partition, ts)

    def _take_feedback(self, events: list[Any], where: list[tuple[int, int]]) -> None:
        partition, ts, _ = self._admit("feedback", events, where)
        self.joiner.feedback(events, partition, ts)

    _take = {  # noqa: RUF012
        "observations": _take_observations,
        "labels": _take_labels,
        "feedback": _take_feedback,
    }

    def _admit(
        self, role: str, events: list[Any], where: list[tuple[int, int]], times: list[int] | None = None
    ) -> tuple[I64, I64, I64]:
        """(partition, ts, largest earlier ts of the partition) of a batch in log order."""
        partition = np.array([number for number, _ in where], np.int64)
        ts = np.array([event.ts for event in events] if times is None else times, np.int64)
        return partition, ts, self._largest_before(role, partition, ts)

    def _admit_predictions(self, partition: I64, ts: I64) -> I64:
        return self._largest_before("predictions", partition, ts)

    def _largest_before(self, role: str, partition: I64, ts: I64) -> I64:
        first = int(partition[0])
        if (partition == first).all():
            return self._clock(role, first).admit(ts)
        before = np.empty_like(ts)
        for number in np.unique(partition).tolist():
            rows = partition == number
            before[rows] = self._clock(role, number).admit(ts[rows])
        return before

    # --- the commit ---

    def flush(self, status: Mapping[Partition, PartitionStatus]) -> Iterator[Output]:
        """The outputs of this commit: change log, deltas, watermarks, in this order.

        The driver sends the change log while the stage builds the rest. A watermark promises that the deltas below it
        are published, so it follows them.
        """
        for partition, reported in status.items():
            clock = self._clock(*partition, create=True)
            newest = self.clocks[partition[1]].predictions.largest if partition[1] in self.clocks else NEVER
            clock.learn(reported, newest)
            if reported.at_end:  # beyond the markers of a transactional producer, which would look like lag for ever
                self.next_offset[partition] = max(self.next_offset.get(partition, 0), reported.position)
        ended = {partition for partition, reported in status.items() if reported.ended}
        yield from self._rejected.outputs()
        traffic = self._traffic()
        joined = self.joiner.flush(self.clocks, self.settings.time.allowed_lateness)
        for number, value in joined.changes:
            yield Output("pending", value, partition=number, tracked=True)
        by_target: dict[int, list[bytes]] = defaultdict(list)
        performance: dict[int, list[bytes]] = defaultdict(list)
        for batch in [*traffic, *joined.batches]:
            self._pack(batch, by_target)
        for model, packed in joined.performance:
            performance[self._target(model)].append(packed)
        for target in sorted(by_target.keys() | performance.keys()):
            parts = by_target[target], performance[target]
            for record in pack_records(*parts, self._structure, self.settings.embeddings):
                yield Output("profiles", record, partition=target)
        if watermarks := self._watermarks(ended):
            for target in range(self.topology.profiles):
                yield Output("profiles", watermarks, partition=target)

    def _pack(self, batch: Batch, by_target: dict[int, list[bytes]]) -> None:
        for model, packed in pack_deltas(batch, lambda model: self.catalog.of(model, batch.timeline)):
            by_target[self._target(model)].append(packed)

    def _target(self, model: str) -> int:
        return partition_of(model, self.topology.profiles)

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
        if self._observed:
            ts, before = (np.concatenate([batch[i] for batch in self._observed]) for i in (0, 1))
            by_model: dict[str, list[Columns]] = defaultdict(list)
            for _, _, columns in self._observed:
                for part in columns:
                    by_model[part.models.names[0]].append(part)
            status = np.where(ts < before - lateness, LATE, ACCEPTED)
            self._count("observations", status)
            merged = [merge(by_model[model]) for model in sorted(by_model)]
            traffic += batches("observation", merged, (self._pane(np.where(status == LATE, before, ts)), status))
        return traffic

    def _count(self, role: str, status: I64) -> None:
        """Count late events and duplicates for telemetry."""
        self._late[role] += int((status == LATE).sum())
        self._duplicates[role] += int((status == DUPLICATE).sum())

    def _pane(self, ts: I64) -> I64:
        return ts - ts % self.settings.time.pane

    def _watermarks(self, ended: set[Partition]) -> bytes | None:
        lateness, horizon = self.settings.time.allowed_lateness, self.settings.join.label_horizon
        partitions = []
        for number, clock in sorted(self.clocks.items()):
            end = all((role, number) in ended for role in JOINED_ROLES)
            largest = max(clock.predictions.largest, clock.labels.largest, clock.feedback.largest)
            partitions.append(
                PartitionTime(
                    partition=number,
                    input=END if end else clock.input(lateness),
                    label=END if end else clock.joined(clock.labels, lateness, horizon),
                    feedback=END if end else clock.joined(clock.feedback, lateness, horizon),
                    largest=largest,
                    idle=clock.predictions.idle,
                    end=end,
                )
            )
        observations = []
        for number, topic_clock in sorted(self.observation_clocks.items()):
            end = ("observations", number) in ended
            watermark = END if end else topic_clock.watermark(lateness)
            observations.append(ObservationTime(number, watermark, topic_clock.largest, topic_clock.idle, end))
        if not partitions and not observations:
            return None
        return write_record(WatermarkRecord(self.topology.inputs, partitions, observations, self.topology.observations))

    def offsets(self, delivered: Sequence[int]) -> dict[Partition, Position]:
        """The offsets to commit, with their metadata; `delivered` are the offsets of the change log records."""
        low = self.joiner.delivered(delivered)
        return {
            (role, number): Position(offset, self._describe_offset(role, number, low.get(number)))
            for (role, number), offset in self.next_offset.items()
            if self._saved.get((role, number)) != offset or (role == "predictions" and number in low)
        }

    def _describe_offset(self, role: str, number: int, low: int | None) -> str:
        metadata = OffsetMetadata(
            self._clock(role, number).largest,
            low if role == "predictions" else None,
            self._expected(role),
            dead=self._rejected.allowance((role, number)),
            structure=self._structure,
            widths=dict(sorted(self.settings.embeddings.items())[:WIDTHS]),
        )
        return msgspec.json.encode(metadata).decode()

    def committed(self) -> None:
        """The commit succeeded: publish its statistics, and start the counts and buffers from zero."""
        rejects, summed = self._rejected.counted()
        partitioner = self.settings.topics.partitioner
        self._stats = DescribeStatistics(
            rejects=rejects,
            summed=summed,
            late=dict(self._late),
            duplicates=dict(self._duplicates),
            evicted=self.joiner.evicted,
            overflow=self.joiner.overflow,
            pending=sum(len(store) for store in self.joiner.stores.values()),
            misplaced_keys={role: placed.misplaced(partitioner) for role, placed in self._placed_keys.items()},
            problem=placement_problem(self._placed_keys, partitioner, self.topology.rekey),
        )
        self.joiner.committed()
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
        behind = [
            self._clock(*p).largest for p, reported in status.items() if not reported.at_end and p in self.next_offset
        ]
        progress, slack = self.catalog.progress, self.settings.time.allowed_lateness + self.settings.align // 8
        align = 0 if self.catalog.wait else self.settings.align
        limit = min(behind, default=END) + (slack if self.catalog.wait else align)
        joined = limit if progress is None else min(limit, progress + slack + align)
        # the progress is that of predictions: observations continue when predictions have stopped
        return {p for p in self.next_offset if self._clock(*p).largest > (limit if p[0] == "observations" else joined)}
