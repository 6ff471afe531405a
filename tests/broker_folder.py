"""Where the brokers of the suite keep their data: in memory, if there is room.

A broker makes a folder with synced files for each of the thousands of partitions of the suite's apps. On a disk that
takes more processor time than all that the broker does for the tests.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MEMORY = Path("/dev/shm")
LEAST_BYTES = 4_000_000_000
PREFIX = "stream-monitor-tests-"


@contextmanager
def broker_folder() -> Iterator[Path]:
    """A folder that is removed at the end."""
    fits = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= LEAST_BYTES
    if fits:
        _remove_orphans()
    prefix = f"{PREFIX}{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=MEMORY if fits else None) as folder:
        yield Path(folder)


def _remove_orphans() -> None:
    """Remove the folders of processes that were killed."""
    for folder in MEMORY.glob(f"{PREFIX}*"):
        if not Path("/proc", folder.name.removeprefix(PREFIX).split("-")[0]).exists():
            shutil.rmtree(folder, ignore_errors=True)  # another process of the suite may remove it, too
