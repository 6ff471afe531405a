"""`stream-monitor alerts explain`: an alert rebuilt from the retained profiles, drawn for a person."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from stream_monitor.commands.rejudge import terms_of
from stream_monitor.durations import format_duration
from stream_monitor.events.contracts import Alert, Attribution, ErrorChange, Finding, Moved
from stream_monitor.judge.witness import Explanation, Series, explain, find
from stream_monitor.kafka.retained import Retained
from stream_monitor.pictures import BARS, COLOURS, bars, picture, thinned, to_the_second
from stream_monitor.settings import Settings

WIDTH = 60
OTHERS = 10


def run(settings: Settings, wanted: str, as_json: bool, console: Console) -> None:
    """Find an alert, judge the profiles of its model again, and print what led to it."""
    retained = Retained(settings)
    published = find(list(retained.alerts()), wanted)
    number = retained.partition_of(published[0].model)
    terms = terms_of(settings, retained, number, None, obey_log=True)
    log = ((record, arrived) for _, record, arrived in retained.profiles(number))
    found = explain(terms, number, log, published)
    if as_json:
        print(msgspec.json.encode(found).decode())
        return
    for part in drawn(found):
        console.print(part, highlight=False)


def drawn(found: Explanation) -> Iterator[RenderableType]:
    """An explanation, part by part."""
    opening = next(alert for alert in found.records if alert.status == "open")
    yield f"[bold]{escape(opening.reason)}[/bold]  [dim]{opening.id}[/dim]"
    yield _course(found)
    if not found.exact:
        yield "[yellow]not all records could be rebuilt: what came before the retained profiles is unknown[/yellow]"
    yield from _shapes(opening)
    for series in found.series:
        yield _line(series, opening)
    if opening.attribution is not None:
        yield from _attributed(opening.attribution)
    for alert in found.records:
        if alert.status == "outcome" and alert.attribution is not None and alert.attribution.error is not None:
            yield f"\nlabels: {escape(alert.reason)}{_margin(alert.attribution.error)}"
    if found.others:
        yield "\nwhat else of the model opened around that time:"
        for other in found.others[:OTHERS]:
            told = f"{other.severity:<8} {escape(other.reason)}  [dim]{other.id[:8]}[/dim]"
            yield f"  {to_the_second(other.opened_ts)} {told}"
    if len(found.others) > OTHERS:
        yield f"  and {len(found.others) - OTHERS:,} more"


def _course(found: Explanation) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for heading in ("when", "status", "severity", "detectors"):
        table.add_column(heading, no_wrap=heading != "detectors")
    for alert in found.records:
        status = f"[{COLOURS[alert.status]}]{alert.status}[/{COLOURS[alert.status]}]"
        told = ", ".join(_measured(finding) for finding in alert.findings)
        table.add_row(to_the_second(alert.ts), status, alert.severity, escape(told))
    return table


def _measured(finding: Finding) -> str:
    if finding.detector == "silence":
        lasted, tolerated = 1_000 * int(finding.score // 1_000), int(finding.threshold)
        return f"silence {format_duration(lasted)} ({format_duration(tolerated)})"
    return f"{finding.detector} {finding.score:.3g} ({finding.threshold:.3g})"


def _shapes(opening: Alert) -> Iterator[RenderableType]:
    """Baseline against now, and what a sequential detector estimates."""
    drawing = picture(msgspec.to_builtins(opening))
    if drawing is not None:
        yield f"\nbaseline │{drawing[0]}│\nnow      │{drawing[1]}│"
    features = [told for finding in opening.findings for told in finding.evidence.get("features", ())]
    if features:
        table = _table("what tells before from now", ("part", "AUC by itself"))
        for told in features:
            table.add_row(escape(told["name"]), f"{told['part']:.0%}", f"{told['auc']:.3f}")
        yield table
    for finding in opening.findings:
        if finding.change_ts is not None:
            shift = finding.evidence.get("shift")
            told = (
                f", by {shift['sigmas']:+.2g} σ ({shift['value']:+.3g}) over {shift['n']:,.0f} values" if shift else ""
            )
            yield f"\n{finding.detector}: began about {to_the_second(finding.change_ts)}{told}"


def _line(series: Series, opening: Alert) -> Text:
    """A detector over time, red where it is beyond its threshold; a bar stands before what came after the opening."""
    before = [abs(p.score) for p in series.points if p.ts < opening.ts]
    after = [abs(p.score) for p in series.points if p.ts >= opening.ts]
    limits = [abs(p.threshold) for p in series.points if p.threshold is not None]
    limit = limits[-1] if limits else None
    top = max([*before, *after, 1e-12])
    text = Text(f"{series.detector:<14}")
    for part, values in (("", before), ("│", after)):
        text.append(part, "bold")
        for value in thinned(values, WIDTH // 2):
            text.append(bars([value], top) if value else BARS[0], "red" if limit is not None and value > limit else "")
    size = f"windows of {format_duration(series.size)}" if series.size else "panes"
    if series.size != series.slide:
        size += f" every {format_duration(series.slide)}"
    tolerated = "" if limit is None else f", threshold {limit:.3g}"
    text.append(f"  {size}, at most {top:.3g}{tolerated}", "dim")
    return text


def _attributed(found: Attribution) -> Iterator[RenderableType]:
    if found.moved:
        since = "" if found.since is None else f" since {to_the_second(found.since)}"
        table = _table(f"what moved{since}", ("baseline", "now", "of the movement"))
        for one in found.moved:
            table.add_row(escape(_name(one)), f"{one.baseline:.1%}", f"{one.now:.1%}", f"{one.part:.0%}")
        yield table
    if found.segments:
        table = _table("segment", ("of all before", "now", "of the drift", "own values", "mix"))
        for part in found.segments:
            shares = f"{part.before:.1%}", f"{part.now:.1%}"
            parts = (f"{round(100 * x):+d}%" for x in (part.part, part.own, part.mix))
            table.add_row(escape(part.segment), *shares, *parts)
        yield table


def _table(first: str, figures: tuple[str, ...]) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column(first, overflow="fold")
    for heading in figures:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _name(one: Moved) -> str:
    if one.name is not None:
        return one.name
    if one.above is None:
        return f"up to {one.to:.4g}"
    return f"above {one.above:.4g}" if one.to is None else f"{one.above:.4g} … {one.to:.4g}"


def _margin(change: ErrorChange) -> str:
    if change.baseline is None or change.now is None or change.margin is None:
        return ""
    return f" ({change.baseline:.3g} → {change.now:.3g}; below {change.margin:.2g} σ nothing is said)"
