"""Debian packages that tests need: installed where we may, one installation at a time."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path


def in_ci() -> bool:
    """Whether what is missing is a failure."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def installable() -> bool:
    """Whether this user may install packages here."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(*names: str) -> str | None:
    """Install packages; returns why it failed, or None. Tests run in several processes: the others wait."""
    if not installable():
        return f"only root on a Debian can install {' '.join(names)}"
    steps = "apt-get -qq update && apt-get -qq install -y --no-install-recommends "
    with (Path(tempfile.gettempdir()) / "stream-monitor-packages.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(
            ["sh", "-c", steps + " ".join(names)], capture_output=True, text=True, timeout=900, check=False,
            env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
        )  # fmt: skip
    return (done.stderr or done.stdout)[-2_000:] if done.returncode else None
