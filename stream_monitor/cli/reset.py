"""`stream-monitor baseline reset`, as the command line shows it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from stream_monitor.cli.options import Config, millis, time_option
from stream_monitor.config.settings import load
from stream_monitor.terminal import Screen


def reset(
    model: Annotated[str, typer.Argument(help="The model whose baselines are forgotten.")],
    config: Config = None,
    measure: Annotated[str | None, typer.Option(help="Only this measure, `volume` too; default: all.")] = None,
    segment: Annotated[str | None, typer.Option(help="Only this segment; the bins stay, others count on them.")] = None,
    version: Annotated[
        str | None, typer.Option(help="Only what was pinned for this version; then what all versions share judges it.")
    ] = None,
    since: Annotated[
        datetime | None,
        time_option("From the slice of event time (UTC) on that begins then; default: the next one.", "--from"),
    ] = None,
) -> None:
    """Learn anew what is normal, after a change that is here to stay: a new feature pipeline, another unit.

    The baseline is forgotten from one slice of time (`time.pane`) on, and made of the next `baseline.first` values,
    with new bins; what is recent (rolling, hour of week) begins anew too, and alerts on it end. Until it is made the
    measure is published, and not compared with anything. `--from` is for a change that is planned: a time that no event
    has reached yet, so that every value from there on is known. By default, and for a time that has passed, it is the
    first slice that is not closed; values of the next seconds, which were counted into the old bins already, are left
    out of the new baseline.

    Examples: `stream-monitor baseline reset fraud --measure amount`;
    `stream-monitor baseline reset fraud --from 2026-12-01T06:00:00`; `baseline list` shows what is in the making.
    """
    from stream_monitor.commands.baseline import reset
    from stream_monitor.profiles.records import ResetRecord

    record, at = ResetRecord(model, measure, version, segment), millis(since)
    if at is not None:
        record.since = at
    reset(load(config), record, Screen(stderr=True))
