from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from stream_monitor.config.settings import Settings
from stream_monitor.dashboard.reader import Reader
from stream_monitor.dashboard.server import make_app
from stream_monitor.dashboard.store import Store
from tests import browsers, packages
from tests.dashboard import stories
from tests.dashboard.visits import Visit, visiting
from tests.patience import until

DISK = 1_000_000_000


def filled(path: Path) -> Store:
    """A store with all records of the story."""
    store, records = Store(path, DISK, stories.APP), stories.records()
    positions = {(r.role, r.number): r.offset + 1 for r in records}
    store.apply(records, positions)
    return store


@contextmanager
def serving(
    settings: Settings,
    store: Store,
    wrap: Any = lambda app: app,
    reader: Reader | None = None,
    now: int = stories.ARRIVED,
) -> Iterator[str]:
    """The page on a port of its own, at the time `now`; its reader is not started. Yields the address."""
    listener = socket.create_server(("127.0.0.1", 0))
    app = wrap(make_app(settings, store, reader or Reader(settings, store), lambda: now))
    config = uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    made = filled(tmp_path_factory.mktemp("page") / "page.sqlite")
    yield made
    made.close()


@pytest.fixture(scope="session")
def site(store: Store) -> Iterator[str]:
    with serving(stories.settings(), store) as url:
        yield url


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A real browser. Without one: a loud skip, or a failure where CI is set."""
    from playwright.sync_api import sync_playwright

    path = browsers.found()
    if path is None:
        if not packages.in_ci():
            pytest.skip("NO BROWSER, so nothing about the page is tested: `make browser` brings one")
        path = browsers.install()
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=list(browsers.ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any) -> Iterator[Visit]:
    with visiting(chromium) as found:
        yield found
        assert not found.foreign
