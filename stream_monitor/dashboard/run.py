"""`stream-monitor dashboard`: the reader and the server in one process."""

from __future__ import annotations

import signal
import socket
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from stream_monitor.config.settings import Settings
from stream_monitor.dashboard.reader import Reader
from stream_monitor.dashboard.store import Store
from stream_monitor.errors import SettingsError
from stream_monitor.telemetry import http_server, ports

if TYPE_CHECKING:
    import uvicorn


def listener_of(settings: Settings) -> socket.socket:
    """The page's socket, bound. SettingsError where the port is taken, or the page would be open to everybody."""
    if wrong := http_server.open_problems(settings.http, settings.dashboard.host, "dashboard.host"):
        raise SettingsError("\n".join(wrong))
    named = "port" in settings.dashboard.model_fields_set
    return ports.listen_at(settings.dashboard.host, settings.dashboard.port, named, "dashboard.port")


def serve(settings: Settings, listener: socket.socket, ready: Callable[[str], None] = lambda url: None) -> None:
    """Serve until SIGTERM or SIGINT; calls `ready` with the page's address."""
    try:
        import uvicorn

        from stream_monitor.dashboard.server import make_app
    except ImportError as error:
        raise SettingsError(
            f"the page needs a package more: pip install 'stream-monitor[dashboard]' ({error})"
        ) from None
    with ExitStack() as stack:
        store = Store(_path(settings, stack), settings.dashboard.disk, settings.app)
        stack.callback(store.close)
        reader = Reader(settings, store)
        reader.start()
        stack.callback(reader.close)
        config = uvicorn.Config(
            make_app(settings, store, reader), log_config=None, log_level="warning", access_log=False,
            server_header=False, lifespan="off", timeout_graceful_shutdown=1, limit_concurrency=1_000,
            ssl_certfile=settings.http.tls_certificate, ssl_keyfile=settings.http.tls_key, proxy_headers=False,
        )  # fmt: skip
        server = uvicorn.Server(config)
        _stop_on_signals(server)
        ready(ports.address(settings.http, listener))
        server.run([listener])


def _stop_on_signals(server: uvicorn.Server) -> None:
    """SIGTERM and SIGINT end the server, and nothing more: it raises them again, and then the store is closed."""

    def stop(number: int, frame: FrameType | None) -> None:
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


def _path(settings: Settings, stack: ExitStack) -> Path:
    """The store's file."""
    if settings.dashboard.path is not None:
        path = Path(settings.dashboard.path).expanduser()
        path.parent.mkdir(parents=True, exist_ok=True)
        return path
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="stream-monitor-page-"))
    return Path(folder) / "page.sqlite"
