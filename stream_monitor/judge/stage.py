"""The judge stage: the records of its `profiles` partitions in, alerts, metrics and edges out, snapshots at times."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np

from stream_monitor.config.recorded import judged_text
from stream_monitor.config.settings import Settings
from stream_monitor.errors import FormatError, RestoreError
from stream_monitor.events.contracts import Alert, Health
from stream_monitor.judge.health import Gone, key_of
from stream_monitor.judge.metrics import window_metrics as metrics
from stream_monitor.judge.model import Said
from stream_monitor.judge.model_state import ModelState
from stream_monitor.judge.partition import OPEN_BYTES, PartitionJudge
from stream_monitor.judge.snapshots import Restored, Snapshots, source_of
from stream_monitor.profiles.bin_catalog import BaselineRecord, EdgesRecord, ProgressRecord, notice_output
from stream_monitor.profiles.records import Record, SettingsRecord, read, write
from stream_monitor.stages.contract import Logs, Message, Output, Partition, PartitionStatus, Position
from stream_monitor.stages.statistics import JudgeVitals

METADATA_FORMAT = 1
SNAPSHOT_BYTES = 64_000_000


class JudgeMetadata(msgspec.Struct):
    """Travels with the committed offset of a `profiles` partition."""

    low: int
    n: int
    v: int = METADATA_FORMAT
    saved: bool = False
    """A snapshot was written: `state` holds it."""


class _Seat:
    """One partition's judge, and where in the log it is."""

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
        """All that describe was told is to be told again, once what was published is read."""
        self._waited = judge.state.told_wait
        self._refused = judge.state.refused
        counts: tuple[Callable[[ModelState], int], ...] = (_lost_labels, _after_idle)
        self._lost = {count: self._by_model(count) for count in counts}

    def _by_model(self, count: Callable[[ModelState], int]) -> dict[str, int]:
        return {name: count(model.state) for name, model in self.judge.models.items()}

    def new_wait(self) -> bool:
        """Whether workers were asked to wait who were not when this was asked last."""
        before, self._waited = self._waited, self.judge.state.told_wait
        return self._waited and not before

    def new_refused(self) -> int:
        """Records that were refused since this was asked last."""
        before, self._refused = self._refused, self.judge.state.refused
        return max(0, self._refused - before) if self.next >= self.published_until else 0

    def new_lost_labels(self) -> int:
        """Labels that came too late since this was asked last."""
        return self._new(_lost_labels)

    def new_after_idle(self) -> int:
        """Events that came for closed panes since this was asked last."""
        return self._new(_after_idle)

    def _new(self, count: Callable[[ModelState], int]) -> int:
        """By how much a count has grown since this was asked last; none of what another worker has counted already."""
        before, now = self._lost[count], self._by_model(count)
        self._lost[count] = now
        if self.next < self.published_until:
            return 0
        return sum(max(0, lost - before.get(name, 0)) for name, lost in now.items())


def _lost_labels(state: ModelState) -> int:
    return state.lost_labels


def _after_idle(state: ModelState) -> int:
    return sum(lane.after_idle for lane in state.lanes.values())


class Judge:
    """Implements `stages.Stage` for `profiles`."""

    def __init__(self, settings: Settings, partitions: int, health: bool = True) -> None:
        self.settings, self.partitions, self._health = settings, partitions, health
        self.seats: dict[int, _Seat] = {}
        self._source = ""
        """The id of the topic `profiles`."""
        self._text = judged_text(settings)
        self._hash = hashlib.sha256(self._text.encode()).hexdigest()[:16]
        self._outputs: list[Output] = []
        self.held = 0
        self._vitals = JudgeVitals()

    @property
    def changelog(self) -> str:
        """Judges are restored from their snapshots on `state`."""
        return "state"

    keyed = True
    stands_on = ("profiles", "state")

    def log_start(self, partition: Partition, position: Position) -> int | None:
        """Snapshots are read from the beginning: the topic is compacted."""
        return -1

    def know_sources(self, ids: dict[str, str]) -> None:
        """Snapshots name the topic that they are of."""
        self._source = ids.get("profiles", "")

    def source_of(self, log: Sequence[bytes]) -> str:
        """The topic that the newest snapshot is of."""
        return source_of(log)

    def assign(self, positions: dict[Partition, Position], logs: Logs) -> dict[Partition, int]:
        """Restore each partition from its snapshot; what follows it up to the committed offset is read silently."""
        starts: dict[Partition, int] = {}
        for (role, number), position in positions.items():
            log = logs.get(number, [])
            low, restored = self._restore(number, position, log)
            judge = PartitionJudge(number, self.settings, restored.state, restored.models)
            judge.rest(restored.snapshots.unchanged(low))
            self.seats[number] = seat = _Seat(judge, restored.snapshots, low, position.offset)
            if not position.metadata:
                seat.saved_next = -1  # where reading begins is committed at once
                if log:  # what was restored belongs to the new offset from now on
                    self.snapshot(number)
            starts[role, number] = low
        self._share_memory()
        return starts

    def _share_memory(self) -> None:
        for seat in self.seats.values():
            seat.judge.most_open_bytes = OPEN_BYTES // len(self.seats)

    def _restore(self, number: int, position: Position, log: Sequence[tuple[int, bytes]]) -> tuple[int, Restored]:
        if not position.metadata:  # with a snapshot where `profiles` was made anew, and somebody said to go on
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
        """All that `baselines` held: without it describe would send values for ever."""
        if role == "baselines":
            for seat in self.seats.values():
                seat.notices_due = True

    def drop(self, partitions: Sequence[Partition]) -> None:
        """Forget partitions that another judge owns now."""
        for _, number in partitions:
            self.seats.pop(number, None)
        if not self.seats:
            self._outputs, self.held = [], 0
        self._share_memory()

    def step(self, role: str, messages: Sequence[Message]) -> None:
        """Take in records in log order."""
        for message in messages:
            seat = self.seats.get(message.partition())
            value = message.value()
            if seat is None or value is None:
                continue
            silent = message.offset() < seat.published_until
            arrived = message.timestamp()[1]
            if seat.snapshot_time is None:
                seat.snapshot_time = arrived
            with np.errstate(over="ignore", invalid="ignore"):  # someone sent numbers near 1e308
                for said in seat.judge.hear(self._read(message, value), arrived):
                    if not silent:
                        self._say(said)
            seat.next = message.offset() + 1
            seat.read_bytes += len(value)
            self.held += len(value)
            self._snapshot_if_due(message.partition(), seat, arrived)

    def _read(self, message: Message, value: bytes) -> Record:
        """A record; FormatError names where it lies and how to go on without it."""
        try:
            return read(value)
        except FormatError as error:
            place = f"{self.settings.topic('profiles')}/{message.partition()}/{message.offset()}"
            raise FormatError(
                f"{place} holds no record that this version can read: {error}. If it is not ours, `run --skip-record "
                f"{place}` leaves it out"
            ) from error

    def _say(self, said: Said) -> None:
        if isinstance(said, Alert):
            self._outputs.append(Output("alerts", msgspec.json.encode(said), said.id.encode()))
        elif isinstance(said, Health):
            if self._health:
                self._outputs.append(Output("health", msgspec.json.encode(said), key_of(said)))
        elif isinstance(said, Gone):
            if self._health:
                self._outputs.append(Output("health", b"", said.model.encode(), tombstone=True))
        elif isinstance(said, EdgesRecord | BaselineRecord | ProgressRecord):
            key, value = notice_output(said)
            self._outputs.append(Output("baselines", value, key))
        else:
            key, value = metrics.encode(said)
            self._outputs.append(Output("metrics", value, key))

    def flush(self, status: Mapping[Partition, PartitionStatus]) -> list[Output]:
        """What was said since the last commit; settings that the log does not know yet."""
        outputs = self._outputs
        for number, seat in self.seats.items():
            told = status.get(("profiles", number))
            if told is not None and told.at_end:
                seat.next = max(seat.next, told.position)  # past the markers of describe's transactions
            known = seat.judge.state.settings
            caught_up = seat.next >= seat.published_until
            if caught_up and seat.notices_due:
                seat.notices_due = False
                for notice in seat.judge.notices():
                    self._say(notice)
            if caught_up and seat.progress_due:  # what was told last may be of a judge that held more, or less
                seat.progress_due = False
                for progress in seat.judge.progress():
                    self._say(progress)
            if caught_up and not seat.settings_sent and (known is None or known.hash != self._hash):
                outputs.append(Output("profiles", write(SettingsRecord(self._hash, self._text)), partition=number))
                seat.settings_sent = True
        return outputs

    def offsets(self, delivered: Sequence[int]) -> dict[Partition, Position]:
        """Offsets of partitions that moved, never below what was committed before."""
        moved: dict[Partition, Position] = {}
        for number, seat in self.seats.items():
            if seat.next > seat.saved_next or seat.snapshot != seat.saved_snapshot:
                metadata = JudgeMetadata(seat.snapshot, self.partitions, saved=seat.snapshots.any)
                told = msgspec.json.encode(metadata).decode()
                moved["profiles", number] = Position(max(seat.next, seat.published_until), told)
        return moved

    def committed(self) -> None:
        """Start from zero."""
        self._outputs, self.held = [], 0
        for seat in self.seats.values():
            seat.saved_next, seat.saved_snapshot = max(seat.next, seat.saved_next), seat.snapshot
        self._vitals = self._take_vitals()

    def vitals(self) -> JudgeVitals:
        """Models, open alerts, watermarks, and what was lost or had to wait."""
        return self._vitals

    def _take_vitals(self) -> JudgeVitals:
        judges = {number: seat.judge for number, seat in self.seats.items()}
        models = [model for judge in judges.values() for model in judge.models.values()]
        return JudgeVitals(
            models=len(models),
            open_alerts=sum(model.state.alerts.open for model in models),
            watermarks={number: judge.state.watermarks.of("input") for number, judge in judges.items()},
            open_bytes=sum(judge.open_bytes.nbytes for judge in judges.values()),
            waiting=sum(judge.state.told_wait for judge in judges.values()),
            waits=sum(seat.new_wait() for seat in self.seats.values()),
            refused_records=sum(seat.new_refused() for seat in self.seats.values()),
            lost_labels=sum(seat.new_lost_labels() for seat in self.seats.values()),
            after_idle=sum(seat.new_after_idle() for seat in self.seats.values()),
        )

    def ahead(self, status: Mapping[Partition, PartitionStatus]) -> set[Partition]:
        """Judges wait for nobody."""
        return set()

    # --- snapshots ---

    def _snapshot_if_due(self, number: int, seat: _Seat, arrived: int) -> None:
        interval = self.settings.commit.snapshot_interval
        late = seat.snapshot_time is not None and arrived - seat.snapshot_time >= interval
        if seat.next > seat.published_until and (late or seat.read_bytes >= SNAPSHOT_BYTES):
            self.snapshot(number)
            seat.snapshot_time, seat.read_bytes = arrived, 0

    def snapshot(self, number: int) -> None:
        """Write what has changed of a partition's state with the next commit."""
        seat = self.seats[number]
        self._outputs += [
            Output("state", record.value or b"", record.key, number, tombstone=record.value is None)
            for record in seat.snapshots.write(seat.judge, seat.next, self._source)
        ]
        seat.snapshot = seat.next
