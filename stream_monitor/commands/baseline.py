"""`stream-monitor baseline`: make, pin, reset, list and show what counts as normal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from stream_monitor.baseline.build import build, read_events
from stream_monitor.baseline.show import in_force, in_the_making, list_of, measures_of, tables_of
from stream_monitor.describe.clocks import NEVER
from stream_monitor.describe.records import ResetRecord
from stream_monitor.detect.pinned import PinnedBaseline, read_file, write_file
from stream_monitor.errors import StreamMonitorError
from stream_monitor.kafka import pins
from stream_monitor.kafka.ranges import TopicRange
from stream_monitor.kafka.tail import tail
from stream_monitor.pictures import to_the_second
from stream_monitor.settings import Settings

NONE = "no baseline: a measure has one when its first values have come (`baseline.first` of the settings)"
SHOWN = 8
"""Measures that are named."""


@dataclass(frozen=True)
class Source:
    """The arguments of `baseline build`; no files mean the app's input topics."""

    files: list[Path]
    out: Path | None
    name: str | None
    owner: tuple[str | None, str | None]
    """(model, version)."""
    text: list[str]
    limit: int
    span: tuple[int | None, int | None] = None, None
    """With topics: records that Kafka got from the first on and before the second, epoch ms."""


def make(settings: Settings, source: Source, console: Console) -> None:
    """Make a baseline of files or topics, and write it or pin it."""
    called = source.name or (f"pinned-{source.files[0].stem}" if source.files else f"pinned-{settings.app}")
    built = build(settings, (_of_files if source.files else _of_topics)(settings, source, console), called,
                  source.owner[1])  # fmt: skip
    models = ", ".join(baseline.model for baseline in built.baselines)
    console.print(f"{built.events:,} events; baseline {called!r} of {models}", highlight=False)
    for line in built.rejects.lines():
        console.print(f"[yellow]left out:[/yellow] {escape(line.strip())}", highlight=False, soft_wrap=True)
    if source.out is not None:
        write_file(source.out, built.baselines)
        told = f"written to {source.out}; `stream-monitor baseline pin {source.out}` puts it in force"
        console.print(told, highlight=False)
    else:
        pin(settings, built.baselines, console)


def _of_files(settings: Settings, source: Source, console: Console) -> Iterator[tuple[str, bytes]]:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("read", total=sum(file.stat().st_size for file in source.files))
        yield from read_events(
            source.files, source.owner, source.text, source.limit, lambda size: progress.advance(task, size)
        )


def _of_topics(settings: Settings, source: Source, console: Console) -> Iterator[tuple[str, bytes]]:
    """Events of the input topics, at most `limit`; nothing is committed."""
    topics = TopicRange(settings, *source.span)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("read", total=topics.total)
            events = (
                (role, message.value() or b"")
                for batches in topics.read()
                for role, messages in batches
                for message in messages
            )
            for event in islice(events, source.limit):
                yield event
                progress.update(task, completed=topics.done)
    finally:
        topics.close()


def pin(settings: Settings, baselines: list[PinnedBaseline], console: Console) -> None:
    """Put baselines in force."""
    records, topic = pins.pin(settings, baselines), settings.topic("profiles")
    console.print(f"[green]✓[/green] pinned: {records} record(s) on {topic}; in force at once", highlight=False)


def show(settings: Settings, file: Path | None, only: tuple[str | None, str | None], console: Console) -> int:
    """Show the baselines in force, or those of a file, of `only` a (model, measure); 1 where there are none.

    Raises:
        StreamMonitorError: there are some, but none of these.
    """
    model, measure = only
    baselines = read_file(file) if file else in_force(tail(settings, "baselines", follow=False))
    for baseline in baselines:
        baseline.measures = [m for m in baseline.measures if measure in (None, m.measure)]
    shown = [b for b in baselines if model in (None, b.model) and b.measures]
    if baselines and not shown:
        asked = ", ".join(
            f"{what} {name}" for what, name in (("model", model), ("measure", measure)) if name is not None
        )
        raise StreamMonitorError(f"no baseline of {asked}: without --model and --measure all are shown")
    for baseline in shown:
        for table in tables_of(baseline):
            console.print(table)
    return _found(bool(shown))


def listing(settings: Settings, console: Console) -> int:
    """List the baselines in force; 1 where there are none."""
    notices = list(tail(settings, "baselines", follow=False))
    baselines, making = in_force(notices), in_the_making(notices)
    if baselines or making:
        console.print(list_of(baselines, settings.baseline.kind, making))
    return _found(bool(baselines or making))


def reset(settings: Settings, record: ResetRecord, console: Console) -> None:
    """Forget baselines, to be made anew.

    Raises:
        StreamMonitorError: there is none that is meant.
    """
    meant = sorted(measures_of(tail(settings, "baselines", follow=False), record))
    if not meant:
        asked = {"model": record.model, "version": record.version, "measure": record.measure, "segment": record.segment}
        of = ", ".join(f"{name} {value}" for name, value in asked.items() if value is not None)
        raise StreamMonitorError(f"no baseline of {of}: `baseline list` and `baseline show` tell which there are")
    number = pins.reset(settings, record)
    named = ", ".join(meant[:SHOWN]) + (f" and {len(meant) - SHOWN} more" if len(meant) > SHOWN else "")
    whose = f"{record.model}, {record.version or 'all versions'}, {record.segment or 'all segments'}"
    since = "the first pane not closed yet"
    if record.since != NEVER:
        since = f"the pane of {to_the_second(record.since)}, or {since} if that is later,"
    console.print(
        f"[green]✓[/green] reset: {escape(named)} ({escape(whose)}) from {since} on; "
        f"1 record on {settings.topic('profiles')}/{number}",
        highlight=False,
    )


def _found(any_there: bool) -> int:
    if not any_there:
        Console(stderr=True).print(NONE, highlight=False)
    return 0 if any_there else 1
