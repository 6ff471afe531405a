"""Options that several commands share."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

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


def millis(moment: datetime | None) -> int | None:
    """A time of the command line, UTC where it names no zone, in epoch ms."""
    return None if moment is None else int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() * 1000)
