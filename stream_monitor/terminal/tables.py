"""Lines of pieces and tables of cells, before they are drawn. They contain no markup."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple


class Piece(NamedTuple):
    """A text with a style."""

    text: str
    style: str


Cell = str | Piece


def bold(text: object) -> Piece:
    """A text of most importance."""
    return Piece(str(text), "bold")


def dim(text: object) -> Piece:
    """A text of little importance."""
    return Piece(str(text), "dim")


def coloured(text: object, colour: str) -> Piece:
    """A text in a colour, or a style."""
    return Piece(str(text), colour)


class Line:
    """Pieces side by side."""

    def __init__(self, *pieces: Cell) -> None:
        self.pieces = pieces


class Column(NamedTuple):
    """A column. A name is never broken. A figure is never cut, and is right-aligned. Prose wraps between words."""

    heading: str
    kind: Literal["name", "figure", "prose"] = "name"


@dataclass
class Table:
    """Rows of cells. At most one column is prose."""

    columns: list[Column]
    title: str = ""
    caption: list[str] = field(default_factory=list)
    """Lines below the table."""
    rows: list[tuple[tuple[Cell, ...], str] | None] = field(default_factory=list)
    """The cells and the style of a row; None is a horizontal line."""

    def row(self, *cells: Cell, style: str = "") -> None:
        """Add a row."""
        if len(cells) != len(self.columns):
            raise ValueError(f"{len(cells)} cells for {len(self.columns)} columns")
        self.rows.append((cells, style))

    def rule(self) -> None:
        """Add a horizontal line."""
        self.rows.append(None)
