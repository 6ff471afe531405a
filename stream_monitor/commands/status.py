"""What `stream-monitor status` shows."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import msgspec

from stream_monitor.config.durations import format_duration
from stream_monitor.config.settings import Settings
from stream_monitor.events.contracts import Health
from stream_monitor.events.reason_command import without_command
from stream_monitor.queries.status import Status, StatusReader
from stream_monitor.terminal import Cell, Column, Line, Screen, Table, coloured, dim
from stream_monitor.timestamps import when

SHOWN = 10
"""Open alerts and measures in the making that are listed."""
SEVERITY = {"critical": "red", "warning": "yellow", "info": "blue"}


def run(settings: Settings, model: str | None, as_json: bool, refresh_s: float | None, out: Screen) -> None:
    """Show it once, or again every `refresh_s` seconds until Ctrl-C."""
    reader = StatusReader(settings)
    while True:
        found = reader.read()
        found.models = [health for health in found.models if model in (None, health.model)]
        if as_json:
            out.data(json.dumps(as_data(found)), flush=refresh_s is not None)
        else:
            if refresh_s is not None:
                out.clear()
            for part in drawn(found, settings, int(time.time() * 1000)):
                out.draw(part)
        if refresh_s is None:
            return
        time.sleep(refresh_s)


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
    yield from _unseen(found.models)
    yield Line()
    yield from _lags(found, settings)
    for problem in found.strange:
        yield Line(coloured(problem, "yellow"))


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
    progress = f"{health.learning_total} of {health.measures}"
    return f"{progress}, {format_duration(_rounded(max(when)))}" if when else progress


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
        yield Line(severity, f" {when(alert.opened_ts)} {without_command(alert.reason)}  ", dim(alert.id[:8]))
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


def _unseen(models: Sequence[Health]) -> Iterator[Line]:
    """Limits that watch what no model has ever had."""
    for text in models[0].unseen_limits if models else ():
        if all(text in health.unseen_limits for health in models):
            note = (
                f"the limit {text!r} watches a measure that no model has had; `stream-monitor check` tells the nearest"
            )
            yield Line(coloured(note, "yellow"))


def _lags(found: Status, settings: Settings) -> Iterator[Line]:
    behind = [lag for lag in found.lags if lag.records]
    for lag in behind:
        where = f"at most {lag.largest:,} on partition {lag.partition}"
        yield Line(f"{lag.stage} has {lag.records:,} records of {settings.topic(lag.role)} to read, {where}")
    if not behind:
        yield Line("workers have read all that there is")
