"""Replay of files: the two stages driven in one process, by the same code that runs on Kafka.

Files are newline-delimited JSON events of any kind (a kind is told by its fields), each in order of event time, or at
most `allowed_lateness` out of it. Several files are merged by event time, as predictions and labels usually are two.
"""

from __future__ import annotations

import heapq
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from stream_monitor.describe.knowledge import Knowledge
from stream_monitor.describe.records import write
from stream_monitor.describe.stage import Describe, Layout
from stream_monitor.detect.pinned import PinnedBaseline
from stream_monitor.judge.stage import Judge
from stream_monitor.settings import ROLES_IN, Settings
from stream_monitor.stages import Output, Partition, PartitionStatus, Position

BATCH = 20_000


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

    def timestamp(self) -> tuple[int, int]:
        """The replay's start: what is after it comes from the future."""
        return 1, self.arrived


class _Kind(msgspec.Struct):
    label: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    signals: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    measures: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    ts: Any = None


_kind = msgspec.json.Decoder(_Kind)


def role_of(line: bytes) -> tuple[str, int | None]:
    """(topic role, ts) of a line; what cannot be read is a prediction and becomes a dead letter."""
    try:
        kind = _kind.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "predictions", None
    ts = kind.ts if isinstance(kind.ts, int) else None
    for role, told in (("labels", kind.label), ("feedback", kind.signals), ("observations", kind.measures)):
        if told is not msgspec.UNSET:
            return role, ts
    return "predictions", ts


class FileDriver:
    """The describe stage fed with lines in place of a consumer's messages."""

    def __init__(self, settings: Settings, knowledge: Knowledge) -> None:
        self.settings = settings
        self.describe = Describe(settings, Layout(1, 1, 1), knowledge)
        self.started = int(time.time() * 1000)
        self.events = 0
        self._parts: list[Partition] = [(role, 0) for role in ROLES_IN]
        self._offsets: dict[str, int] = defaultdict(int)
        self.describe.assign({part: Position(0, "") for part in self._parts}, {})

    def feed(self, lines: Iterable[tuple[str, bytes]]) -> None:
        """Take in a batch of (role, raw event)."""
        by_role: dict[str, list[Line]] = defaultdict(list)
        for role, raw in lines:
            by_role[role].append(Line(raw, self._offsets[role], self.started))
            self._offsets[role] += 1
        for role, batch in by_role.items():
            self.describe.step(role, batch)
            self.events += len(batch)

    def commit(self, ended: bool) -> list[Output]:
        """What describe publishes of what it was fed; after `ended` there will be no more."""
        status = {part: PartitionStatus(ended, False, ended) for part in self._parts}
        outputs = list(self.describe.flush(status))
        self.describe.offsets(range(sum(output.tracked for output in outputs)))
        self.describe.committed()
        return outputs


class Replay:
    """Describe and judge without a broker; what they publish goes to `publish`."""

    def __init__(
        self, settings: Settings, publish: Callable[[Output], None], pinned: Iterable[PinnedBaseline] = ()
    ) -> None:
        self.publish = publish
        self.knowledge = Knowledge()
        self.driver = FileDriver(settings, self.knowledge)
        self.judge = Judge(settings, 1)
        self._profiles = 0
        self.judge.assign({("profiles", 0): Position(0, "")}, {})
        for baseline in pinned:
            self.pin(baseline)

    def pin(self, baseline: PinnedBaseline) -> None:
        """Put a baseline in force from the first pane not yet closed."""
        for record in baseline.records():
            self._judge(write(record))
        self._pass_on()

    def feed(self, lines: Iterable[tuple[str, bytes]]) -> None:
        """Take in a batch of (role, raw event)."""
        self.driver.feed(lines)
        self._commit(ended=False)

    def finish(self) -> None:
        """There will be no more: every window becomes final."""
        self._commit(ended=True)

    def _commit(self, ended: bool) -> None:
        for output in self.driver.commit(ended):
            if output.role == "profiles":
                self._judge(output.value)
            elif output.role != "pending":
                self.publish(output)
        self._pass_on()

    def _judge(self, value: bytes) -> None:
        self.judge.step("profiles", [Line(value, self._profiles, self.driver.started)])
        self._profiles += 1

    def _pass_on(self) -> None:
        for output in self.judge.flush({}):
            if output.role == "profiles":
                self._judge(output.value)
            elif output.role == "baselines":
                self.knowledge.learn(output.value)
                self.publish(output)
            elif output.role != "state":
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
) -> Replay:
    """Run all events through both stages, judged by the pinned baselines where there are any."""
    run = Replay(settings, publish, pinned)
    batch: list[tuple[str, bytes]] = []
    for event in events:
        batch.append(event)
        if len(batch) == BATCH:
            run.feed(batch)
            batch = []
    run.feed(batch)
    run.finish()
    return run
