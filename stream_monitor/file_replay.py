"""Replay: the two stages driven in one process, by the same code that runs on Kafka, on files or a range of topics.

Files are newline-delimited JSON events of any kind (a kind is told by its fields), each in order of event time, or at
most `allowed_lateness` out of it. Several files are merged by event time, as predictions and labels usually are two.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from stream_monitor.baselines.pinned import PinnedBaseline
from stream_monitor.config.settings import ROLES_IN, Settings
from stream_monitor.describe.stage import Describe
from stream_monitor.events.contracts import Alert, DeadLetter, Metric
from stream_monitor.events.json_text import decode_json
from stream_monitor.events.rollouts import RolloutDecision
from stream_monitor.judge.stage import Judge
from stream_monitor.profiles.bin_catalog import BinCatalog
from stream_monitor.profiles.records import ResetRecord, RolloutRecord, read_record, write_record
from stream_monitor.rollouts.past import PastRollout
from stream_monitor.stages.contract import Message, Output, Partition, PartitionStatus, Position
from stream_monitor.stages.topology import Topology

BATCH = 20_000
ONE = Topology(1, 1, 1)


class Line(NamedTuple):
    """A line of a file as a message."""

    raw: bytes
    at: int
    arrived: int

    def value(self) -> bytes:
        """The raw event."""
        return self.raw

    def partition(self) -> int:
        """A replay has one partition."""
        return 0

    def offset(self) -> int:
        """Line number."""
        return self.at

    def key(self) -> None:
        """A line has none."""

    def timestamp(self) -> tuple[int, int]:
        """The replay's start: what is after it comes from the future."""
        return 1, self.arrived

    def headers(self) -> None:
        """A line has none."""


class _Kind(msgspec.Struct):
    label: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    signals: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    measures: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    ts: Any = None


_kind = msgspec.json.Decoder(_Kind)


def role_of(line: bytes) -> tuple[str, int | None]:
    """(topic role, ts) of a line; what cannot be read is a prediction and becomes a dead letter."""
    try:
        kind = decode_json(_kind, line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "predictions", None
    ts = kind.ts if isinstance(kind.ts, int) else None
    for role, field in (("labels", kind.label), ("feedback", kind.signals), ("observations", kind.measures)):
        if field is not msgspec.UNSET:
            return role, ts
    return "predictions", ts


class Driver:
    """The describe stage fed by hand in place of a loop.

    With a layout it takes messages of a range of topics, else lines of files, merged by time.
    """

    def __init__(self, settings: Settings, catalog: BinCatalog, topology: Topology | None = None) -> None:
        self._merged_by_time = topology is None
        if topology is None:  # the lines of files are JSON, whatever the topics hold
            settings = settings.model_copy(update={"topics": settings.topics.model_copy(update={"formats": {}})})
        topology = topology or ONE
        self.describe = Describe(settings, topology, catalog)
        self.started = int(time.time() * 1000)
        self.events = 0
        counts = {role: topology.observations if role == "observations" else topology.inputs for role in ROLES_IN}
        self.parts: list[Partition] = [(role, number) for role, count in counts.items() for number in range(count)]
        self.late, self.duplicates = Counter[str](), Counter[str]()
        """Events by topic role."""
        self._offsets: dict[str, int] = defaultdict(int)
        self.describe.assign({part: Position(0, "") for part in self.parts}, {})

    def feed(self, lines: Iterable[tuple[str, bytes]]) -> None:
        """Take in a batch of (role, raw event)."""
        by_role: dict[str, list[Line]] = defaultdict(list)
        for role, raw in lines:
            by_role[role].append(Line(raw, self._offsets[role], self.started))
            self._offsets[role] += 1
        for role, batch in by_role.items():
            self.take(role, batch)

    def take(self, role: str, messages: Sequence[Message]) -> None:
        """Take in messages of one topic."""
        self.describe.process(role, messages)
        self.events += len(messages)

    def commit(self, ended: Collection[Partition]) -> list[Output]:
        """What describe publishes of what it was fed; the partitions that have ended will bring no more."""
        outputs = list(self.describe.flush(self._status(ended)))
        self.describe.offsets(range(sum(output.tracked for output in outputs)))
        self.describe.committed()
        stats = self.describe.stats()
        self.late.update(stats.late)
        self.duplicates.update(stats.duplicates)
        return outputs

    def joins(self, role: str) -> tuple[int, int]:
        """How many labels or signals came, and how many of them joined a prediction."""
        counts = [self.describe.intake.of(part) for part in self.parts if part[0] == role]
        return sum(one.items for one in counts if one), sum(one.joined for one in counts if one)

    def partitions_to_pause(self, ended: Collection[Partition]) -> set[Partition]:
        """Partitions that should wait for slower ones."""
        return self.describe.partitions_to_pause(self._status(ended))

    def _status(self, ended: Collection[Partition]) -> dict[Partition, PartitionStatus]:
        return {
            part: PartitionStatus(part in ended, False, part in ended, merged_by_time=self._merged_by_time)
            for part in self.parts
        }


class Replay:
    """Describe and judge without a loop; what they publish goes to `publish`."""

    def __init__(
        self,
        settings: Settings,
        publish: Callable[[Output], None],
        pinned: Iterable[PinnedBaseline] = (),
        topology: Topology | None = None,
        past: PastRollout | None = None,
    ) -> None:
        """`past`: a rollout that is judged over these events."""
        self.publish, self._past = publish, past
        self.catalog = BinCatalog()
        self.driver = Driver(settings, self.catalog, topology)
        self.judge = Judge(settings, 1)
        self._profiles = 0
        self.judge.assign({("profiles", 0): Position(0, "")}, {})
        for baseline in pinned:
            self.pin(baseline)
        if past is not None:
            self.order(past.start)

    def pin(self, baseline: PinnedBaseline) -> None:
        """Put a baseline in force from the first pane not yet closed."""
        for record in baseline.records():
            self._judge(write_record(record))
        self._pass_on()

    def reset(self, record: ResetRecord) -> None:
        """Forget baselines."""
        self._judge(write_record(record))
        self._pass_on()

    def order(self, record: RolloutRecord) -> None:
        """Obey a person about a rollout, from the first pane that is not closed."""
        self._judge(write_record(record))
        self._pass_on()

    def feed(self, lines: Iterable[tuple[str, bytes]]) -> None:
        """Take in a batch of (role, raw event)."""
        self.driver.feed(lines)
        self.commit()

    def finish(self) -> None:
        """There will be no more: every window becomes final."""
        self.commit(self.driver.parts)

    def commit(self, ended: Collection[Partition] = ()) -> None:
        """Judge what was taken in since the last time; `ended` are partitions that will bring no more."""
        for output in self.driver.commit(ended):
            if output.role == "profiles":
                self._judge(output.value)
            elif output.role != "pending":
                self.publish(output)
        self._pass_on()

    def _judge(self, value: bytes) -> None:
        if self._past is not None:
            self._past.observe(read_record(value))
        self.judge.process("profiles", [Line(value, self._profiles, self.driver.started)])
        self._profiles += 1

    def _pass_on(self) -> None:
        for output in self.judge.flush({}):
            if output.role == "profiles":
                self._judge(output.value)
            elif output.role == "baselines":
                self.catalog.apply(output.value)
                self.publish(output)
            elif output.role != "state":
                if self._past is not None and output.role == "decisions":
                    self._past.take(msgspec.json.decode(output.value, type=RolloutDecision))
                self.publish(output)
        self.judge.committed()


def read_files(paths: Iterable[Path], progress: Callable[[int], None] = lambda _: None) -> Iterator[tuple[str, bytes]]:
    """(role, raw event) of all files, merged by event time; `progress` hears of bytes read."""
    for role, _, raw in heapq.merge(*(_read(path, progress) for path in paths), key=lambda item: item[1]):
        yield role, raw


def _read(path: Path, progress: Callable[[int], None]) -> Iterator[tuple[str, int, bytes]]:
    last = 0
    with path.open("rb") as file:
        for line in file:
            progress(len(line))
            raw = line.rstrip(b"\r\n")
            if raw:
                role, ts = role_of(raw)
                last = max(last, ts or 0)  # an event without a readable time keeps its place in its file
                yield role, last, raw


def replay(
    settings: Settings,
    events: Iterable[tuple[str, bytes]],
    publish: Callable[[Output], None],
    pinned: Iterable[PinnedBaseline] = (),
    past: PastRollout | None = None,
) -> Replay:
    """Run all events through both stages, judged by the pinned baselines where there are any; see `Replay`."""
    run = Replay(settings, publish, pinned, past=past)
    batch: list[tuple[str, bytes]] = []
    for event in events:
        batch.append(event)
        if len(batch) == BATCH:
            run.feed(batch)
            batch = []
    run.feed(batch)
    run.finish()
    return run


def published(settings: Settings, events: Iterable[Any]) -> Iterator[Alert | Metric | DeadLetter]:
    """What a replay publishes of events that are contracts, mappings or JSON, batch by batch."""
    outputs: list[Output] = []
    run, lines, encode = Replay(settings, outputs.append), iter(events), msgspec.json.encode
    while batch := [each if isinstance(each, bytes) else encode(each) for each in islice(lines, BATCH)]:
        run.feed((role_of(raw)[0], raw) for raw in batch)
        yield from _records(outputs)
        outputs.clear()
    run.finish()
    yield from _records(outputs)


_CONTRACTS: dict[str, type[Alert] | type[Metric] | type[DeadLetter]] = {
    "alerts": Alert, "metrics": Metric, "dead-letters": DeadLetter,
}  # fmt: skip


def _records(outputs: Iterable[Output]) -> Iterator[Alert | Metric | DeadLetter]:
    for output in outputs:
        if output.role in _CONTRACTS:
            yield msgspec.json.decode(output.value, type=_CONTRACTS[output.role])
