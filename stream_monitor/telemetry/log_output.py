"""Log lines: JSON for programs, text for people. JSON has the fields of a call's `extra` (topic, partition, role …).

Both formats escape untrusted texts wherever a terminal displays them.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

import orjson

from stream_monitor.config.http import LogSettings
from stream_monitor.terminal import Piece, Screen, dim
from stream_monitor.terminal.texts import safe_json

_OWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}
_STYLES = {logging.WARNING: "yellow", logging.ERROR: "red", logging.CRITICAL: "red"}


class JsonFormatter(logging.Formatter):
    """One JSON object a line; for a terminal, without characters of untrusted texts that would control it."""

    def __init__(self, role: str, worker: int, terminal: bool = False) -> None:
        super().__init__()
        self._role, self._worker, self._terminal = role, worker, terminal

    def format(self, record: logging.LogRecord) -> str:
        """Render a record."""
        line = {
            "ts": int(record.created * 1000),
            "level": record.levelname.lower(),
            "role": self._role,
            "worker": self._worker,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {key: value for key, value in record.__dict__.items() if key not in _OWN}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return safe_json(_dumped(line)) if self._terminal else _dumped(line)


def _dumped(line: dict[str, Any]) -> str:
    try:
        return orjson.dumps(line, default=str).decode()
    except orjson.JSONEncodeError:  # half a character, or a number beyond 64 bits
        return json.dumps(line, default=str)


class TextHandler(logging.Handler):
    """Lines for a person: the time (UTC), the source, and the message."""

    def __init__(self, speaker: str) -> None:
        super().__init__()
        self._speaker = speaker

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; each line of its text is a line of its own."""
        screen = Screen(stderr=True)  # the stream that stderr is now
        try:
            message = record.getMessage()
            if record.exc_info:
                message += "\n" + logging.Formatter().formatException(record.exc_info)
            level = (
                [Piece(f"{record.levelname.lower()}: ", _STYLES[record.levelno])] if record.levelno in _STYLES else []
            )
            at = time.strftime("%H:%M:%S", time.gmtime(record.created))
            first, *more = message.split("\n")
            screen.line(dim(f"{at}Z {self._speaker:<10} "), *level, first)
            for line in more:
                screen.line(f"  {line}")
        except Exception:  # a log line must not end the work: `logging` prints the error to stderr
            self.handleError(record)


def configure(settings: LogSettings, role: str, worker: int) -> None:
    """Send all logs of this process to stderr, in the format of the settings."""
    terminal = sys.stderr.isatty()
    handler: logging.Handler
    if settings.format == "text" or (settings.format == "auto" and terminal):
        handler = TextHandler(role if role == COMMAND else f"{role}-{worker}")
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonFormatter(role, worker, terminal))
    _install(handler, logging.INFO)


def configure_command() -> None:
    """Print warnings of a command that a person runs, as text; on a terminal also the reason for a long pause."""
    _install(TextHandler(COMMAND), logging.WARNING)
    if sys.stderr.isatty():
        logging.getLogger("stream_monitor.kernels.numba_backend").setLevel(logging.INFO)


def _install(handler: logging.Handler, level: int) -> None:
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)


COMMAND = "command"
"""The source of lines that no worker logs: the process that a person, or a supervisor, has started."""
