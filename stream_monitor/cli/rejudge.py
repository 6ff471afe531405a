"""The commands that judge retained profiles again, as the command line shows them."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from stream_monitor.cli.options import (
    Config,
    RolloutFile,
    output_option,
    require_distinct_paths,
    time_option,
    time_range,
)
from stream_monitor.config.settings import load
from stream_monitor.terminal import Screen


def rejudge(
    config: Config = None,
    since: Annotated[
        datetime | None,
        time_option("Compare what opened at or after this, event time: 2026-11-01 (UTC), or 7d: so long ago."),
    ] = None,
    until: Annotated[datetime | None, time_option("Compare what opened before this, event time, UTC.")] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Judge by this file of `baseline build --out` from the start."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    out: Annotated[
        Path | None, output_option("Write the alerts and metrics that would be here, one JSON a line.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="List every alert, not the first 20 of a kind.")] = False,
    rollout: RolloutFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --rollout: the verdict as one object.")] = False,
) -> None:
    """What would have rung with other settings, or another baseline: judged from the retained profiles alone.

    No event is read again and nothing is written to Kafka; the app may go on running. The settings are in force from
    the beginning. Panes, windows, segments and grain are what profiles are made of, and cannot be other ones. Rollouts
    that people started then are judged again, too, and their decisions are compared.

    With --rollout it says instead when the rollout of a file would have been stopped or would have passed, and what
    that had cost, from --since on, or from the first profiles. The weights are those of the past: the file's steps are
    left out. Exits with 1 for harm.

    Examples: `stream-monitor rejudge --config stricter.yaml --since 2026-11-01`;
    `stream-monitor rejudge --rollout fraud-42.yaml --since 14d`
    """
    from stream_monitor.commands.past_rollout import read
    from stream_monitor.commands.rejudge import RejudgeOptions, run, run_rollout
    from stream_monitor.rejudge.comparison import Scope

    require_distinct_paths(out, filter(None, [baseline, config, rollout]))
    first, last = time_range(since, until)
    if rollout is not None:
        if until is not None or model is not None or every or out is not None:
            raise typer.BadParameter(
                "--until, --model, --out and --all do not go with --rollout, whose file names a model"
            )
        past = read(rollout, first)
        raise typer.Exit(run_rollout(load(config), past, baseline, as_json, Screen(), Screen(stderr=True)))
    if as_json:
        raise typer.BadParameter("--json goes with --rollout")
    scope = Scope(model, -(2**63) if first is None else first, 2**63 if last is None else last)
    run(load(config), RejudgeOptions(scope, baseline, out, every), Screen(), Screen(stderr=True))


def explain(
    wanted: Annotated[str, typer.Argument(metavar="ID", help="The alert's id, or the beginning of it.")],
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as data.")] = False,
) -> None:
    """Show what led to an alert: its course, baseline against now, its detectors over time, and what else rang.

    All is rebuilt from the retained profiles by the code that raised it; nothing is written.

    Example: `stream-monitor alerts explain 3f9c02ab`
    """
    from stream_monitor.commands.explain import run

    run(load(config), wanted, as_json, Screen())
