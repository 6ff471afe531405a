"""The end of an alert's reason: the command that shows more. Readers that show the alert's id leave it out."""

from __future__ import annotations

_MORE = ". To see more: stream-monitor "


def with_command(reason: str, command: str) -> str:
    """A reason with the command, without `stream-monitor`, that shows more of the alert."""
    return f"{reason}{_MORE}{command}"


def without_command(reason: str) -> str:
    """A reason without the command at its end."""
    return reason.partition(_MORE)[0]
