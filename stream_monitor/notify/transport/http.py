"""HTTP by the standard library: it follows no redirect and reads no proxy from the environment by itself."""

from __future__ import annotations

import http.client
import ssl
import time
from typing import NamedTuple
from urllib.parse import urlsplit

from stream_monitor.config.receivers import ReceiverSettings
from stream_monitor.notify.sinks.contract import AGENT, HttpRequest, Response
from stream_monitor.notify.transport.connections import TIMEOUT_S, Deadline, connect

MOST_ANSWER = 65_536
"""Bytes of an answer that are read."""


class Failure(NamedTuple):
    """There is no answer."""

    why: str


def exchange(request: HttpRequest, receiver: ReceiverSettings, seconds: float = TIMEOUT_S) -> Response | Failure:
    """Send a request, and read the answer. The reason of a failure names the host, and no path, which may be secret."""
    deadline, host = Deadline(seconds), urlsplit(request.url).hostname or ""
    try:
        return _exchange(request, receiver, deadline)
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        if deadline.is_over:
            return Failure(f"no answer from {host} within {seconds:g} s")
        return Failure(f"no answer from {host}: {_reason(error)}")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"{type(error).__name__}: {text}"[:300] if isinstance(error, http.client.HTTPException) else text[:300]


def _exchange(request: HttpRequest, receiver: ReceiverSettings, deadline: Deadline) -> Response:
    parts = urlsplit(request.url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    target = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
    proxy = None if receiver.proxy is None else urlsplit(receiver.proxy)
    if proxy is None:
        raw = connect(host, port, deadline, receiver.allow_private)
    else:
        raw = connect(proxy.hostname or "", proxy.port or 80, deadline, allow_private=True)
    connection = http.client.HTTPConnection(host, port)
    connection.sock = raw
    with raw, deadline.watch(lambda: connection.sock):
        if proxy is not None and secure:
            _tunnel(connection, host, port)
        if proxy is not None and not secure:
            target = request.url
        if not secure:
            return _send(connection, request, (target, parts.netloc), deadline)
        context = ssl.create_default_context()
        with context.wrap_socket(raw, server_hostname=host, do_handshake_on_connect=False) as wrapped:
            connection.sock = wrapped
            wrapped.do_handshake()
            return _send(connection, request, (target, parts.netloc), deadline)


def _tunnel(connection: http.client.HTTPConnection, host: str, port: int) -> None:
    """Ask the proxy for a connection to the host."""
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    connection.putrequest("CONNECT", place, skip_host=True, skip_accept_encoding=True)
    connection.putheader("Host", place)
    connection.endheaders()
    answer = http.client.HTTPResponse(connection.sock, method="CONNECT")
    answer.begin()
    if answer.status != 200:
        raise OSError(f"the proxy answers {answer.status}")


def _send(
    connection: http.client.HTTPConnection, request: HttpRequest, where: tuple[str, str], deadline: Deadline
) -> Response:
    target, place = where
    connection.putrequest("POST", target, skip_host=True, skip_accept_encoding=True)
    headers = {"Host": place, "User-Agent": AGENT, "Content-Length": str(len(request.body)), "Connection": "close"}
    for name, value in (headers | dict(request.headers)).items():
        connection.putheader(name, value)
    connection.endheaders(request.body)
    answer = connection.getresponse()
    if deadline.is_over:  # the headers seem to end where the connection was ended
        raise TimeoutError
    try:
        body = answer.read(MOST_ANSWER)
    except (OSError, http.client.HTTPException):  # the status has come, and says whether it was accepted
        body = b""
    found = {name.lower(): value for name, value in answer.getheaders()}
    return Response(answer.status, found, body, round(time.time() * 1000))
