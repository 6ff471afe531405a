"""The one door of texts on their way to a person: whoever may send an event chooses names, and must not choose more.

`texts` makes a stranger's text harmless, `screen` is the only place that knows rich, and nothing else prints.
"""

from stream_monitor.terminal.screen import Bar, Screen, finish, prepare
from stream_monitor.terminal.tables import Cell, Column, Line, Piece, Table, bold, coloured, dim
from stream_monitor.terminal.texts import MOST_OF_NAME, visible

__all__ = [
    "MOST_OF_NAME",
    "Bar",
    "Cell",
    "Column",
    "Line",
    "Piece",
    "Screen",
    "Table",
    "bold",
    "coloured",
    "dim",
    "finish",
    "prepare",
    "visible",
]
