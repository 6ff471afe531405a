"""`stream-monitor replay`: files or a range of topics through both stages, with a progress bar."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from stream_monitor.commands.options import span
from stream_monitor.describe.stage import Layout
from stream_monitor.detect.pinned import PinnedBaseline, read_file
from stream_monitor.errors import TopicsError
from stream_monitor.events.rejects import Rejects
from stream_monitor.kafka.ranges import REPLAYED, ReplayTopics, TopicRange
from stream_monitor.kafka.topics import inspect
from stream_monitor.replay import BATCH, Replay, read_files, replay
from stream_monitor.settings import Settings
from stream_monitor.stages import Output

Publish = Callable[[Output], None]


@dataclass(frozen=True)
class Wanted:
    """The command's arguments; no files mean topics."""

    files: list[Path]
    baseline: Path | None = None
    out: Path | None = None
    since: datetime | None = None
    until: datetime | None = None
    publish: bool = False


@dataclass
class Tally:
    """Counts what goes by, and passes on what users read."""

    target: Publish
    counts: dict[str, int] = field(default_factory=dict)
    rejects: Rejects = field(default_factory=Rejects)

    def __call__(self, output: Output) -> None:
        """Take a record; a dead letter may stand for many."""
        stands_for = self.rejects.take(output.value) if output.role == "dead-letters" else 1
        self.counts[output.role] = self.counts.get(output.role, 0) + stands_for
        if output.role in REPLAYED:
            self.target(output)


def run(settings: Settings, wanted: Wanted, console: Console) -> None:
    """Replay, and say what came of it."""
    pinned = read_file(wanted.baseline, settings.embeddings) if wanted.baseline else []
    with _target(settings, wanted) as target:
        tally = Tally(target)
        if wanted.files:
            events = _files(settings, wanted.files, tally, pinned, console)
        else:
            events = _topics(settings, wanted, tally, pinned, console)
    told = ", ".join(f"{tally.counts.get(role, 0):,} {role}" for role in REPLAYED)
    console.print(f"{events:,} events: {told}", highlight=False)
    for line in tally.rejects.lines():
        console.print(escape(line), highlight=False, soft_wrap=True)
    if wanted.publish:
        console.print(f"published to {settings.app}.replay.alerts, .metrics and .dead-letters", highlight=False)


@contextmanager
def _target(settings: Settings, wanted: Wanted) -> Iterator[Publish]:
    with ExitStack() as stack:
        if wanted.publish and wanted.out is None:
            topics = ReplayTopics(settings)
            yield topics.publish
            topics.close()
            return
        file = stack.enter_context(wanted.out.open("w")) if wanted.out else sys.stdout
        topics_too = ReplayTopics(settings) if wanted.publish else None

        def write(output: Output) -> None:
            file.write(f'{{"topic":"{output.role}","value":{output.value.decode()}}}\n')
            if topics_too is not None:
                topics_too.publish(output)

        yield write
        if topics_too is not None:
            topics_too.close()


def _files(
    settings: Settings, files: list[Path], publish: Publish, pinned: list[PinnedBaseline], console: Console
) -> int:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("replay", total=sum(file.stat().st_size for file in files))
        events = read_files(files, lambda size: progress.advance(task, size))
        return replay(settings, events, publish, pinned).driver.events


def _topics(
    settings: Settings, wanted: Wanted, publish: Publish, pinned: list[PinnedBaseline], console: Console
) -> int:
    report = inspect(settings)
    if report.missing:
        raise TopicsError(f"missing topics: {', '.join(map(settings.topic, report.missing))}")
    if report.rekey:
        settings = settings.behind_rekey()
    source = TopicRange(settings, *span(wanted.since, wanted.until))
    layout = Layout(report.partitions["predictions"], report.partitions["observations"], 1)
    made = Replay(settings, publish, pinned, layout)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("replay", total=source.total)
            for _ in follow(source, made):
                progress.update(task, completed=source.done)
    finally:
        source.close()
    return made.driver.events


def follow(source: TopicRange, made: Replay) -> Iterator[None]:
    """Feed a range of topics into a replay; partitions that run ahead wait, as they do in a worker."""
    waiting, ended = 0, len(source.ended)
    for batches in source.read():
        for role, messages in batches:
            made.driver.take(role, messages)
            waiting += len(messages)
        # one that has ended holds the others back no longer
        if waiting >= BATCH or len(source.ended) > ended or not any(messages for _, messages in batches):
            made.commit(source.ended)
            source.pause(made.driver.ahead(source.ended))
            waiting, ended = 0, len(source.ended)
        yield
    made.finish()
    yield
