"""Log lines as JSON, with whatever a call gives as `extra` (topic, partition, offset, role …)."""

from __future__ import annotations

import logging
import sys

import orjson

_OWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, role: str, worker: int) -> None:
        super().__init__()
        self._role, self._worker = role, worker

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
        return orjson.dumps(line, default=str).decode()


def configure(role: str, worker: int) -> None:
    """Send all logs of this process to stderr as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(role, worker))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
