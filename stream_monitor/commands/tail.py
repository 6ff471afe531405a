"""`stream-monitor alerts tail` and `metrics tail`: the records of a topic, one a line."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from rich.console import Console

from stream_monitor.kafka.tail import tail
from stream_monitor.pictures import COLOURS, when
from stream_monitor.settings import Settings


def run(settings: Settings, role: str, line: Callable[[dict[str, Any]], str], follow: bool, as_json: bool) -> None:
    """Print the records of a topic, as lines of JSON or as `line` draws them."""
    console = Console(highlight=False, soft_wrap=True)
    for value in tail(settings, role, follow):
        if as_json:
            print(value.decode(), flush=True)
        else:
            console.print(line(json.loads(value)))


def alert_line(alert: dict[str, Any]) -> str:
    """An alert record in one line."""
    colour = COLOURS[alert["status"]]
    status = f"[{colour}]{alert['status']:<8}[/{colour}]"
    return f"{when(alert['ts'])} {status} {alert['severity']:<8} {alert['reason']}  [dim]{alert['id'][:8]}[/dim]"


def metric_line(metric: dict[str, Any]) -> str:
    """A metrics record in one line."""
    rest = f" accuracy {metric['accuracy']:.4f}" if metric.get("accuracy") is not None else ""
    state = f"{'final' if metric['final'] else 'open'} r{metric['revision']}"
    where = f"{metric['model']} {metric['version']} {metric['segment']}"
    start = when(metric["window_start"])
    return f"{start} {metric['kind']:<11} {where}: {metric['count']:,} events{rest} [dim]{state}[/dim]"
