"""`stream-monitor alerts explain`: an alert rebuilt from the retained profiles, drawn for a person."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from stream_monitor.commands.rejudge import terms_of
from stream_monitor.config.durations import format_duration
from stream_monitor.config.settings import Settings
from stream_monitor.events.contracts import Alert, Attribution, ErrorChange, Finding, Moved
from stream_monitor.events.reason_command import without_command
from stream_monitor.judge.alerts.figures import apart
from stream_monitor.rejudge.explain import Explanation, Series, explain, find
from stream_monitor.rejudge.retained_log import RetainedLog
from stream_monitor.terminal import Cell, Column, Line, Screen, Table, bold, coloured, dim
from stream_monitor.terminal.charts import BARS, COLOURS, bars, picture, thinned
from stream_monitor.timestamps import to_the_second

WIDTH = 60
OTHERS = 10


def run(settings: Settings, wanted: str, as_json: bool, screen: Screen) -> None:
    """Find an alert, judge the profiles of its model again, and print what led to it."""
    retained = RetainedLog(settings)
    published = find(list(retained.alerts()), wanted)
    number = retained.partition_of(published[0].model)
    terms = terms_of(settings, retained, number, None, obey_log=True)
    log = ((record, arrived) for _, record, arrived in retained.profiles(number))
    found = explain(terms, number, log, published)
    if as_json:
        screen.data(msgspec.json.encode(found))
        return
    for part in drawn(found):
        screen.draw(part)


def drawn(found: Explanation) -> Iterator[Line | Table]:
    """An explanation, part by part."""
    opening = next(alert for alert in found.records if alert.status == "open")
    yield Line(bold(without_command(opening.reason)), "  ", dim(opening.id))
    yield _course(found)
    if not found.exact:
        line = "not all records could be rebuilt: what came before the retained profiles is unknown"
        yield Line(coloured(line, "yellow"))
    yield from _shapes(opening)
    for series in found.series:
        yield _line(series, opening)
    if opening.attribution is not None:
        yield from _attributed(opening.attribution)
    outcomes = [alert for alert in found.records if alert.status == "outcome"]
    for alert in sorted(outcomes, key=lambda alert: alert.revision)[-1:]:  # the highest revision holds
        if alert.attribution is not None and alert.attribution.error is not None:
            yield Line()
            yield Line(f"labels: {without_command(alert.reason)}{_margin(alert.attribution.error)}")
    if found.others:
        yield Line()
        yield Line("what else of the model opened around that time:")
        for other in found.others[:OTHERS]:
            line = f"  {to_the_second(other.opened_ts)} {other.severity:<8} {without_command(other.reason)}  "
            yield Line(line, dim(other.id[:8]))
    if len(found.others) > OTHERS:
        yield Line(f"  and {len(found.others) - OTHERS:,} more")


def _course(found: Explanation) -> Table:
    table = Table([Column("when"), Column("status"), Column("severity"), Column("detectors", "prose")])
    for alert in found.records:
        status = coloured(alert.status, COLOURS[alert.status])
        measured = ", ".join(_measured(finding) for finding in alert.findings)
        table.row(to_the_second(alert.ts), status, alert.severity, measured)
    return table


def _measured(finding: Finding) -> str:
    if finding.detector == "silence":
        lasted, tolerated = 1_000 * int(finding.score // 1_000), int(finding.threshold)
        return f"silence {format_duration(lasted)} ({format_duration(tolerated)})"
    score, threshold = apart(finding.score, finding.threshold)
    return f"{finding.detector} {score} ({threshold})"


def _shapes(opening: Alert) -> Iterator[Line | Table]:
    """Baseline against now, and what a sequential detector estimates."""
    drawing = picture(msgspec.to_builtins(opening))
    if drawing is not None:
        yield Line()
        yield Line(f"baseline │{drawing[0]}│")
        yield Line(f"now      │{drawing[1]}│")
    features = [feature for finding in opening.findings for feature in finding.evidence.get("features", ())]
    if features:
        table = _table("what tells before from now", ("part", "AUC by itself"))
        for feature in features:
            table.row(feature["name"], f"{feature['part']:.0%}", f"{feature['auc']:.3f}")
        yield table
    for finding in opening.findings:
        if finding.change_ts is not None:
            shift = finding.evidence.get("shift")
            suffix = (
                f", by {shift['sigmas']:+.2g} σ ({shift['value']:+.3g}) over {shift['n']:,.0f} values" if shift else ""
            )
            yield Line()
            yield Line(f"{finding.detector}: began about {to_the_second(finding.change_ts)}{suffix}")


def _line(series: Series, opening: Alert) -> Line:
    """A detector over time, red where it is beyond its threshold; a bar stands before what came after the opening."""
    before = [abs(p.score) for p in series.points if p.ts < opening.ts]
    after = [abs(p.score) for p in series.points if p.ts >= opening.ts]
    limits = [abs(p.threshold) for p in series.points if p.threshold is not None]
    limit = limits[-1] if limits else None
    most = max([*before, *after])
    top = max(most, limit or 0.0, 1e-12)  # what is far below its threshold must look so
    pieces: list[Cell] = [f"{series.detector:<14}"]
    for part, values in (("", before), ("│", after)):
        pieces.append(bold(part))
        for value in thinned(values, WIDTH // 2):
            beyond = limit is not None and value > limit
            pieces.append(coloured(bars([value], top) if value else BARS[0], "red" if beyond else ""))
    size = f"windows of {format_duration(series.size)}" if series.size else "panes"
    if series.size != series.slide:
        size += f" every {format_duration(series.slide)}"
    figures = f"{most:.3g}"
    if limit is not None:
        figures = ", threshold ".join(apart(most, limit))
    return Line(*pieces, dim(f"  {size}, at most {figures}"))


def _attributed(found: Attribution) -> Iterator[Line | Table]:
    if found.moved:
        since = "" if found.since is None else f" since {to_the_second(found.since)}"
        table = _table(f"what moved{since}", ("baseline", "now", "of the movement"))
        for one in found.moved:
            table.row(_name(one), f"{one.baseline:.1%}", f"{one.now:.1%}", f"{one.part:.0%}")
        yield table
    if found.segments:
        table = _table("segment", ("of all before", "now", "of the drift", "± error", "own values", "mix"))
        for part in found.segments:
            shares = f"{part.before:.1%}", f"{part.now:.1%}"
            drift, own, mix = (f"{round(100 * x):+d}%" for x in (part.part, part.own, part.mix))
            table.row(part.segment, *shares, drift, f"{100 * part.error:.0f}%", own, mix)
        yield table


def _table(first: str, figures: tuple[str, ...]) -> Table:
    return Table([Column(first), *(Column(heading, "figure") for heading in figures)])


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
