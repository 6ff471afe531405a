"""The end of an alert's reason: the command that shows more. Readers that show the alert's id leave it out."""

from __future__ import annotations

import re

_MORE = ". To see more: stream-monitor "
_COMMAND = re.compile(r"alerts explain [0-9a-f]+|check|metrics tail --model .*", re.DOTALL)


def with_command(reason: str, command: str) -> str:
    """A reason with the command, without `stream-monitor`, that shows more of the alert."""
    return f"{reason}{_MORE}{command}"


def without_command(reason: str) -> str:
    """A reason without the command at its end. The same words in the name of a feature or category stay."""
    text, found, command = reason.rpartition(_MORE)
    return text if found and _COMMAND.fullmatch(command) else reason
