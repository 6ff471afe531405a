"""What a terminal would show."""

from __future__ import annotations

import io
from collections.abc import Iterable

from stream_monitor.terminal import Line, Screen, Table


def shown(parts: Iterable[Line | Table], width: int = 100) -> str:
    """The text of these, below each other on a screen of so many columns."""
    out = io.StringIO()
    screen = Screen(file=out, width=width)
    for part in parts:
        screen.draw(part)
    return out.getvalue()
