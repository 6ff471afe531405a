"""`stream-monitor status`, as the command line shows it."""

from __future__ import annotations

from typing import Annotated

import typer

from stream_monitor.cli.options import Config
from stream_monitor.config.settings import load
from stream_monitor.terminal import Screen

REFRESH_S = 2.0


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
    from stream_monitor.commands.status import run

    run(load(config), model, as_json, REFRESH_S if watch else None, Screen())
