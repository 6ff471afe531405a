"""The slot of this worker on this machine: the first free one, held by a lock that ends with the process.

The locks are in a folder that only this user can write, so that no other user can hold, replace or block them. Two
users of one machine have separate slots: the user's number is a part of the worker's name.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import tempfile
from pathlib import Path
from typing import IO

from stream_monitor.config.settings import Settings
from stream_monitor.errors import BrokerError
from stream_monitor.folders import made_private

SLOTS = 1_000
_INSTEAD = "mend it, or set kafka.worker_id to a name that no other worker has, or TMPDIR to another folder"


def take_slot(settings: Settings, role: str) -> tuple[str, IO[str] | None]:
    """(worker name, lock to keep open). After a crash the next worker of this name clears the old transaction."""
    if settings.kafka.worker_id is not None:
        return settings.kafka.worker_id, None
    folder = locks_folder()
    for slot in range(SLOTS):
        file = _opened(folder / f"{settings.app}-{role}-{slot}.lock")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            continue
        except OSError as error:  # a file system without locks
            file.close()
            raise BrokerError(f"no lock on {file.name}: {error.strerror}; {_INSTEAD}") from error
        return f"{socket.gethostname()}-{os.geteuid()}-{slot}", file
    raise BrokerError(f"{SLOTS} workers of {settings.app} {role} run on this machine already")


def locks_folder() -> Path:
    """The folder of this user's locks; BrokerError when it cannot be created, or other users may write to it."""
    folder = Path(tempfile.gettempdir()) / f"stream-monitor-{os.geteuid()}"
    try:
        return made_private(folder)
    except OSError as error:
        raise BrokerError(f"no folder for the locks of workers: {error}; {_INSTEAD}") from error


def _opened(path: Path) -> IO[str]:
    """A regular file, created where it is missing; BrokerError, without waiting, for a link or another kind of file."""
    try:
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BrokerError(f"{path} is no lock of ours: {error.strerror}; {_INSTEAD}") from error
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise BrokerError(f"{path} is no lock of ours: it is no regular file; {_INSTEAD}")
    return os.fdopen(number, "r+")
