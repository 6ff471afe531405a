"""Prometheus, its alertmanager and promtool: those that are here, or Debian's packages in CI."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from tests import packages
from tests.patience import until

PACKAGES = ("prometheus", "prometheus-alertmanager")


def program(*names: str) -> str:
    """The path of a program, by any of its names. Without it: a loud skip, or a failure where CI is set."""
    if (path := next(filter(None, map(shutil.which, names)), None)) is not None:
        return path
    missing = f"NO {names[0].upper()}, so what it would refuse is not tested: `make prometheus` brings it"
    if not packages.in_ci():
        pytest.skip(missing)
    failure = packages.install(*PACKAGES)
    assert failure is None, f"{missing}; {failure}"
    return program(*names)


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The outcome of a command of promtool."""
    return subprocess.run([program("promtool"), *arguments], capture_output=True, text=True, check=False)


@contextmanager
def serving(command: Sequence[str], url: str, log: Path) -> Iterator[str]:
    """A server of this command, once its address is ready."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)

    def ready() -> bool:
        assert process.poll() is None, log.read_text()[-3_000:]
        try:
            with urlopen(f"{url}/-/ready", timeout=5) as response:
                return bool(response.status == 200)
        except URLError:
            return False

    try:
        until(ready, url)
        yield url
    finally:
        process.terminate()
        process.wait(60)


def query(url: str, expression: str) -> list[Any]:
    """The series of an instant query."""
    with urlopen(f"{url}/api/v1/query?{urlencode({'query': expression})}", timeout=10) as response:
        found: list[Any] = json.load(response)["data"]["result"]
    return found


if __name__ == "__main__":
    print(packages.install(*PACKAGES) or "installed")
