"""`stream-monitor replay`: files or a range of topics through both stages, with a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from stream_monitor.baselines.pinned import PinnedBaseline, read_file
from stream_monitor.commands.past_rollout import require_segments, tell
from stream_monitor.commands.report import ReportStore, told
from stream_monitor.config.settings import Settings
from stream_monitor.errors import TopicsError
from stream_monitor.events.rejects import Rejects
from stream_monitor.file_replay import BATCH, Driver, Replay, read_files, replay
from stream_monitor.kafka.range_reader import REPLAYED, ReplayTopics, TopicRange
from stream_monitor.kafka.topics import inspect
from stream_monitor.rollouts.past import PastRollout
from stream_monitor.stages.contract import Output
from stream_monitor.stages.topology import Topology
from stream_monitor.terminal import Screen

Publish = Callable[[Output], None]


@dataclass(frozen=True)
class ReplayOptions:
    """The command's arguments; no files mean topics."""

    files: list[Path]
    baseline: Path | None = None
    out: Path | None = None
    since: int | None = None
    until: int | None = None
    publish: bool = False
    html: Path | None = None
    past: PastRollout | None = None
    """A rollout to judge over the events; its verdict takes the place of alerts and metrics on standard output."""
    as_json: bool = False


@dataclass
class ReplayOutputs:
    """Counts what goes by, and passes on what users read."""

    target: Publish
    counts: dict[str, int] = field(default_factory=dict)
    rejects: Rejects = field(default_factory=Rejects)
    report: ReportStore | None = None

    def __call__(self, output: Output) -> None:
        """Take a record; a dead letter may stand for many."""
        stands_for = self.rejects.take(output.value) if output.role == "dead-letters" else 1
        self.counts[output.role] = self.counts.get(output.role, 0) + stands_for
        if self.report is not None:
            self.report.take(output)
        if output.role in REPLAYED:
            self.target(output)


NOTHING_USABLE = 3


def run(settings: Settings, wanted: ReplayOptions, out: Screen, err: Screen) -> int:
    """Replay, and say what came of it; the exit code is 3 when no event could be counted, 1 for harm of a rollout."""
    if wanted.past is not None:
        require_segments(wanted.past, [",".join(spec) for spec in settings.segments])
    pinned = read_file(wanted.baseline, settings.embeddings) if wanted.baseline else []
    with ExitStack() as stack:
        target = stack.enter_context(_target(settings, wanted, out))
        report = stack.enter_context(ReportStore(settings.app)) if wanted.html is not None else None
        tally = ReplayOutputs(target, report=report)
        if wanted.files:
            driver = _files(settings, wanted, tally, pinned, err)
        else:
            driver = _topics(settings, wanted, tally, pinned, err)
        if wanted.html is not None and report is not None:
            told(report.write(wanted.html, f"{settings.app}: replay"), wanted.html, err)
    events = driver.events
    counts = ", ".join(f"{tally.counts.get(role, 0):,} {role}" for role in REPLAYED)
    err.line(f"{events:,} events: {counts}")
    for line in (*tally.rejects.lines(), *lost(driver)):
        err.prose(line)
    if wanted.publish:
        err.prose(f"published to {settings.app}.replay.alerts, .metrics and .dead-letters")
    if events and sum(tally.rejects.counts.values()) >= events:
        err.error("no event could be counted")
        return NOTHING_USABLE
    return 0 if wanted.past is None else tell(wanted.past.verdict(), wanted.as_json, out)


def lost(driver: Driver) -> Iterator[str]:
    """What of the events was not counted as it should be, and was no dead letter."""
    for role, count in sorted(driver.late.items()):
        if count:
            yield f"  {count:,} {role} came late, behind the watermark: in a file, out of the order of time"
    for role, count in sorted(driver.duplicates.items()):
        if count:
            yield f"  {count:,} {role} have an id that came before"
    for role, what in (("labels", "labels"), ("feedback", "signals")):
        items, joined = driver.joins(role)
        if joined < items:
            yield f"  {items - joined:,} of {items:,} {what} joined no prediction"


@contextmanager
def _target(settings: Settings, wanted: ReplayOptions, out: Screen) -> Iterator[Publish]:
    with ExitStack() as stack:
        if wanted.publish and wanted.out is None:
            topics = ReplayTopics(settings)
            yield topics.publish
            topics.close()
            return
        file = stack.enter_context(wanted.out.open("wb")) if wanted.out else None
        topics_too = ReplayTopics(settings) if wanted.publish else None

        def write(output: Output) -> None:
            if file is None and (wanted.html is not None or wanted.past is not None):  # that is what was asked for
                return
            line = b'{"topic":"%s","value":%s}' % (output.role.encode(), output.value)
            if file is None:
                out.data(line)
            else:
                file.write(line + b"\n")
            if topics_too is not None:
                topics_too.publish(output)

        yield write
        if topics_too is not None:
            topics_too.close()


def _files(
    settings: Settings, wanted: ReplayOptions, publish: Publish, pinned: list[PinnedBaseline], err: Screen
) -> Driver:
    with err.progress("replay", sum(file.stat().st_size for file in wanted.files), "bytes") as bar:
        events = read_files(wanted.files, bar.advance)
        return replay(settings, events, publish, pinned, wanted.past).driver


def _topics(
    settings: Settings, wanted: ReplayOptions, publish: Publish, pinned: list[PinnedBaseline], err: Screen
) -> Driver:
    report = inspect(settings)
    if report.missing:
        raise TopicsError(f"missing topics: {', '.join(map(settings.topic, report.missing))}")
    if report.rekey:
        settings = settings.behind_rekey()
    source = TopicRange(settings, wanted.since, wanted.until)
    topology = Topology(report.partitions["predictions"], report.partitions["observations"], 1)
    engine = Replay(settings, publish, pinned, topology, wanted.past)
    try:
        with err.progress("replay", source.total) as bar:
            for _ in follow(source, engine):
                bar.update(source.done)
    finally:
        source.close()
    return engine.driver


def follow(source: TopicRange, engine: Replay) -> Iterator[None]:
    """Feed a range of topics into a replay; partitions that run ahead wait, as they do in a worker."""
    waiting, ended = 0, len(source.ended)
    for batches in source.read():
        for role, messages in batches:
            engine.driver.take(role, messages)
            waiting += len(messages)
        # one that has ended holds the others back no longer
        if waiting >= BATCH or len(source.ended) > ended or not any(messages for _, messages in batches):
            engine.commit(source.ended)
            source.pause(engine.driver.partitions_to_pause(source.ended))
            waiting, ended = 0, len(source.ended)
        yield
    engine.finish()
    yield
