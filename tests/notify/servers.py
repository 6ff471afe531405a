"""A service on this machine that answers as it is told: rightly, late, never, or with lies."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Received(NamedTuple):
    path: str
    headers: Mapping[str, str]
    body: bytes


Behaviour = Callable[["Handler"], None]


class Service(ThreadingHTTPServer):
    """Takes POSTs, keeps them, and answers by its behaviour."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.received: list[Received] = []
        self.behaviour: Behaviour = answer(200)
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has gone is no news."""


class Handler(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.received.append(Received(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        self.server.behaviour(self)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def answer(status: int, body: bytes = b"{}", **headers: str) -> Behaviour:
    def behave(handler: Handler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return behave


def raw(data: bytes) -> Behaviour:
    """Exactly these bytes, and the end of the connection."""

    def behave(handler: Handler) -> None:
        handler.wfile.write(data)
        handler.close_connection = True

    return behave


def hang(handler: Handler) -> None:
    """No answer, until the test is over."""
    handler.server.over.wait()


def drip(handler: Handler) -> None:
    """An answer that never ends, a byte at a time."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while not handler.server.over.wait(0.02):
        handler.wfile.write(b"x")
        handler.wfile.flush()


def close(handler: Handler) -> None:
    """The end of the connection without an answer."""
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


@contextmanager
def service() -> Iterator[Service]:
    found = Service()
    thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield found
    finally:
        found.over.set()
        found.shutdown()
        thread.join()
        found.server_close()
