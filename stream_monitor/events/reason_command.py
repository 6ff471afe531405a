"""Parts of an alert's reason that some readers leave out: the command at its end, and what labels have answered."""

from __future__ import annotations

import re

LABELS_AWAITED = "the labels of that time will tell whether errors follow"
"""A sentence of a reason that is over once the labels have come."""
_MORE = ". To see more: stream-monitor "
_COMMAND = re.compile(r"alerts explain [0-9a-f]+|check|metrics tail --model .*", re.DOTALL)


def with_command(reason: str, command: str) -> str:
    """A reason with the command, without `stream-monitor`, that shows more of the alert."""
    return f"{reason}{_MORE}{command}"


def without_command(reason: str) -> str:
    """A reason without the command at its end. The same words in the name of a feature or category stay."""
    text, found, command = reason.rpartition(_MORE)
    return text if found and _COMMAND.fullmatch(command) else reason
