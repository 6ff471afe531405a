"""`stream-monitor rejudge`: reads the retained profiles, and prints two lives of the same stream side by side."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from stream_monitor.baseline.show import active
from stream_monitor.baselines.pinned import PinnedBaseline, read_file
from stream_monitor.commands.past_rollout import require_segments, tell
from stream_monitor.config.recorded import adopted
from stream_monitor.config.settings import Settings
from stream_monitor.errors import StreamMonitorError, suggest
from stream_monitor.events.contracts import Alert
from stream_monitor.events.reason_command import without_command
from stream_monitor.events.rollouts import RolloutDecision
from stream_monitor.judge.model import JudgeOutput
from stream_monitor.profiles.bin_catalog import BinCatalog
from stream_monitor.profiles.names import ALL_MODELS, NEVER
from stream_monitor.profiles.records import DeltaRecord, Record
from stream_monitor.queries.rollouts import decisions_of
from stream_monitor.rejudge.comparison import Comparison, DecisionComparison, Scope
from stream_monitor.rejudge.log_replay import Log, RejudgeTerms, judge_again
from stream_monitor.rejudge.retained_log import RetainedLog
from stream_monitor.rollouts.past import PastRollout
from stream_monitor.terminal import Bar, Column, Screen, Table, coloured, dim, visible
from stream_monitor.timestamps import to_the_second, when

SHOWN = 20
"""Alerts of a kind that are listed without `--all`."""


@dataclass(frozen=True)
class RejudgeOptions:
    """The command's arguments."""

    scope: Scope
    baseline: Path | None = None
    out: Path | None = None
    every: bool = False


def run(settings: Settings, wanted: RejudgeOptions, out: Screen, err: Screen) -> None:
    """Judge again, print the difference, and say what could not be known.

    Raises:
        StreamMonitorError: the profiles hold nothing of the model, or of the time.
    """
    pinned = read_file(wanted.baseline, settings.embeddings) if wanted.baseline else None
    retained = RetainedLog(settings)
    found, begins, ends, said_any = Comparison(), dict[int, int](), NEVER, False
    numbers = _partitions(wanted.scope.model, retained)
    size = sum(map(retained.size, numbers))
    with _writer(wanted) as write, err.progress("profiles", size, brief=True) as bar:
        for number in numbers:
            again = judge_again(terms_of(settings, retained, number, pinned), number)
            for record in again.process(_log(retained, number, bar)):
                if wanted.scope.contains(record):
                    said_any = True
                    write(record)
                    if isinstance(record, Alert):
                        found.add_rejudged(record)
                    elif isinstance(record, RolloutDecision):
                        found.decisions.add_rejudged(record)
            begins[number] = -(2**63) if retained.whole(number) else again.begins
            ends = max(ends, again.last)

    def begun(model: str) -> int:
        return begins.get(retained.partition_of(model), -(2**63))

    found.add_published((alert for alert in retained.alerts() if wanted.scope.contains(alert)), begun)
    decided = (decision for decision in decisions_of(retained.decisions()) if wanted.scope.contains(decision))
    found.decisions.add_published(decided, begun)
    if not (said_any or found.then or found.not_comparable or found.decisions.then):  # zeros would look like silence
        last = "hold no events yet" if ends == NEVER else f"end with the pane of {to_the_second(ends)}"
        raise StreamMonitorError(f"nothing was judged in that time, and nothing would be: the profiles {last}")
    _print(found, wanted.every, out)
    _warn(retained, begins, found, err)


def run_rollout(
    settings: Settings, past: PastRollout, baseline: Path | None, as_json: bool, out: Screen, err: Screen
) -> int:
    """Judge a rollout over the retained profiles, and print what it would have come to; the exit code is 1 for harm.

    Raises:
        StreamMonitorError: the profiles hold nothing of its model, or of one of its versions.
    """
    require_segments(past, [",".join(spec) for spec in settings.segments])
    pinned = read_file(baseline, settings.embeddings) if baseline else None
    retained = RetainedLog(settings)
    (number,) = _partitions(past.plan.model, retained)
    with err.progress("profiles", retained.size(number), brief=True) as bar:
        terms = replace(terms_of(settings, retained, number, pinned), past=past)
        deque(judge_again(terms, number).process(_log(retained, number, bar)), maxlen=0)
    if not retained.whole(number):
        err.note("the oldest profiles have expired: it begins with those that are left")
    return tell(past.verdict(), as_json, out)


def _partitions(model: str | None, retained: RetainedLog) -> list[int]:
    """The partitions that tell of a model; refused is one of which nothing is there, before anything is judged."""
    if model is None:
        return retained.numbers
    number, with_baseline = retained.partition_of(model), {baseline.model for baseline in active(retained.notices)}
    there = model == ALL_MODELS or model in with_baseline
    if there or any(_names(record, model) for _, record, _ in retained.profiles(number)):
        return [number]
    hint = suggest(model, sorted(with_baseline), "models with a baseline")
    raise StreamMonitorError(f"the profiles hold nothing of a model {model!r}; {hint}")


def _names(record: Record, model: str) -> bool:
    return isinstance(record, DeltaRecord) and any(delta.model == model for delta in record.deltas)


def terms_of(
    settings: Settings, retained: RetainedLog, number: int, pinned: list[PinnedBaseline] | None, obey_log: bool = False
) -> RejudgeTerms:
    """How a partition is judged again; the baselines in force stand in for a beginning that has expired."""
    notices = retained.notices
    catalog = BinCatalog()
    for notice in notices:
        catalog.apply(notice)
    whole = retained.whole(number)
    if pinned is not None:
        chosen = pinned
    else:
        chosen = [] if whole else active(notices)
    if (text := retained.recorded_settings(number)) is not None:
        settings = adopted(settings, text)
    owned = [baseline for baseline in chosen if retained.partition_of(baseline.model) == number]
    return RejudgeTerms(settings, obey_log, whole, owned, pinned is None, catalog)


def _log(retained: RetainedLog, number: int, bar: Bar) -> Log:
    at = None
    for offset, record, arrived in retained.profiles(number):
        bar.advance(1 if at is None else offset - at)
        at = offset
        yield record, arrived


@contextmanager
def _writer(wanted: RejudgeOptions) -> Iterator[Callable[[JudgeOutput], None]]:
    if wanted.out is None:
        yield lambda record: None
        return
    with wanted.out.open("w", encoding="utf-8") as file:

        def write(record: JudgeOutput) -> None:
            topics: dict[type[object], str] = {Alert: "alerts", RolloutDecision: "decisions"}
            topic = topics.get(type(record), "metrics")
            file.write(f'{{"topic":"{topic}","value":{msgspec.json.encode(record).decode()}}}\n')

        yield write


def _print(found: Comparison, every: bool, out: Screen) -> None:
    figures = [Column(heading, "figure") for heading in ("then", "now", "both", "only then", "only now")]
    table = Table([Column("model"), Column("measure"), *figures])
    total = [0, 0, 0]
    for model, measure, count in found.counts():
        row = count.then, count.now, count.both
        total = [a + b for a, b in zip(total, row, strict=True)]
        table.row(model, measure, *_figures(*row))
    table.rule()
    table.row("all", "", *_figures(total[0], total[1], total[2]))
    out.table(table)
    _list(out, "only then", found.disappeared, every)
    _list(out, "only now", found.appeared, every)
    _list(out, "in both, but with other updates, severity or end", found.changed, every)
    _print_rollouts(found.decisions, out)


def _print_rollouts(found: DecisionComparison, out: Screen) -> None:
    rows = list(found.rollouts())
    if not rows:
        return
    names = ("model", "rollout", "decisions then", "now", "same", "came to then", "and now")
    figures = {"decisions then", "now", "same"}
    table = Table([Column(name, "figure" if name in figures else "name") for name in names], "rollouts")
    for row in rows:
        then, now = (_end_of(decisions) for decisions in (row.then, row.now))
        counts = (f"{len(row.then):,}", f"{len(row.now):,}", f"{row.same:,}")
        table.row(visible(row.model), visible(row.rollout), *counts, then, now)
    out.line()
    out.table(table)


def _end_of(decisions: list[RolloutDecision]) -> str:
    return f"{decisions[-1].state} {to_the_second(decisions[-1].ts)}" if decisions else "-"


def _figures(then: int, now: int, both: int) -> list[str]:
    return [f"{x:,}" for x in (then, now, both, then - both, now - both)]


def _list(out: Screen, title: str, alerts: list[Alert], every: bool) -> None:
    if not alerts:
        return
    out.line()
    out.line(f"{title}:")
    for alert in alerts if every else alerts[:SHOWN]:
        out.line(f"  {when(alert.opened_ts)} {alert.severity:<8} {without_command(alert.reason)}  ", dim(alert.id[:8]))
    if len(alerts) > SHOWN and not every:
        out.line(f"  and {len(alerts) - SHOWN:,} more; --all prints them")


def _warn(retained: RetainedLog, begins: dict[int, int], found: Comparison, err: Screen) -> None:
    cut = sorted(number for number in begins if not retained.whole(number))
    if cut:
        partitions = ", ".join(map(str, cut))
        err.prose(
            coloured(f"the oldest profiles of partition {partitions} have expired", "yellow"),
            ": judged from what is left, by the "
            "baselines that are in force now; detectors of single panes and ranges of volume begin anew, so alerts "
            f"may differ for that reason alone. {len(found.not_comparable):,} alerts opened before, "
            "and are not compared",
        )
    if not retained.alerts_whole:
        err.prose(
            coloured("the oldest alerts have expired", "yellow"),
            ": what rang then looks as if it rang only now; --since leaves that time out",
        )
