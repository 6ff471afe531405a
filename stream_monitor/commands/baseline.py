"""`stream-monitor baseline`: make, pin, reset, list and show what counts as normal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from stream_monitor.baseline import control_records as pins
from stream_monitor.baseline.build import build, read_events
from stream_monitor.baseline.show import active, in_progress, measures_of, summary_table, tables_of
from stream_monitor.baselines.pinned import PinnedBaseline, read_file, write_file
from stream_monitor.config.settings import Settings
from stream_monitor.errors import StreamMonitorError
from stream_monitor.formats.contract import text_of
from stream_monitor.formats.registry import format_of
from stream_monitor.kafka.range_reader import TopicRange
from stream_monitor.kafka.tail import tail
from stream_monitor.profiles.names import NEVER
from stream_monitor.profiles.records import ResetRecord
from stream_monitor.terminal import MOST_OF_NAME, Screen, coloured, visible
from stream_monitor.timestamps import to_the_second

NONE = "no baseline: a measure has one when its first values have come (`baseline.first` of the settings)"
SHOWN = 8
"""Measures, or models, that are named."""


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


def write_baselines(settings: Settings, source: Source, screen: Screen) -> None:
    """Make a baseline of files or topics, and write it or pin it."""
    called = source.name or (f"pinned-{source.files[0].stem}" if source.files else f"pinned-{settings.app}")
    built = build(settings, (_of_files if source.files else _of_topics)(settings, source, screen), called,
                  source.owner[1])  # fmt: skip
    models = [baseline.model for baseline in built.baselines]
    screen.prose(f"{built.events:,} events; baseline {visible(called)} of {named(models)}")
    for line in built.rejects.lines():
        screen.prose(coloured("left out:", "yellow"), f" {line.strip()}")
    if source.out is not None:
        write_file(source.out, built.baselines)
        message = f"written to {source.out}; `stream-monitor baseline pin {source.out}` puts it in force"
        screen.prose(message)
    else:
        pin(settings, built.baselines, screen)


def _of_files(settings: Settings, source: Source, screen: Screen) -> Iterator[tuple[str, bytes]]:
    with screen.progress("read", sum(file.stat().st_size for file in source.files), "bytes") as bar:
        yield from read_events(source.files, source.owner, source.text, source.limit, bar.advance)


def _of_topics(settings: Settings, source: Source, screen: Screen) -> Iterator[tuple[str, bytes]]:
    """Events of the input topics, at most `limit`; nothing is committed."""
    topics = TopicRange(settings, *source.span)
    try:
        with screen.progress("read", topics.total) as bar:
            events = (
                (role, text_of(format_of(settings.topics.formats, role), message))
                for batches in topics.read()
                for role, messages in batches
                for message in messages
            )
            for event in islice(events, source.limit):
                yield event
                bar.update(topics.done)
    finally:
        topics.close()


def pin(settings: Settings, baselines: list[PinnedBaseline], screen: Screen) -> None:
    """Put baselines in force."""
    records, topic = pins.pin(settings, baselines), settings.topic("profiles")
    screen.fine(f"pinned: {records} record(s) on {topic}; in force at once")


def show(settings: Settings, file: Path | None, only: tuple[str | None, str | None], screen: Screen) -> int:
    """Show the baselines in force, or those of a file, of `only` a (model, measure); 1 where there are none.

    Raises:
        StreamMonitorError: there are some, but none of these.
    """
    model, measure = only
    baselines = read_file(file) if file else active(tail(settings, "baselines", follow=False))
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
            screen.table(table)
    return _found(bool(shown))


def list_baselines(settings: Settings, screen: Screen) -> int:
    """List the baselines in force; 1 where there are none."""
    notices = list(tail(settings, "baselines", follow=False))
    baselines, making = active(notices), in_progress(notices)
    if baselines or making:
        screen.table(summary_table(baselines, settings.baseline.kind, making))
    return _found(bool(baselines or making))


def reset(settings: Settings, record: ResetRecord, screen: Screen) -> None:
    """Forget baselines, to be made anew.

    Raises:
        StreamMonitorError: there is none that is meant.
    """
    measures = sorted(measures_of(tail(settings, "baselines", follow=False), record))
    if not measures:
        asked = {"model": record.model, "version": record.version, "measure": record.measure, "segment": record.segment}
        of = ", ".join(f"{name} {value}" for name, value in asked.items() if value is not None)
        raise StreamMonitorError(f"no baseline of {of}: `baseline list` and `baseline show` tell which there are")
    number = pins.reset(settings, record)
    whose = ", ".join(map(visible, (record.model, record.version or "all versions", record.segment or "all segments")))
    since = "the first pane not closed yet"
    if record.since != NEVER:
        since = f"the pane of {to_the_second(record.since)}, or {since} if that is later,"
    topic = settings.topic("profiles")
    screen.fine(f"reset: {named(measures)} ({whose}) from {since} on; 1 record on {topic}/{number}")


def named(names: list[str]) -> str:
    """The first names of a list, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(visible(name, MOST_OF_NAME) for name in names[:SHOWN]) + more


def _found(any_there: bool) -> int:
    if not any_there:
        Screen(stderr=True).prose(NONE)
    return 0 if any_there else 1
