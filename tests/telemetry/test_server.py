"""The endpoints: open on this machine, and beyond it to those who have the token, over TLS."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stream_monitor.config.http import HttpSettings
from stream_monitor.config.settings import ROLES, parse
from stream_monitor.errors import SettingsError
from stream_monitor.kafka.in_memory import MemoryBroker, MemoryClient
from stream_monitor.service.registry import loop_of
from stream_monitor.service.run import run
from stream_monitor.stages.topology import Topology
from stream_monitor.telemetry import http_server as server
from stream_monitor.telemetry.http_server import readiness
from stream_monitor.telemetry.liveness import STARTING_S, Health
from stream_monitor.telemetry.ports import address, listen
from tests.certificates import certificate_of
from tests.streams import T0, quick_settings

TOKEN = "0123456789abcdef-hunter2"


@dataclass
class Worker:
    """As much of a loop as the endpoints look at."""

    reason: str | None = "no partitions yet"
    hangs: str | None = None

    def not_ready_reason(self, most: int | None = None) -> str | None:
        return self.reason

    def hung(self) -> str | None:
        return self.hangs


def settings_for(**http: Any) -> HttpSettings:
    return parse({"http": {"port": 0} | http}).http


@contextmanager
def serving(worker: Worker | None = None, **http: Any) -> Iterator[int]:
    """The port of a server with these settings."""
    rules = settings_for(**http)
    (listener,) = listen(rules, [0])
    running = server.serve(rules, listener, worker or Worker(), "judge")
    try:
        yield int(running.server_address[1])
    finally:
        running.shutdown()
        running.server_close()


def get(port: int, path: str, tls: ssl.SSLContext | None = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """(status, headers, body)."""
    connection = (
        http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=tls)
        if tls
        else http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    )
    with closing(connection):
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.headers), answer.read()


def test_without_a_token_this_machine_may_read_everything() -> None:
    with serving() as port:
        assert get(port, "/metrics?name=x")[0] == 200
        assert get(port, "/healthz")[0] == 200
        assert get(port, "/other")[0] == 404


def test_readiness_is_that_of_the_worker() -> None:
    worker = Worker()
    with serving(worker) as port:
        status, _, body = get(port, "/readyz")
        assert (status, body) == (503, b"no partitions yet\n")
        worker.reason = None
        assert get(port, "/readyz")[0] == 200


def test_a_worker_that_hangs_is_neither_alive_nor_ready() -> None:
    worker = Worker(reason=None, hangs="the loop has not come back for 130 s")
    with serving(worker) as port:
        assert get(port, "/healthz")[::2] == (503, b"the loop has not come back for 130 s\n")
        assert get(port, "/readyz")[0] == 503
        worker.hangs = None
        assert (get(port, "/healthz")[0], get(port, "/readyz")[0]) == (200, 200)


def test_a_worker_that_starts_is_alive_and_not_ready_until_there_is_a_loop() -> None:
    now = 0.0
    health = Health(lambda: now)
    assert (health.hung(), health.not_ready_reason()) == (None, "starting")
    now = STARTING_S + 1
    assert health.hung() is not None
    health.follow(Worker(reason=None))
    assert (health.hung(), health.not_ready_reason()) == (None, None)


def test_every_series_has_the_role_of_its_worker() -> None:
    with serving() as port:
        lines = [line for line in get(port, "/metrics")[2].decode().splitlines() if not line.startswith("#")]
    assert lines and all('role="judge"' in line for line in lines)


def test_without_a_port_in_the_settings_those_in_use_are_passed_over() -> None:
    rules = parse({}).http
    first = listen(rules, [0, 1])
    second = listen(rules, [0, 1])
    try:
        ports = [listener.getsockname()[1] for listener in (*first, *second)]
        assert len(set(ports)) == 4 and min(ports) >= rules.port
        assert address(rules, second[0]) == f"http://127.0.0.1:{ports[2]}"
    finally:
        for listener in (*first, *second):
            listener.close()


def test_a_port_that_the_settings_name_is_refused_when_in_use_and_the_others_are_given_back() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = taken.getsockname()[1]
        rules = settings_for(port=busy - 1)
        for _ in range(2):  # were the first port kept, the second time would name it
            with pytest.raises(SettingsError, match=rf"http\.port: cannot listen on 127\.0\.0\.1:{busy}: .*in use"):
                listen(rules, [0, 1])


def test_readiness_can_demand_that_the_worker_has_caught_up() -> None:
    rules = quick_settings()
    broker = MemoryBroker(dict.fromkeys(ROLES, 1), lambda: T0)
    for i in range(30):
        broker.append("predictions", json.dumps({"id": f"{i}", "ts": T0, "features": {}}).encode(), b"k")
    client = MemoryClient(broker, "describe")
    loop = loop_of("describe", client, rules, Topology(1, 1, 1), lambda: 0.0)
    client.pause({("predictions", 0)})
    assert readiness(loop, "/readyz") == (200, "ready\n")
    assert readiness(loop, "/readyz?max_lag=99") == (503, "the lag is not known yet\n")
    loop.tick()
    loop.commit()
    assert readiness(loop, "/readyz") == (200, "ready\n")
    assert readiness(loop, "/readyz?max_lag=30")[0] == 200
    assert readiness(loop, "/readyz?max_lag=29") == (503, "lags by 30 records\n")
    assert readiness(loop, "/readyz?max_lag=few")[0] == 400
    loop.client.pause(set())
    loop.tick()
    loop.commit()
    assert readiness(loop, "/readyz?max_lag=0")[0] == 200


def test_the_metrics_demand_the_token_and_the_probes_do_not() -> None:
    with serving(token=TOKEN) as port:
        status, headers, body = get(port, "/metrics")
        assert (status, headers["WWW-Authenticate"]) == (401, 'Bearer realm="metrics"')
        assert b"python" not in body and "Python" not in headers["Server"]
        for wrong in ("", TOKEN, "Bearer", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", "Bearer \xe9"):
            assert get(port, "/metrics", Authorization=wrong)[0] == 401
        assert get(port, "/metrics", Authorization=f"bearer {TOKEN}")[0] == 200
        assert (get(port, "/healthz")[0], get(port, "/readyz")[0]) == (200, 503)


def test_with_a_certificate_the_endpoints_speak_tls_only(tmp_path: Path) -> None:
    files = certificate_of(tmp_path)
    trusting = ssl.create_default_context(cafile=str(files.certificate))
    with serving(tls_certificate=str(files.certificate), tls_key=str(files.key), token=TOKEN) as port:
        assert get(port, "/metrics", trusting, Authorization=f"Bearer {TOKEN}")[0] == 200
        assert get(port, "/metrics", trusting)[0] == 401
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            get(port, "/healthz")
        assert get(port, "/healthz", trusting)[0] == 200


def test_certificate_and_key_may_be_one_file(tmp_path: Path) -> None:
    files = certificate_of(tmp_path)
    trusting = ssl.create_default_context(cafile=str(files.certificate))
    with serving(tls_certificate=str(files.both)) as port:
        assert get(port, "/healthz", trusting)[0] == 200


@pytest.mark.parametrize("tls", [False, True])
def test_who_holds_connections_open_hides_nothing(tmp_path: Path, tls: bool) -> None:
    files = certificate_of(tmp_path)
    trusting = ssl.create_default_context(cafile=str(files.certificate)) if tls else None
    with serving(tls_certificate=str(files.both) if tls else None) as port:
        held = [socket.create_connection(("127.0.0.1", port)) for _ in range(server.CONNECTIONS)]
        assert get(port, "/healthz", trusting)[0] == 200
        held[0].settimeout(10)
        assert held[0].recv(1) == b"", "the oldest is cut"
        for connection in held:
            connection.close()


@pytest.mark.parametrize(
    ("http", "told"),
    [
        ({}, None),
        ({"host": "localhost"}, None),
        ({"host": "::1"}, None),
        ({"host": "127.8.8.8"}, None),
        ({"host": "0.0.0.0"}, "set http.token and http.tls_certificate"),
        ({"host": ""}, "set http.token and http.tls_certificate"),
        ({"host": "monitor.example"}, "set http.token and http.tls_certificate"),
        ({"host": "::", "token": TOKEN}, "set http.tls_certificate, or `http.open: true`"),
        ({"host": "0.0.0.0", "open": True}, None),
        ({"host": "0.0.0.0", "enabled": False}, None),
        ({"tls_certificate": "/nowhere.pem"}, "no TLS with /nowhere.pem: No such file"),
    ],
)
def test_beyond_this_machine_token_and_tls_are_demanded(http: dict[str, Any], told: str | None) -> None:
    found = server.problems(settings_for(**http))
    assert found == [] if told is None else told in found[0]
    if told is not None:
        with pytest.raises(SettingsError):
            run(parse({"http": http}), "describe", 1)


def test_an_encrypted_key_is_refused_and_not_asked_about(tmp_path: Path) -> None:
    files = certificate_of(tmp_path, password=b"hunter2")
    (found,) = server.problems(settings_for(tls_certificate=str(files.certificate), tls_key=str(files.key)))
    assert f"no TLS with {files.certificate} and {files.key}" in found


@pytest.mark.parametrize("token", ["short", "with a blank in it 12345", "ünlesbar-0123456789"])
def test_a_token_that_cannot_be_one_is_refused_without_being_told(token: str) -> None:
    with pytest.raises(SettingsError, match=r"http\.token: must have at least 16") as told:
        settings_for(token=token)
    assert token not in str(told.value)


def test_a_key_without_a_certificate_is_a_mistake() -> None:
    with pytest.raises(SettingsError, match="none is given"):
        settings_for(tls_key="key.pem")


def test_an_address_in_use_is_told() -> None:
    with serving() as port, pytest.raises(SettingsError, match=f"cannot listen on 127.0.0.1:{port}"):
        listen(settings_for(port=port), [0])


@pytest.mark.parametrize("digits", ["9" * 19, "9" * 5_000])
def test_a_lag_of_more_digits_than_any_log_has_is_refused(digits: str) -> None:
    """Python reads no number of 5,000 digits: before, the connection broke without an answer."""
    with serving(Worker(None)) as port:
        status, _, body = get(port, f"/readyz?max_lag={digits}")
        assert (status, body) == (400, b"max_lag is a number of records, of at most 18 digits\n")
        assert get(port, f"/readyz?max_lag={'9' * 18}")[0] == 200
