"""What a terminal would show."""

from __future__ import annotations

import io
from collections.abc import Iterable

from rich.console import Console, RenderableType


def shown(parts: Iterable[RenderableType], width: int = 100) -> str:
    """The text of these, below each other on a screen of so many columns."""
    out = io.StringIO()
    screen = Console(file=out, width=width)
    for part in parts:
        screen.print(part, highlight=False)
    return out.getvalue()
