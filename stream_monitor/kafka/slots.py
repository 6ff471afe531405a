"""Which worker of this machine we are: the first free slot, held by a lock that dies with the process."""

from __future__ import annotations

import fcntl
import socket
import tempfile
from pathlib import Path
from typing import IO

from stream_monitor.errors import BrokerError
from stream_monitor.settings import Settings

SLOTS = 1_000


def take_slot(settings: Settings, role: str) -> tuple[str, IO[str] | None]:
    """(worker name, lock to keep open); after a crash the same name clears the dead worker's transaction."""
    if settings.kafka.worker_id is not None:
        return settings.kafka.worker_id, None
    folder = Path(tempfile.gettempdir())
    for slot in range(SLOTS):
        file = (folder / f"stream-monitor-{settings.app}-{role}-{slot}.lock").open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            continue
        return f"{socket.gethostname()}-{slot}", file
    raise BrokerError(f"{SLOTS} workers of {settings.app} {role} run on this machine already")
