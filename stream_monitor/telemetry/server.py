"""/metrics, /healthz and /readyz of one worker."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from stream_monitor.settings import HttpSettings
from stream_monitor.telemetry.metrics import Running


def serve(settings: HttpSettings, offset: int, loop: Running) -> ThreadingHTTPServer:
    """Serve in a thread at port + `offset`, for workers share a machine; port 0 takes any free one."""
    port = settings.port + offset if settings.port else 0
    server = ThreadingHTTPServer((settings.host, port), _handler(loop))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    return server


def _handler(loop: Running) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(200, generate_latest(), CONTENT_TYPE_LATEST)
            elif self.path == "/healthz":
                self._answer(200, b"ok\n", "text/plain")
            elif self.path == "/readyz":
                self._answer(
                    200 if loop.ready else 503, b"ready\n" if loop.ready else b"no partitions yet\n", "text/plain"
                )
            else:
                self._answer(404, b"/metrics, /healthz, /readyz\n", "text/plain")

        def _answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Scrapes are not worth a line."""

    return Handler
