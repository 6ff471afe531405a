"""The judge stage.

It reads the records of its `profiles` partitions, publishes alerts, metrics, health, edges and baselines, and writes a
snapshot of its state from time to time.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np

from stream_monitor.config.recorded import adopted, judged_text
from stream_monitor.config.settings import Settings
from stream_monitor.errors import FormatError, RestoreError
from stream_monitor.judge.model_state import ModelState
from stream_monitor.judge.outputs import OutputBuffer
from stream_monitor.judge.pane_memory import OPEN_BYTES
from stream_monitor.judge.partition import PartitionJudge
from stream_monitor.judge.snapshots import Restored, Snapshots, source_of
from stream_monitor.profiles.records import Record, SettingsRecord, read_record, write_record
from stream_monitor.stages.contract import ChangeLogs, Message, Output, Partition, PartitionStatus, Position
from stream_monitor.stages.statistics import JudgeStatistics

log = logging.getLogger(__name__)

METADATA_FORMAT = 1
SNAPSHOT_BYTES = 64_000_000


class JudgeMetadata(msgspec.Struct):
    """Offset metadata: the judge commits it beside the offset of a `profiles` partition."""

    low: int
    n: int
    v: int = METADATA_FORMAT
    saved: bool = False
    """True when a snapshot was written; the topic `state` then holds it."""


class PartitionProgress:
    """The judge of one partition, and its position in the log."""

    def __init__(self, judge: PartitionJudge, snapshots: Snapshots, start: int, committed: int) -> None:
        self.judge, self.snapshots = judge, snapshots
        self.next = start
        self.published_until = committed
        self.snapshot = start
        self.saved_snapshot = start
        self.saved_next = committed
        self.snapshot_time: int | None = None
        self.read_bytes = 0
        self.settings_sent = False
        self.progress_due = True
        self.notices_due = False
        """Publish the whole catalog again, as soon as the judge has read up to its committed offset."""
        self._waited = judge.state.told_wait
        self._refused = judge.state.refused
        counts: tuple[Callable[[ModelState], int], ...] = (_lost_labels, _after_idle)
        self._lost = {count: self._by_model(count) for count in counts}

    def _by_model(self, count: Callable[[ModelState], int]) -> dict[str, int]:
        return {name: count(model.state) for name, model in self.judge.models.items()}

    def new_wait(self) -> bool:
        """Whether the judge has asked the workers to wait since the last call of this method."""
        before, self._waited = self._waited, self.judge.state.told_wait
        return self._waited and not before

    def new_refused(self) -> int:
        """The number of records that were refused since the last call of this method."""
        before, self._refused = self._refused, self.judge.state.refused
        return max(0, self._refused - before) if self.next >= self.published_until else 0

    def new_lost_labels(self) -> int:
        """The number of labels that came too late since the last call of this method."""
        return self._new(_lost_labels)

    def new_after_idle(self) -> int:
        """The number of events that came for closed panes since the last call of this method."""
        return self._new(_after_idle)

    def _new(self, count: Callable[[ModelState], int]) -> int:
        """The growth of a count since the last call of this method.

        It is 0 below the committed offset: another worker has counted those records already.
        """
        before, now = self._lost[count], self._by_model(count)
        self._lost[count] = now
        if self.next < self.published_until:
            return 0
        return sum(max(0, lost - before.get(name, 0)) for name, lost in now.items())


def _lost_labels(state: ModelState) -> int:
    return state.lost_labels


def _after_idle(state: ModelState) -> int:
    return sum(timeline.after_idle for timeline in state.timelines.values())


class Judge:
    """Implements `stages.Stage` for `profiles`."""

    def __init__(self, settings: Settings, partitions: int, health: bool = True, decisions: bool = True) -> None:
        self.settings, self.partitions = settings, partitions
        self.assignments: dict[int, PartitionProgress] = {}
        self._source = ""
        """The id of the topic `profiles`."""
        self._outputs = OutputBuffer(health, decisions)
        self.buffered_bytes = 0
        self._stats = JudgeStatistics()

    @property
    def changelog(self) -> str:
        """Judges are restored from their snapshots on `state`."""
        return "state"

    keyed = True
    stands_on = ("profiles", "state")

    def restore_offset(self, partition: Partition, position: Position) -> int | None:
        """Snapshots are read from the beginning: the topic is compacted."""
        return -1

    def know_sources(self, ids: dict[str, str]) -> None:
        """Keep the id of the topic `profiles`: each snapshot names the topic that it was made from."""
        self._source = ids.get("profiles", "")

    def source_of(self, log: Sequence[bytes]) -> str:
        """The id of the topic that the newest snapshot was made from."""
        return source_of(log)

    def assign(self, positions: dict[Partition, Position], logs: ChangeLogs) -> dict[Partition, int]:
        """Restore each partition from its snapshot.

        The judge reads the records between the snapshot and the committed offset again, without publishing anything.
        """
        starts: dict[Partition, int] = {}
        for (role, number), position in positions.items():
            log = logs.get(number, [])
            low, restored = self._restore(number, position, log)
            judge = PartitionJudge(number, self.settings, restored.state, restored.models)
            judge.rest(restored.snapshots.unchanged(low))
            self.assignments[number] = assignment = PartitionProgress(judge, restored.snapshots, low, position.offset)
            if not position.metadata:
                assignment.saved_next = -1  # the next commit includes the start offset
                if log:  # from now on the restored state belongs to the new offset
                    self.snapshot(number)
            starts[role, number] = low
        self._share_memory()
        return starts

    def _share_memory(self) -> None:
        for assignment in self.assignments.values():
            assignment.judge.memory.limit = OPEN_BYTES // len(self.assignments)

    def _restore(self, number: int, position: Position, log: Sequence[tuple[int, bytes]]) -> tuple[int, Restored]:
        if not position.metadata:  # a snapshot exists if `profiles` was re-created and a person chose to continue
            return position.offset, Snapshots.read([value for _, value in log])
        metadata = msgspec.json.decode(position.metadata, type=JudgeMetadata)
        if metadata.v > METADATA_FORMAT:
            raise FormatError(f"profiles/{number} was committed by a newer version of stream_monitor: upgrade first")
        if metadata.n != self.partitions:
            raise RestoreError(
                f"profiles had {metadata.n} partitions at the last commit and has {self.partitions} now: models have "
                "moved between judges. Choose another app name to begin anew."
            )
        restored = Snapshots.read([value for _, value in log], metadata.low)
        if metadata.saved and not restored.snapshots.any:
            raise RestoreError(
                f"{self.settings.topic('state')}/{number} holds no snapshot, but one was committed: were its records "
                "deleted? Choose another app name to begin anew."
            )
        return metadata.low, restored

    def tell_again(self, role: str) -> None:
        """Publish the whole catalog again when the topic `baselines` was lost.

        Without the catalog describe would send values for ever, in place of counts on edges.
        """
        if role == "baselines":
            for assignment in self.assignments.values():
                assignment.notices_due = True

    def revoke(self, partitions: Sequence[Partition]) -> None:
        """Drop the partitions that another judge owns now."""
        for _, number in partitions:
            self.assignments.pop(number, None)
        if not self.assignments:
            self._outputs.clear()
            self.buffered_bytes = 0
        self._share_memory()

    def process(self, role: str, messages: Sequence[Message]) -> None:
        """Process records in log order."""
        for message in messages:
            assignment = self.assignments.get(message.partition())
            value = message.value()
            if assignment is None or value is None:
                continue
            silent = message.offset() < assignment.published_until
            arrived = message.timestamp()[1]
            if assignment.snapshot_time is None:
                assignment.snapshot_time = arrived
            with np.errstate(over="ignore", invalid="ignore"):  # events may hold numbers near 1e308
                for output in assignment.judge.process(self._read(message, value), arrived):
                    if not silent:
                        self._outputs.add(output, arrived)
            assignment.next = message.offset() + 1
            assignment.read_bytes += len(value)
            self.buffered_bytes += len(value)
            self._snapshot_if_due(message.partition(), assignment, arrived)

    def _read(self, message: Message, value: bytes) -> Record:
        """Decode a record. The FormatError names the record's place and the option that skips it."""
        try:
            return read_record(value)
        except FormatError as error:
            place = f"{self.settings.topic('profiles')}/{message.partition()}/{message.offset()}"
            raise FormatError(
                f"{place} holds no record that this version can read: {error}. If it is not ours, `run --skip-record "
                f"{place}` leaves it out"
            ) from error

    def flush(self, status: Mapping[Partition, PartitionStatus]) -> list[Output]:
        """The outputs since the last commit, and the judge's settings when the log does not hold them yet."""
        outputs = self._outputs.records
        for number, assignment in self.assignments.items():
            partition_status = status.get(("profiles", number))
            if partition_status is not None and partition_status.at_end:
                assignment.next = max(assignment.next, partition_status.position)  # past the markers of transactions
            known = assignment.judge.state.settings
            caught_up = assignment.next >= assignment.published_until
            if caught_up and assignment.notices_due:
                assignment.notices_due = False
                for notice in assignment.judge.notices():
                    self._outputs.add(notice)
            if caught_up and assignment.progress_due:  # the last progress record may come from another judge
                assignment.progress_due = False
                for progress in assignment.judge.progress():
                    self._outputs.add(progress)
            if caught_up and not assignment.settings_sent:
                assignment.settings_sent = True
                record = self._settings_record(known)
                if known is None or known.hash != record.hash:
                    outputs.append(Output("profiles", write_record(record), partition=number))
        return outputs

    def _settings_record(self, known: SettingsRecord | None) -> SettingsRecord:
        """The settings that this judge puts in the log; `known` is the record that the log has."""
        settings = self.settings if known is None else adopted(self.settings, known.text)
        if settings.time.windows != self.settings.time.windows:
            log.info("the windows of this app stay %s, as its log has them", ", ".join(map(str, settings.time.windows)))
        text = judged_text(settings)
        return SettingsRecord(hashlib.sha256(text.encode()).hexdigest()[:16], text)

    def offsets(self, delivered: Sequence[int]) -> dict[Partition, Position]:
        """The offsets of partitions that moved; they are never below the offsets committed before."""
        moved: dict[Partition, Position] = {}
        for number, assignment in self.assignments.items():
            if assignment.next > assignment.saved_next or assignment.snapshot != assignment.saved_snapshot:
                metadata = JudgeMetadata(assignment.snapshot, self.partitions, saved=assignment.snapshots.any)
                encoded = msgspec.json.encode(metadata).decode()
                moved["profiles", number] = Position(max(assignment.next, assignment.published_until), encoded)
        return moved

    def committed(self) -> None:
        """Drop the committed outputs and remember the committed offsets."""
        self._stats = self._take_stats()
        self._outputs.clear()
        self.buffered_bytes = 0
        for assignment in self.assignments.values():
            assignment.saved_next, assignment.saved_snapshot = (
                max(assignment.next, assignment.saved_next),
                assignment.snapshot,
            )

    def stats(self) -> JudgeStatistics:
        """The figures of the last commit."""
        return self._stats

    def _take_stats(self) -> JudgeStatistics:
        judges = {number: assignment.judge for number, assignment in self.assignments.items()}
        models = [model for judge in judges.values() for model in judge.models.values()]
        return JudgeStatistics(
            alerts=dict(self._outputs.alerts),
            closed_windows=dict(self._outputs.closed_windows),
            models=len(models),
            open_alerts=sum(model.state.alerts.open for model in models),
            watermarks={number: judge.state.watermarks.for_timeline("input") for number, judge in judges.items()},
            open_bytes=sum(judge.memory.open_bytes.nbytes for judge in judges.values()),
            waiting=sum(judge.state.told_wait for judge in judges.values()),
            waits=sum(assignment.new_wait() for assignment in self.assignments.values()),
            refused_records=sum(assignment.new_refused() for assignment in self.assignments.values()),
            lost_labels=sum(assignment.new_lost_labels() for assignment in self.assignments.values()),
            after_idle=sum(assignment.new_after_idle() for assignment in self.assignments.values()),
        )

    def partitions_to_pause(self, status: Mapping[Partition, PartitionStatus]) -> set[Partition]:
        """None: a judge never waits for another worker."""
        return set()

    # --- snapshots ---

    def _snapshot_if_due(self, number: int, assignment: PartitionProgress, arrived: int) -> None:
        interval = self.settings.commit.snapshot_interval
        late = assignment.snapshot_time is not None and arrived - assignment.snapshot_time >= interval
        if assignment.next > assignment.published_until and (late or assignment.read_bytes >= SNAPSHOT_BYTES):
            self.snapshot(number)
            assignment.snapshot_time, assignment.read_bytes = arrived, 0

    def snapshot(self, number: int) -> None:
        """Add the changed records of a partition's state to the outputs of the next commit."""
        assignment = self.assignments[number]
        self._outputs.records += [
            Output("state", record.value or b"", record.key, number, tombstone=record.value is None)
            for record in assignment.snapshots.write(assignment.judge, assignment.next, self._source)
        ]
        assignment.snapshot = assignment.next
