"""Log lines as JSON, with whatever a call gives as `extra` (topic, partition, offset, role …)."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import orjson

from stream_monitor.terminal.texts import safe_json

_OWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}


class JsonFormatter(logging.Formatter):
    """One JSON object a line; for a terminal, without what in a stranger's text would steer it."""

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


def configure(role: str, worker: int) -> None:
    """Send all logs of this process to stderr as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(role, worker, sys.stderr.isatty()))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
