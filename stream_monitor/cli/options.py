"""Options that several commands share."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from stream_monitor.config.durations import ms

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="Settings file (YAML). Without one the defaults are used; STREAM_MONITOR__* overrides both.",
    ),
]
Follow = Annotated[bool, typer.Option("--follow/--no-follow", "-f", help="Wait for more, or end at the topic's end.")]
AsJson = Annotated[bool, typer.Option("--json", help="The records as they are, one a line.")]


Model = Annotated[str | None, typer.Option(help="Only this model.")]
Last = Annotated[int | None, typer.Option(min=1, help="Of what is there only so many, the latest; then what comes.")]


def moment(text: str) -> datetime:
    """A time of the command line: a date, a date and time, UTC where it names no zone, or how long ago."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        pass
    try:
        return datetime.fromtimestamp(time.time() - ms(text) / 1000, UTC)
    except (ValueError, OverflowError, OSError):  # no duration, or one that no calendar has
        hint = "is no time; write 2026-11-01, 2026-11-01T06:00:00, or 1h for an hour ago"
        raise typer.BadParameter(f"{text!r} {hint}") from None


def time_option(help: str, *names: str) -> Any:
    """The option of a time."""
    return typer.Option(*names, help=help, parser=moment, metavar="TIME")


Since = Annotated[
    datetime | None,
    time_option(
        "Only what is of this event time or later: 2026-11-01, 2026-11-01T06:00:00 (UTC), or 1h for the last hour."
    ),
]


def _require_place(path: Path | None) -> Path | None:
    """What cannot be written is told before the work, not after it."""
    if path is not None and path.is_dir():
        raise typer.BadParameter(f"{path} is a directory")
    if path is not None and not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
        raise typer.BadParameter(f"there is no directory for {path}, or it is not ours to write")
    return path


def output_option(help: str, *names: str) -> Any:
    """The option of a file that a command writes."""
    return typer.Option(*names, help=help, callback=_require_place)


RolloutFile = Annotated[
    Path | None,
    typer.Option(
        "--rollout", exists=True, dir_okay=False, help="Judge the rollout of this file over the past; docs/rollouts.md."
    ),
]


def require_distinct_paths(out: Path | None, read: Iterable[Path]) -> None:
    """BadParameter when what is written would take the place of what is read."""
    if out is not None and any(out.exists() and out.samefile(file) for file in read):
        raise typer.BadParameter(f"would write over {out}, which is to be read")


def millis(moment: datetime | None) -> int | None:
    """A time of the command line, UTC where it names no zone, in epoch ms; BadParameter before 1970."""
    if moment is None:
        return None
    since_epoch = int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() * 1000)
    if since_epoch < 0:  # to Kafka, -1 and its like are words: the end, the beginning
        raise typer.BadParameter(f"{moment} is before 1970, where Kafka has no records")
    return since_epoch


def time_range(since: datetime | None, until: datetime | None) -> tuple[int | None, int | None]:
    """Both in epoch ms; BadParameter where the end is not after the beginning."""
    first, last = millis(since), millis(until)
    if first is not None and last is not None and last <= first:
        raise typer.BadParameter(f"the time ends ({until}) before it begins ({since})")
    return first, last
