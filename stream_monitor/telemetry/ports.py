"""The ports of the endpoints, bound before any worker joins a group: a port in use then interrupts no work."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Sequence

from stream_monitor.config.http import HttpSettings
from stream_monitor.errors import SettingsError

log = logging.getLogger(__name__)

WAITING = 32
"""The most connections that wait for acceptance."""
MOST_TRIED = 1_000
"""The most ports after the wanted one that are tried."""
HIGHEST = 65_535


def listen(settings: HttpSettings, offsets: Sequence[int]) -> list[socket.socket]:
    """A listening socket for each offset from `http.port`; port 0 takes any free ports.

    Where the settings name no port, the next free port replaces one that is in use. When a port that the settings name
    is in use, or the address is not available, the function raises SettingsError and leaves no socket open.
    """
    opened: list[socket.socket] = []
    named = "port" in settings.model_fields_set
    try:
        for offset in offsets:
            opened.append(listen_at(settings.host, settings.port + offset if settings.port else 0, named))
    except SettingsError:
        for listener in opened:
            listener.close()
        raise
    return opened


def listen_at(host: str, wanted: int, named: bool, setting: str = "http.port") -> socket.socket:
    """A listening socket at a port, or at the next free one where the setting does not name it."""
    for port in range(wanted, wanted + (1 if named else MOST_TRIED)):
        try:
            listener = _listen(host, port)
        except (OSError, OverflowError) as error:
            in_use = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
            if in_use and not named and port < HIGHEST:
                continue
            advice = f": set {setting} to a free one, or leave it out and the next free one is taken" if in_use else ""
            raise SettingsError(f"{setting}: cannot listen on {host}:{port}: {error}{advice}") from error
        if port != wanted:
            log.warning("port %d is in use, so %s is %d", wanted, setting, port)
        return listener
    raise SettingsError(f"{setting}: {MOST_TRIED:,} ports from {wanted} on are in use")


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # past connections may still linger
        listener.bind((host, port))
        listener.listen(WAITING)  # a port that is only bound can be bound twice
    except (OSError, OverflowError):
        listener.close()
        raise
    return listener


def address(settings: HttpSettings, listener: socket.socket) -> str:
    """The URL of the endpoints."""
    host, port = listener.getsockname()[:2]
    scheme = "https" if settings.tls_certificate else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
