"""The commands by which people say something of alerts and models, as the command line shows them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import typer

from stream_monitor.cli.options import Config, millis, time_option
from stream_monitor.config.settings import load
from stream_monitor.terminal import Screen


class Verdict(StrEnum):
    """What an incident was."""

    real = "real"
    false_alarm = "false alarm"
    known = "known"


By = Annotated[str, typer.Option(envvar="USER", help="Who says it.")]
Why = Annotated[str, typer.Option(help="For those who come after you.")]


def ack(
    wanted: Annotated[str, typer.Argument(metavar="ID", help="An alert's id, or the beginning of it.")],
    config: Config = None,
    verdict: Annotated[Verdict, typer.Option(help="What it was.")] = Verdict.real,
    why: Why = "",
    by: By = "unknown",
) -> None:
    """Acknowledge the incident of an alert: somebody has seen it, and says what it was.

    Remarks go to the topic `remarks`. They change what the page draws and whom `notify` tells, and never what rings.

    Example: `stream-monitor alerts ack 3f9c02ab --verdict "false alarm" --why "holiday"`
    """
    from stream_monitor.commands.remarks import acknowledge

    acknowledge(load(config), wanted, verdict.value, why, by, Screen())


def mute(
    model: Annotated[str, typer.Argument(help="The model.")],
    config: Config = None,
    measure: Annotated[str | None, typer.Option(help="Only this measure.")] = None,
    version: Annotated[str | None, typer.Option(help="Only this version.")] = None,
    segment: Annotated[str | None, typer.Option(help="Only this segment.")] = None,
    since: Annotated[datetime | None, time_option("From this event time on; default: now.", "--from")] = None,
    length: Annotated[str, typer.Option("--for", help="For how long, event time: 6h, 7d.")] = "1d",
    why: Why = "",
    by: By = "unknown",
) -> None:
    """Mute the alerts of a model, or of a part of it, for a while.

    They still ring; the page draws them as muted, and `notify` tells nobody.

    Example: `stream-monitor alerts mute fraud --measure amount --for 7d --why "new price list"`
    """
    from stream_monitor.commands.remarks import mute as write

    scope = {"measure": measure, "version": version, "segment": segment}
    write(load(config), model, scope, (millis(since), length), (why, by), Screen())


def annotate(
    model: Annotated[str, typer.Argument(help="The model.")],
    text: Annotated[str, typer.Argument(help='What happened: "deployed v7".')],
    config: Config = None,
    at: Annotated[datetime | None, time_option("When, event time; default: now.")] = None,
    by: By = "unknown",
) -> None:
    """Say what happened to a model. The page draws it on the time axis.

    Example: `stream-monitor alerts annotate fraud "deployed v7" --at 2026-11-01T06:00:00`
    """
    from stream_monitor.commands.remarks import annotate as write

    write(load(config), model, text, millis(at), by, Screen())
