"""What is shown, before it is drawn: lines of pieces, and tables of cells. Nothing here is markup."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple


class Piece(NamedTuple):
    """A text in a style."""

    text: str
    style: str


Cell = str | Piece


def bold(text: object) -> Piece:
    """What matters most."""
    return Piece(str(text), "bold")


def dim(text: object) -> Piece:
    """What few look for."""
    return Piece(str(text), "dim")


def coloured(text: object, colour: str) -> Piece:
    """In a colour, or a style."""
    return Piece(str(text), colour)


class Line:
    """Pieces beside each other."""

    def __init__(self, *pieces: Cell) -> None:
        self.pieces = pieces


class Column(NamedTuple):
    """A name is never broken, a figure is never cut and stands to the right, prose wraps between words."""

    heading: str
    kind: Literal["name", "figure", "prose"] = "name"


@dataclass
class Table:
    """Rows of cells; at most one column is prose."""

    columns: list[Column]
    title: str = ""
    caption: list[str] = field(default_factory=list)
    """Lines below."""
    rows: list[tuple[tuple[Cell, ...], str] | None] = field(default_factory=list)
    """Cells and the style of a row; None is a line across."""

    def row(self, *cells: Cell, style: str = "") -> None:
        """One row more."""
        if len(cells) != len(self.columns):
            raise ValueError(f"{len(cells)} cells for {len(self.columns)} columns")
        self.rows.append((cells, style))

    def rule(self) -> None:
        """A line across."""
        self.rows.append(None)
