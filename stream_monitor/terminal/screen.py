"""Output for a person, to standard output or error, through rich. No other module imports rich."""

from __future__ import annotations

import io
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import IO, Literal, NoReturn

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table as RichTable
from rich.text import Text

from stream_monitor.terminal.tables import Cell, Line, Piece, Table
from stream_monitor.terminal.texts import FALLBACK, MOST, MOST_OF_NAME, encodable, safe_json, visible

READER_GONE = 141
"""The exit code of a command that a closed pipe ends, such as `head`'s: 128 plus the number of SIGPIPE."""
MOST_OF_ERROR = 4_000
Unit = Literal["bytes", "items", "share", "time"]


def prepare() -> None:
    """Prepare a command: characters that the output cannot write do not end it, and NO_COLOR removes all styles.

    A traceback may contain untrusted text, so it is escaped, too.
    """
    sys.excepthook = _tell
    _show_warnings()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=FALLBACK)
    if _plain():
        from typer import rich_utils

        rich_utils.COLOR_SYSTEM = None


class _Warnings(logging.Handler):
    """Prints the log records of a command as lines. Control characters in names are displayed, not executed."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(f"{visible(record.getMessage(), MOST_OF_ERROR)}\n")


def _show_warnings() -> None:
    """Print warnings; on a terminal also that numba compiles, which takes a while. Workers have a log instead."""
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(_Warnings(logging.INFO if sys.stderr.isatty() else logging.WARNING))
        logging.getLogger("stream_monitor.kernels.numba_backend").setLevel(logging.INFO)


def _tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    lines = "".join(traceback.format_exception(kind, error, trace)).rstrip("\n").split("\n")
    sys.stderr.write("".join(visible(line, MOST_OF_ERROR) + "\n" for line in lines))


def _plain() -> bool:
    return bool(os.environ.get("NO_COLOR"))


def end_quietly() -> NoReturn:
    """End without output, also at the interpreter's exit: the reader of our output has gone."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(nowhere, stream.fileno())
    sys.exit(READER_GONE)


def finish() -> None:
    """Flush the output at the end of a command, or find that the reader has gone."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        end_quietly()


class _Console(Console):
    """Ends on a closed pipe as other programs do."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        end_quietly()


class Screen:
    """Standard output, or its replacement. Every text counts as untrusted until this class has escaped it."""

    def __init__(self, stderr: bool = False, file: IO[str] | None = None, width: int | None = None) -> None:
        self._file = file or (sys.stderr if stderr else sys.stdout)  # a bar replaces both
        self._console = self._of_width(width)

    def _of_width(self, width: int | None) -> Console:
        colours: Literal["auto"] | None = None if _plain() else "auto"
        return _Console(file=self._file, width=width, highlight=False, markup=False, emoji=False, color_system=colours)

    @property
    def is_terminal(self) -> bool:
        """Whether a person reads the output, as far as the program can know."""
        return self._console.is_terminal

    def line(self, *pieces: Cell) -> None:
        """Print pieces on one line, whatever its length."""
        self._console.print(self._text(pieces), soft_wrap=True)

    def prose(self, *pieces: Cell) -> None:
        """Print sentences; on a terminal they wrap between words."""
        self._wrapped(self._text(pieces))

    def error(self, why: object) -> None:
        """Print why a command ends. Later lines are indented, so that no text can imitate another message."""
        first, *more = str(why)[:MOST_OF_ERROR].split("\n")
        self._wrapped(self._text((Piece("error:", "red"), f" {first}"), MOST_OF_ERROR))
        for text in more:
            self._wrapped(self._text((text if text.startswith("  ") else f"  {text}",), MOST_OF_ERROR))

    def problem(self, what: str) -> None:
        """Print one problem."""
        self.prose(Piece("✗", "red"), f" {what}")

    def note(self, what: str) -> None:
        """Print a remark that is no problem."""
        self.prose(Piece("!", "yellow"), f" {what}")

    def fine(self, what: str) -> None:
        """Print that all is well."""
        self.prose(Piece("✓", "green"), f" {what}")

    def draw(self, part: Line | Table) -> None:
        """Print a line or a table."""
        if isinstance(part, Table):
            self.table(part)
        else:
            self.line(*part.pieces)

    def clear(self) -> None:
        """Clear a terminal, and begin at its top."""
        self._console.clear()

    def data(self, text: bytes | str, flush: bool = False) -> None:
        """Print JSON or YAML, which programs read too: unchanged, but for a terminal without what would control it."""
        file, raw = self._file, text.encode() if isinstance(text, str) else text
        try:
            if not self.is_terminal and (into := getattr(file, "buffer", None)) is not None:
                file.flush()
                into.write(raw + b"\n")
            else:
                file.write(safe_json(raw.decode(errors="backslashreplace"), self._console.encoding) + "\n")
            if flush:
                file.flush()
        except BrokenPipeError:
            end_quietly()

    def table(self, table: Table) -> None:
        """Print a table. On a terminal too narrow for its names and figures, each row becomes lines of its own."""
        console, needed = self._console, self._width(table)
        if needed <= console.width:
            console.print(self._drawn(table))
        elif self.is_terminal:
            self._rows(table)
        else:
            self._of_width(needed).print(self._drawn(table))
        for paragraph in table.caption:
            self.prose(paragraph)

    def _width(self, table: Table) -> int:
        """The width in characters that a table needs so that no name is broken and no figure is cut."""
        wide = 0
        for at, (heading, kind) in enumerate(table.columns):
            texts = [self._cell(cell).plain for cell in (heading, *(row[0][at] for row in table.rows if row))]
            parts = texts if kind != "prose" else [word for text in texts for word in text.split()]
            wide += max(map(cell_len, parts), default=0) + 2
        return wide

    def _drawn(self, table: Table) -> RichTable:
        title = self._cell(Piece(table.title, "bold")) if table.title else None
        drawn = RichTable(title=title, title_justify="left", box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
        for heading, kind in table.columns:
            justify: Literal["left", "right"] = "right" if kind == "figure" else "left"
            drawn.add_column(self._cell(heading), justify=justify, no_wrap=kind != "prose", overflow="fold")
        for row in table.rows:
            if row is None:
                drawn.add_section()
            else:
                drawn.add_row(*map(self._cell, row[0]), style=row[1])
        return drawn

    def _rows(self, table: Table) -> None:
        if table.title:
            self.prose(Piece(table.title, "bold"))
        wide = max(len(column.heading) for column in table.columns)
        for row in filter(None, table.rows):
            for column, cell in zip(table.columns, row[0], strict=True):
                text = cell.text if isinstance(cell, Piece) else cell
                if text:
                    style = row[1] or (cell.style if isinstance(cell, Piece) else "")
                    self.line(Piece(f"{column.heading:<{wide}}", "dim"), "  ", Piece(text, style))
            self.line()

    def _wrapped(self, text: Text) -> None:
        if self.is_terminal:
            self._console.print(text, overflow="ignore", crop=False)
        else:
            self._console.print(text, soft_wrap=True)

    def _text(self, pieces: tuple[Cell, ...], most: int = MOST) -> Text:
        text = Text()
        for piece in pieces:
            content, style = piece if isinstance(piece, Piece) else (piece, "")
            text.append(self._clean(content, most), style)
        return text

    def _cell(self, cell: Cell) -> Text:
        content, style = cell if isinstance(cell, Piece) else (cell, "")
        return Text(self._clean(content, MOST_OF_NAME), style)

    def _clean(self, text: str, most: int) -> str:
        return encodable(visible(text, most), self._console.encoding)

    @contextmanager
    def progress(self, what: str, total: float | None, unit: Unit = "items", brief: bool = False) -> Iterator[Bar]:
        """A bar while work runs, in bytes, items, as a share or by the clock. A brief bar is removed at its end."""
        columns: dict[Unit, tuple[ProgressColumn, ...]] = {
            "bytes": (DownloadColumn(), TimeRemainingColumn()),
            "items": (MofNCompleteColumn(), TimeRemainingColumn()),
            "share": (TaskProgressColumn(), TimeRemainingColumn(), TimeElapsedColumn()),
            "time": (TextColumn("{task.fields[told]}", markup=False), TimeElapsedColumn()),
        }
        name = TextColumn("{task.description}", markup=False)
        with Progress(name, BarColumn(), *columns[unit], console=self._console, transient=brief) as progress:
            yield Bar(self, progress, progress.add_task(self._clean(what, MOST_OF_NAME), total=total, told=""))


class Bar:
    """The progress of some work."""

    def __init__(self, screen: Screen, progress: Progress, task: TaskID) -> None:
        self._screen, self._progress, self._task = screen, progress, task

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self._progress.tasks[0].elapsed or 0.0

    def advance(self, by: float) -> None:
        """Add to the work that is done."""
        self._progress.advance(self._task, by)

    def update(self, done: float, total: float | None = None, what: str | None = None, told: str | None = None) -> None:
        """Set the work that is done and its total, the current item, and a remark."""
        clean = self._screen._clean
        self._progress.update(
            self._task,
            completed=done,
            total=total,
            description=None if what is None else clean(what, MOST_OF_NAME),
        )
        if told is not None:
            self._progress.update(self._task, told=clean(told, MOST_OF_NAME))

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Hide the bar meanwhile."""
        self._progress.stop()
        try:
            yield
        finally:
            self._progress.start()
