"""An address at which no broker of ours listens is told in a sentence, within seconds."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from stream_monitor.config.settings import Settings, parse
from stream_monitor.errors import BrokerError
from stream_monitor.kafka import client_config as clients
from stream_monitor.kafka.client_config import connected

BOUND_S = 20.0
"""Four seconds are promised; a loaded machine may take longer, and half a minute, as it once was, is a failure."""


def rules_for(address: str, **options: Any) -> Settings:
    return parse({"kafka": {"bootstrap_servers": address, "options": options}})


@contextmanager
def listening(closing: bool) -> Iterator[str]:
    """The address of something that takes connections and says nothing, or ends each."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held, done = [], threading.Event()
        server.settimeout(0.1)

        def accept() -> None:
            while not done.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                held.append(connection)
                if closing:
                    connection.recv(1)
                    connection.close()

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            done.set()
            thread.join()
            for connection in held:
                connection.close()


def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(
    ("address", "reason"),
    [("", "Connection refused"), ("no-such-host.invalid:9092", "Failed to resolve")],
)
def test_an_address_that_nobody_answers_for_is_told_soon(
    address: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    address = address or closed_port()
    started = time.monotonic()
    with pytest.raises(BrokerError) as told:
        connected(rules_for(address))
    assert time.monotonic() - started < BOUND_S
    assert f"no answer from {address}" in str(told.value) and reason in str(told.value)
    assert "\n" not in str(told.value) and not caplog.records, "one sentence, and no lines of librdkafka's"


def test_a_listener_that_ends_each_connection_is_told_soon() -> None:
    """As one that wants TLS does with a client that speaks without."""
    started = time.monotonic()
    with (
        listening(closing=True) as address,
        pytest.raises(BrokerError, match="ended without a word, as a listener with TLS"),
    ):
        connected(rules_for(address))
    assert time.monotonic() - started < BOUND_S


@pytest.mark.kafka
def test_tls_to_a_listener_without_is_told_soon(kafka: str) -> None:
    started = time.monotonic()
    with pytest.raises(BrokerError, match=r"SSL (handshake failed|connection closed)"):
        connected(rules_for(kafka, **{"security.protocol": "SSL"}))
    assert time.monotonic() - started < BOUND_S


def test_one_that_takes_the_connection_and_says_nothing_is_waited_for_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(clients, "CALL_S", 2 * clients.SILENT_S)  # half a minute takes a test too long
    caplog.set_level(logging.WARNING)
    with listening(closing=False) as address, pytest.raises(BrokerError, match=f"no answer from {address}"):
        connected(rules_for(address))
    (record,) = caplog.records
    assert f"no answer from {address} within 3 s: waiting for it" in record.getMessage()
