from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_monitor.kafka.local import cache_folder
from tests.deploy.podman import EngineMissing, Podman

SOURCE = Path(__file__).parents[2]
TAG = "localhost/stream-monitor:test"


@pytest.fixture(scope="session")
def podman() -> Podman:
    """An engine with a base image. Without one: a loud skip, or a failure where CI is set."""
    try:
        engine = Podman(cache_folder().parent / "containers")
        engine.base()
    except EngineMissing as error:
        if os.environ.get("CI", "").lower() not in ("", "0", "false"):
            raise
        pytest.skip(f"NO CONTAINER ENGINE, so the image is not tested: {error}")
    return engine


@pytest.fixture(scope="session")
def image(podman: Podman) -> Iterator[str]:
    """The image of this checkout."""
    started = time.monotonic()
    podman.build(SOURCE, TAG)
    print(f"\nbuilt in {time.monotonic() - started:.0f} s")
    yield TAG
    podman.start("image", "prune", "--force")
