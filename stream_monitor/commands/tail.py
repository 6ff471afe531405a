"""`stream-monitor alerts tail` and `metrics tail`: the records of a topic, one a line."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from stream_monitor.config.durations import format_duration
from stream_monitor.config.settings import Settings
from stream_monitor.detect.windows.tests import TOLERANCE
from stream_monitor.events.contracts import Alert, Metric
from stream_monitor.events.reason_command import without_command
from stream_monitor.judge.detection.window_evaluation import tolerance
from stream_monitor.kafka.tail import Tail
from stream_monitor.profiles.measures import LATENCY
from stream_monitor.terminal import Line, Screen, coloured, dim
from stream_monitor.terminal.charts import COLOURS
from stream_monitor.timestamps import when

SORTED = 100_000
"""Records that are in memory to be put in order; one that lies further back in its topic comes late."""

Record = TypeVar("Record", Alert, Metric)


@dataclass(frozen=True)
class TailOptions:
    """The commands' arguments; `since` is event time in epoch ms."""

    model: str | None = None
    since: int | None = None
    last: int | None = None
    follow: bool = False
    as_json: bool = False


@dataclass(frozen=True)
class Kind(Generic[Record]):
    """What a topic holds, when a record is of, and how it reads."""

    role: str
    record: type[Record]
    time: Callable[[Record], int]
    line: Callable[[Record, Settings], Line]


def run(settings: Settings, kind: Kind[Record], wanted: TailOptions, out: Screen, err: Screen) -> None:
    """Print what is there in order of event time, and then what comes, as lines or as JSON."""
    with closing(Tail(settings, [kind.role])) as reader:
        _print(in_order(chosen(reader.backlog(), kind, wanted, err), kind, wanted.last), settings, kind, wanted, out)
        if wanted.follow:
            _print(chosen(reader.coming(), kind, wanted, err), settings, kind, wanted, out)


def _print(
    records: Iterable[tuple[Record, bytes]], settings: Settings, kind: Kind[Record], wanted: TailOptions, out: Screen
) -> None:
    for record, raw in records:
        if wanted.as_json:
            out.data(raw, flush=wanted.follow)
        else:
            out.draw(kind.line(record, settings))


def chosen(
    values: Iterable[bytes], kind: Kind[Record], wanted: TailOptions, err: Screen
) -> Iterator[tuple[Record, bytes]]:
    """The records that are asked for, and their bytes; one that is not ours is named and left out."""
    decoder = msgspec.json.Decoder(kind.record)
    for raw in values:
        try:
            record = decoder.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            err.problem(f"a record of the topic {kind.role} is none of ours: {error}")
            continue
        if wanted.model in (None, record.model) and (wanted.since is None or kind.time(record) >= wanted.since):
            yield record, raw


def in_order(
    records: Iterable[tuple[Record, bytes]], kind: Kind[Record], last: int | None
) -> Iterator[tuple[Record, bytes]]:
    """By event time, those of the same time as they came; the `last` ones where a number is given."""
    held: list[tuple[int, int, Record, bytes]] = []
    for at, (record, raw) in enumerate(records):
        entry = kind.time(record), at, record, raw
        if len(held) < (last or SORTED):
            heapq.heappush(held, entry)
        else:
            *_, record, raw = heapq.heappushpop(held, entry)
            if last is None:
                yield record, raw
    while held:
        *_, record, raw = heapq.heappop(held)
        yield record, raw


def alert_line(alert: Alert, settings: Settings) -> Line:
    """An alert record in one line."""
    status = coloured(f"{alert.status:<8}", COLOURS[alert.status])
    return Line(
        f"{when(alert.ts)} ", status, f" {alert.severity:<8} {without_command(alert.reason)}  ", dim(alert.id[:8])
    )


def metric_line(metric: Metric, settings: Settings) -> Line:
    """A metrics record in one line."""
    size = format_duration(metric.window_end - metric.window_start)
    details = [f"{metric.count:,} events", *_told(metric, settings)]
    if metric.parts > 1:
        details.insert(0, f"part {metric.part} of {metric.parts}")
    what = f"{when(metric.window_start)} {size:<4} {metric.kind:<11} {metric.model} {metric.version} {metric.segment}"
    state = f"{'final' if metric.final else 'open'} r{metric.revision}"
    return Line(f"{what}: {', '.join(details)}  ", dim(state))


def _told(metric: Metric, settings: Settings) -> Iterator[str]:
    if metric.kind == "performance":
        yield f"{metric.labelled / metric.count:.0%} labelled" if metric.count else f"{metric.labelled:,} labelled"
    yield from _lost(metric)
    if metric.accuracy is not None:
        yield f"error {1 - metric.accuracy:.2%}"
    elif (error := metric.measures.get("absolute_error")) is not None and error.mean is not None:
        yield f"absolute error {error.mean:.4g}"
    if (latency := metric.measures.get(LATENCY)) is not None and latency.p99 is not None:
        yield f"latency p99 {latency.p99:.4g} ms"
    if (most := furthest(metric, settings)) is not None:
        times, measure, test, score = most
        yield f"drifts most: {measure}, {test} {score:.3g}, {times:.2g} times what is tolerated"


def _lost(metric: Metric) -> Iterator[str]:
    """What of a window was not counted as it should be."""
    for lost, fate in ((metric.late, "late"), (metric.duplicates, "duplicate"), (metric.after_idle, "after idle")):
        if lost:
            yield f"{lost:,} {fate}"
    if metric.compared is not None and metric.compared < metric.labelled:
        yield f"{metric.compared:,} of {metric.labelled:,} labels compared"
    if metric.kind == "intake":
        for name, summary in sorted(metric.measures.items()):
            yield f"{summary.sum or 0:,.0f} of {summary.n:,} {name.rpartition('.')[2]}"


def furthest(metric: Metric, settings: Settings) -> tuple[float, str, str, float] | None:
    """(effect as a multiple of its tolerance, measure, test, effect) of what is furthest from its baseline."""
    rules = settings.detection
    effects = (
        (abs(score) / max(tolerance(rules, test), 1e-12), measure, test, score)
        for measure, summary in metric.measures.items()
        for test, score in (summary.tests or {}).items()
        if test in TOLERANCE
    )
    return max(effects, default=None)


ALERTS = Kind("alerts", Alert, lambda alert: alert.ts, alert_line)
METRICS = Kind("metrics", Metric, lambda metric: metric.window_start, metric_line)
