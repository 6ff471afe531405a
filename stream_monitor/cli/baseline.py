"""`stream-monitor baseline …`, as the command line shows it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from stream_monitor.cli.options import Config, millis, output_option, require_distinct_paths, time_option, time_range
from stream_monitor.config.settings import load
from stream_monitor.terminal import Screen

app = typer.Typer(no_args_is_help=True, help="Make, pin, reset, list and show baselines: what counts as normal.")


@app.command("build")
def build(
    source: Annotated[
        list[Path] | None,
        typer.Option("--from", exists=True, dir_okay=False, help="NDJSON, CSV or Parquet; several are read in turn."),
    ] = None,
    topics: Annotated[bool, typer.Option("--topics", help="Read the app's input topics, no files.")] = False,
    since: Annotated[
        datetime | None,
        time_option("With --topics: records that Kafka got at or after this: 2026-11-01 (UTC), or 7d: so long ago."),
    ] = None,
    until: Annotated[datetime | None, time_option("With --topics: records that Kafka got before this, UTC.")] = None,
    config: Config = None,
    out: Annotated[Path | None, output_option("Write the baseline to this file instead of pinning it.")] = None,
    name: Annotated[
        str | None, typer.Option(help="How metrics call it; default: `pinned-` and the name of the file or the app.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The model of CSV and Parquet rows without a column `model`.")
    ] = None,
    version: Annotated[str | None, typer.Option(help="Pin it for this version only; default: for all.")] = None,
    text: Annotated[
        list[str] | None, typer.Option(help="A CSV column of numbers that are names, such as a zip code.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows that are read of each file, or of all topics.")] = 1_000_000,
) -> None:
    """Make a baseline of a file of events or of the topics, and pin it: from now on the stream is compared with it.

    CSV and Parquet: a row is a prediction. Columns `id`, `model`, `version`, `ts`, `prediction`, `probabilities`,
    `latency_ms`, `label` and `tags.…` are what they say, every other one is a feature.

    Examples: `stream-monitor baseline build --from training.parquet --model fraud`;
    `stream-monitor baseline build --from june.ndjson --out june.json`, then `baseline show june.json`,
    `baseline pin june.json` or `replay july.ndjson --baseline june.json`;
    `stream-monitor baseline build --topics --since 2026-06-01 --until 2026-07-01`.

    Exits with 3 when no event could be used, and says why.
    """
    from stream_monitor.commands.baseline import Source, write_baselines

    if bool(source) == topics:
        raise typer.BadParameter("name files with --from, or --topics")
    if not topics and (since or until):
        raise typer.BadParameter("--since and --until go with --topics")
    require_distinct_paths(out, source or [])
    rows = Source(source or [], out, name, (model, version), text or [], limit, time_range(since, until))
    write_baselines(load(config), rows, Screen(stderr=True))


@app.command("pin")
def pin(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="What `baseline build --out` wrote.")],
    config: Config = None,
) -> None:
    """Put the baselines of a file in force, from the first slice of time that is not closed yet."""
    from stream_monitor.baselines.pinned import read_file
    from stream_monitor.commands.baseline import pin

    settings = load(config)
    pin(settings, read_file(file, settings.embeddings), Screen(stderr=True))


@app.command("reset")
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


@app.command("list")
def list_active(config: Config = None) -> None:
    """List the baselines in force: model, version, segment, how many measures, kind, and since when."""
    from stream_monitor.commands.baseline import list_baselines

    raise typer.Exit(list_baselines(load(config), Screen()))


@app.command("show")
def show(
    file: Annotated[
        Path | None,
        typer.Argument(exists=True, dir_okay=False, help="What `baseline build --out` wrote; default: those in force."),
    ] = None,
    config: Config = None,
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    measure: Annotated[str | None, typer.Option(help="Only this measure.")] = None,
) -> None:
    """Show baselines: those in force in the app, or those of a file."""
    from stream_monitor.commands.baseline import show

    raise typer.Exit(show(load(config), file, (model, measure), Screen()))
