"""The only way of texts to a person. Whoever may send an event chooses names, and must not control the terminal.

`texts` makes untrusted text harmless. `screen` is the only module that imports rich. No other module prints.
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
