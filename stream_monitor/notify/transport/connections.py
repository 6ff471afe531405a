"""Connections that a settings file may ask for: to public addresses, within a time, ended from outside if need be."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TIMEOUT_S = 10.0
"""Of a request, from the connection to the end of the answer. The machine's resolver of names has limits of its own."""


class Refused(OSError):
    """The address is one that `allow_private` does not allow."""


class Deadline:
    """The end of a request. Sockets wait for each piece alone, so somebody has to look at the sum."""

    def __init__(self, seconds: float = TIMEOUT_S) -> None:
        self.seconds, self._at = seconds, time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds that are left; a little where none is, for a socket takes 0 as for ever."""
        return max(0.01, self._at - time.monotonic())

    @property
    def is_over(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() >= self._at

    @contextmanager
    def watch(self, connection: Callable[[], socket.socket | None]) -> Iterator[None]:
        """End a connection when the time is over: what waits for it wakes up then. TLS replaces a socket by another."""
        timer = threading.Timer(self.left, lambda: _end(connection()))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def _end(connection: socket.socket | None) -> None:
    if connection is None:
        return
    try:
        socket.socket.shutdown(connection, socket.SHUT_RDWR)  # below TLS, whose layer another thread uses
    except OSError:  # it has ended by itself
        return


def is_public(address: str) -> bool:
    """Whether an address is one of the open internet, not of this machine, a private network or a cloud's own."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return found.is_global and not found.is_multicast


def connect(host: str, port: int, deadline: Deadline, allow_private: bool) -> socket.socket:
    """A connection to the first address of a host that answers. The address that was looked at is the one that is used.

    Raises:
        OSError: there is none; `Refused` where all are private.
    """
    failure: OSError | None = None
    found = dict.fromkeys(str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    for address in found:
        if not allow_private and not is_public(address):
            failure = failure or Refused(
                f"{host} is {address}, an address of a private network or of this machine: set allow_private if that "
                "is meant"
            )
            continue
        try:
            return socket.create_connection((address, port), deadline.left)
        except OSError as error:
            failure = error
    raise failure or OSError(f"{host} has no address")
