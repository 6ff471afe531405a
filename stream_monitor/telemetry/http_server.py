"""/metrics, /healthz and /readyz of one worker.

Beyond loopback the server demands a token and TLS, or a setting which states that something else guards the port.
The server always accepts the newest connection. Above the bound it cuts the oldest one, so that no client can hide a
worker from its supervisor by holding connections open.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import socket
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from prometheus_client import CONTENT_TYPE_LATEST

from stream_monitor.config.http import HttpSettings
from stream_monitor.errors import SettingsError
from stream_monitor.telemetry.liveness import Watched
from stream_monitor.telemetry.metrics import exposed

log = logging.getLogger(__name__)

CONNECTIONS = 32
"""The most connections at once."""
IDLE_S = 10.0
"""The server cuts a connection that sends nothing for this long."""
TELL_AGAIN_S = 10.0
MOST_DIGITS = 18
"""The most digits of a number in a request: more than any log has records."""


def problems(settings: HttpSettings) -> list[str]:
    """Problems of the address, port and protection of the endpoints."""
    if not settings.enabled:
        return []
    return open_problems(settings, settings.host, "http.host")


def open_problems(settings: HttpSettings, host: str, setting: str) -> list[str]:
    """Problems of an address that the setting of this name gives: who reaches it, and TLS."""
    found = []
    lacking = [
        name for name, value in (("token", settings.token), ("tls_certificate", settings.tls_certificate)) if not value
    ]
    if lacking and not settings.open and not is_loopback(host):
        missing = " and ".join(f"http.{name}" for name in lacking)
        found.append(
            f"{setting} {host!r} is open to other machines: set {missing}, or `http.open: true` if something "
            "else guards the port (docs/security.md)"
        )
    try:
        _tls(settings)
    except SettingsError as error:
        found.append(str(error))
    return found


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"


def _tls(settings: HttpSettings) -> ssl.SSLContext | None:
    if settings.tls_certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # An encrypted key fails with this password; without one OpenSSL would ask for it on the terminal.
        context.load_cert_chain(settings.tls_certificate, settings.tls_key, password="")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or "is the key encrypted?"
        files = " and ".join(name for name in (settings.tls_certificate, settings.tls_key) if name)
        raise SettingsError(f"http: no TLS with {files}: {reason}") from error
    return context


class Server(ThreadingHTTPServer):
    """One thread for each of the newest connections. Its handshake runs there, too: a slow one delays no other."""

    daemon_threads = True

    def __init__(self, listener: socket.socket, handler: type[BaseHTTPRequestHandler], tls: ssl.SSLContext | None):
        self._tls = tls
        self._open: list[Any] = []
        self._lock = threading.Lock()
        self._told = -TELL_AGAIN_S
        super().__init__(listener.getsockname()[:2], handler, bind_and_activate=False)
        self.socket.close()  # the socket that the base class has created
        self.socket = listener

    def get_request(self) -> tuple[Any, Any]:
        """A connection before its handshake."""
        connection, address = super().get_request()
        connection.settimeout(IDLE_S)
        if self._tls is not None:
            connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        with self._lock:
            self._open.append(connection)
            if len(self._open) > CONNECTIONS:
                self._cut(self._open.pop(0))
        return connection, address

    @staticmethod
    def _cut(connection: Any) -> None:
        """Wake the thread of a connection, which then closes it; bypasses the TLS layer, which that thread owns."""
        try:
            socket.socket.shutdown(connection, socket.SHUT_RDWR)
        except OSError as error:  # the other side closed it first
            log.debug("a connection was gone before it was cut: %s", error)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Complete the handshake, and answer."""
        if self._tls is not None:
            request.do_handshake()
        super().finish_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection, under the lock: its number must not be cut after another connection has taken it."""
        with self._lock:
            if request in self._open:
                self._open.remove(request)
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log a line, not a traceback, and not one for each: scanners and cut connections are common."""
        now = time.monotonic()
        if now - self._told >= TELL_AGAIN_S:
            self._told = now
            log.warning("http: a request of %s failed: %s", client_address[0], sys.exc_info()[1])


def serve(settings: HttpSettings, listener: socket.socket, worker: Watched, role: str) -> Server:
    """Serve in a thread on a listening socket (`ports`); SettingsError when the certificate cannot be loaded."""
    server = Server(listener, _handler(worker, settings, role), _tls(settings))
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    return server


def _admitted(authorization: str, settings: HttpSettings) -> bool:
    """Compare the token in constant time: the duration does not reveal how much of the token is right."""
    if settings.token is None:
        return True
    scheme, _, given = authorization.partition(" ")
    expected = settings.token.get_secret_value().encode()
    return hmac.compare_digest(given.strip().encode("utf-8", "replace"), expected) and scheme.lower() == "bearer"


def liveness(worker: Watched) -> tuple[int, str]:
    """(HTTP status, text) of `/healthz`. 503 asks the supervisor to end the worker."""
    reason = worker.hung()
    return (200, "ok\n") if reason is None else (503, f"{reason}\n")


def readiness(worker: Watched, path: str) -> tuple[int, str]:
    """(HTTP status, text) of `/readyz`. `?max_lag=N` also demands that the worker lags at most N records."""
    most = parse_qs(urlsplit(path).query).get("max_lag", [""])[0]
    if most and not (most.isdecimal() and len(most) <= MOST_DIGITS):
        return 400, f"max_lag is a number of records, of at most {MOST_DIGITS} digits\n"
    reason = worker.hung() or worker.not_ready_reason(int(most) if most else None)
    return (200, "ready\n") if reason is None else (503, f"{reason}\n")


def _handler(worker: Watched, settings: HttpSettings, role: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            match self.path.partition("?")[0]:
                case "/metrics" if not _admitted(self.headers.get("Authorization", ""), settings):
                    self._answer(401, b"a bearer token is needed\n", "text/plain")
                case "/metrics":
                    self._answer(200, exposed(role), CONTENT_TYPE_LATEST)
                case "/healthz":
                    status, body = liveness(worker)
                    self._answer(status, body.encode(), "text/plain")
                case "/readyz":
                    status, body = readiness(worker, self.path)
                    self._answer(status, body.encode(), "text/plain")
                case _:
                    self._answer(404, b"/metrics, /healthz, /readyz\n", "text/plain")

        def _answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            if status == 401:
                self.send_header("WWW-Authenticate", 'Bearer realm="metrics"')
            self.end_headers()
            self.wfile.write(body)

        def version_string(self) -> str:
            """The server's name, without the versions of Python and of its server."""
            return "stream-monitor"

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing: scrapes need no log line."""

    return Handler
