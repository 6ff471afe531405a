"""`stream-monitor status`, as the command line shows it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Annotated, Any

import msgspec
import typer

from stream_monitor.commands.options import Config
from stream_monitor.durations import format_duration
from stream_monitor.events.contracts import Health
from stream_monitor.pictures import when
from stream_monitor.settings import Settings, load
from stream_monitor.status import Status, StatusReader
from stream_monitor.terminal import Cell, Column, Line, Screen, Table, coloured, dim

REFRESH_S = 2.0
SHOWN = 10
"""Open alerts and measures in the making that are listed."""
SEVERITY = {"critical": "red", "warning": "yellow", "info": "blue"}


def status(
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as one JSON object on a line.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help=f"Show it again every {REFRESH_S:g} s, until Ctrl-C.")] = False,
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
) -> None:
    """Show how the app does: models, when they were last seen, open alerts, labels, what is learning, and the lag.

    It reads the small topic `health` and the offsets of the workers, and disturbs nobody. `seen` is the age of the last
    window that had predictions. A measure is judged once its baseline is made: `learning` says how many are not, and
    when the last will be at the present pace. The lag is what workers have not read yet.

    Examples: `stream-monitor status`; `stream-monitor status --watch`; `stream-monitor status --json --model fraud`
    """
    settings, out = load(config), Screen()
    reader = StatusReader(settings)
    while True:
        found = reader.read()
        found.models = [health for health in found.models if model in (None, health.model)]
        if as_json:
            out.data(json.dumps(as_data(found)), flush=watch)
        else:
            if watch:
                out.clear()
            for part in drawn(found, settings, int(time.time() * 1000)):
                out.draw(part)
        if not watch:
            return
        time.sleep(REFRESH_S)


def as_data(found: Status) -> dict[str, Any]:
    """The same as data."""
    models = [msgspec.to_builtins(health) for health in found.models]
    app = None if found.app is None else msgspec.to_builtins(found.app)
    return {"models": models, "app": app, "lags": [asdict(lag) for lag in found.lags], "strange": found.strange}


def drawn(found: Status, settings: Settings, now: int) -> Iterator[Line | Table]:
    """What a person sees; `now` is epoch ms."""
    if found.models:
        yield _models(found.models, now)
    else:
        yield Line("no model has closed a window yet: a model is listed once its first window has ended")
    yield from _alerts(found)
    yield from _learning(found.models)
    yield Line()
    yield from _lags(found, settings)
    for told in found.strange:
        yield Line(coloured(told, "yellow"))


def _models(models: Iterable[Health], now: int) -> Table:
    headings = ("seen", "events/s", "alerts", "labelled", "error", "learning")
    table = Table([Column("model"), *(Column(heading, "figure") for heading in headings)])
    for health in models:
        table.row(health.model, _seen(health, now), _rate(health), _open(health), *_labels(health), _ready(health))
    return table


def _seen(health: Health, now: int) -> str:
    at = health.window_end if health.count else health.window_start
    age = max(now - at, 0) // 1000 * 1000
    return f"{'' if health.count else 'not for '}{format_duration(age) if age else 'now'}"


def _rate(health: Health) -> str:
    rate = 1000 * health.count / max(health.window_end - health.window_start, 1)
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def _open(health: Health) -> Cell:
    if not health.open_total:
        return dim("none")
    worst = health.open[0].severity
    return coloured(f"{health.open_total} {worst}", SEVERITY[worst])


def _labels(health: Health) -> tuple[str, str]:
    share = f"{health.labelled / health.predictions:.0%}" if health.predictions else ""
    if health.error is None:
        return share, ""
    return share, f"{health.error:.2%}" if health.error_measure == "error" else f"{health.error:.4g}"


def _ready(health: Health) -> str:
    if not health.learning_total:
        return "ready"
    left = [one.ready_in for one in health.learning]
    when = [ms for ms in left if ms is not None]
    told = f"{health.learning_total} of {health.measures}"
    return f"{told}, {format_duration(_rounded(max(when)))}" if when else told


def _rounded(ms: int) -> int:
    """To two figures or so: it is an estimate."""
    step = next((unit for unit in (86_400_000, 3_600_000, 60_000) if ms >= 10 * unit), 1_000)
    return -(-ms // step) * step


def _alerts(found: Status) -> Iterator[Line]:
    models = [*found.models, *([] if found.app is None else [found.app])]
    alerts = [(health.model, alert) for health in models for alert in health.open]
    total = sum(health.open_total for health in models)
    if not alerts:
        return
    yield Line()
    order = ["critical", "warning", "info"]
    alerts.sort(key=lambda one: (order.index(one[1].severity), one[1].opened_ts))
    for _, alert in alerts[:SHOWN]:
        severity = coloured(f"{alert.severity:<8}", SEVERITY[alert.severity])
        yield Line(severity, f" {when(alert.opened_ts)} {alert.reason}  ", dim(alert.id[:8]))
    if total > SHOWN:
        yield Line(dim(f"and {total - min(SHOWN, len(alerts)):,} more; `stream-monitor alerts tail` prints them"))


def _learning(models: Iterable[Health]) -> Iterator[Line]:
    making = [(health.model, one) for health in models for one in health.learning]
    if not making:
        return
    yield Line()
    for model, one in making[:SHOWN]:
        ready = "no value of late" if one.ready_in is None else f"ready in {format_duration(_rounded(one.ready_in))}"
        yield Line(f"learning {model} {one.measure}: {one.n:,} of {one.of:,} values, {ready}; not judged until then")
    if len(making) > SHOWN:
        yield Line(dim(f"and {len(making) - SHOWN:,} measures more; --json lists them"))


def _lags(found: Status, settings: Settings) -> Iterator[Line]:
    behind = [lag for lag in found.lags if lag.records]
    for lag in behind:
        where = f"at most {lag.largest:,} on partition {lag.partition}"
        yield Line(f"{lag.stage} has {lag.records:,} records of {settings.topic(lag.role)} to read, {where}")
    if not behind:
        yield Line("workers have read all that there is")
