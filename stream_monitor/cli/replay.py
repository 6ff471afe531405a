"""`stream-monitor replay`, as the command line shows it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from stream_monitor.cli.options import (
    Config,
    RolloutFile,
    millis,
    output_option,
    require_distinct_paths,
    time_option,
    time_range,
)
from stream_monitor.config.settings import load
from stream_monitor.terminal import Screen

Begin = Annotated[
    datetime | None,
    time_option("With --rollout: it begins at this event time, UTC; default: with the first event.", "--since"),
]


def replay(
    files: Annotated[
        list[Path] | None,
        typer.Argument(exists=True, dir_okay=False, help="NDJSON events, each file in order of event time."),
    ] = None,
    config: Config = None,
    out: Annotated[
        Path | None, output_option("Write alerts and metrics here, one JSON a line; default: standard output.")
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Judge by this file of `baseline build --out`.")
    ] = None,
    topics: Annotated[
        bool,
        typer.Option("--topics", help="Replay the app's input topics, no files; the app may go on running."),
    ] = False,
    since: Annotated[
        datetime | None,
        time_option(
            "With --topics: records that Kafka got at or after this: 2026-11-01 (UTC), or 1h: so long ago.", "--from"
        ),
    ] = None,
    until: Annotated[
        datetime | None, time_option("With --topics: records that Kafka got before this, UTC.", "--to")
    ] = None,
    publish: Annotated[
        bool, typer.Option("--publish", help="With --topics: write to APP.replay.alerts, .metrics and .dead-letters.")
    ] = False,
    html: Annotated[Path | None, output_option("Write a report: the page and its data in one file.")] = None,
    rollout: RolloutFile = None,
    begin: Begin = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --rollout: the verdict as one object.")] = False,
) -> None:
    """Run files, or a range of the input topics, through the same code as `run`: the same alerts, the same metrics.

    Nothing is committed, and nothing is written to the app's own topics. The reasons why events could not be counted
    are printed with an example of each. Exits with 3 when no event could be counted.

    With --rollout it says when a rollout over these events would have been stopped or would have passed, and what that
    had cost. The weights are those of the past: the file's steps are left out. Exits with 1 for harm.

    Examples: `stream-monitor replay predictions.ndjson labels.ndjson --out result.ndjson`;
    `stream-monitor replay --topics --from 2026-11-01 --config other.yaml --out what-if.ndjson`;
    `stream-monitor replay year.ndjson --html report.html`;
    `stream-monitor replay predictions.ndjson labels.ndjson --rollout fraud-42.yaml --since 2026-11-01`
    """
    from stream_monitor.commands.past_rollout import read
    from stream_monitor.commands.replay import ReplayOptions, run

    if bool(files) == topics:
        raise typer.BadParameter("name files, or --topics")
    if not topics and (since or until or publish):
        raise typer.BadParameter("--from, --to and --publish go with --topics")
    require_distinct_paths(out, [*(files or []), *filter(None, [baseline, rollout])])
    if rollout is None and (begin is not None or as_json):
        raise typer.BadParameter("--since and --json go with --rollout")
    past = None if rollout is None else read(rollout, millis(begin))
    options = ReplayOptions(files or [], baseline, out, *time_range(since, until), publish, html, past, as_json)
    raise typer.Exit(run(load(config), options, Screen(), Screen(stderr=True)))
