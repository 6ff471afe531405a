"""`stream-monitor dashboard`: the reader and the server in one process."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from stream_monitor.config.settings import Settings
from stream_monitor.dashboard.reader import Reader
from stream_monitor.dashboard.store import Store
from stream_monitor.errors import SettingsError
from stream_monitor.telemetry import http_server, ports


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
        ready(ports.address(settings.http, listener))
        uvicorn.Server(config).run([listener])


def _path(settings: Settings, stack: ExitStack) -> Path:
    """The store's file."""
    if settings.dashboard.path is not None:
        path = Path(settings.dashboard.path).expanduser()
        path.parent.mkdir(parents=True, exist_ok=True)
        return path
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="stream-monitor-page-"))
    return Path(folder) / "page.sqlite"
