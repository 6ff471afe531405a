"""A real Chromium for the tests of the page: one that is here, or one that `make browser` brings.

A machine without one skips these tests loudly; in CI (`CI=true`) that is a failure.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests import packages

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-first-run", "--disable-extensions", "--disable-dev-shm-usage",
)  # fmt: skip
"""A page of our own needs no sandbox; the rest keeps the browser from calling home."""


def found() -> str | None:
    """The path of a browser; None if this machine has none."""
    given = os.environ.get("STREAM_MONITOR_TEST_BROWSER")
    paths = [given] if given else [path for name in NAMES if (path := shutil.which(name))]
    return next(iter(paths or _downloaded()), None)


def _downloaded() -> list[str]:
    """Browsers that Playwright has brought."""
    folder = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH", Path.home() / ".cache" / "ms-playwright"))
    return sorted(str(path) for path in folder.glob("chromium-*/chrome-linux*/chrome"))


def install() -> str:
    """Bring a browser: the system's package where we may, else Playwright's own. RuntimeError with what failed."""
    reasons = []
    if packages.installable():
        failure = packages.install("chromium")
        if (path := found()) is not None:
            return path
        reasons.append(f"apt-get: {failure}")
    way = [sys.executable, "-m", "playwright", "install", "--only-shell", "chromium"]
    done = subprocess.run(way, capture_output=True, text=True, timeout=600)
    if (path := found()) is not None:
        return path
    reasons.append(f"{' '.join(way)[:80]}: {(done.stderr or done.stdout)[-300:]}")
    raise RuntimeError("no browser: " + "; ".join(reasons))


if __name__ == "__main__":
    print(found() or install())
