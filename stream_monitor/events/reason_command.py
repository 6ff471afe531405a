"""The end of an alert's reason: the command that shows more. Readers that show the alert's id leave it out."""

from __future__ import annotations

_MORE = ". To see more: stream-monitor alerts explain "


def with_command(reason: str, alert_id: str) -> str:
    """A reason with the command that shows more of the alert."""
    return f"{reason}{_MORE}{alert_id[:8]}"


def without_command(reason: str) -> str:
    """A reason without the command at its end."""
    return reason.partition(_MORE)[0]
