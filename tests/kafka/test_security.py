"""A broker that lets in who has the password, over TLS; and what those hear who have not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream_monitor.config.settings import load, parse
from stream_monitor.errors import BrokerError, SettingsError
from stream_monitor.kafka.client_config import connected
from stream_monitor.kafka.local import LocalKafka
from stream_monitor.kafka.tail import Tail
from stream_monitor.kafka.topics import ready
from stream_monitor.kafka.writer import EventWriter
from tests.certificates import Certificate, certificate_of
from tests.kafka.test_exactly_once import Watcher

pytestmark = pytest.mark.kafka
PASSWORD = "hunter2 = @correct"
VARIABLE = "STREAM_MONITOR__KAFKA__OPTIONS__SASL_PASSWORD"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certificate_of(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secured(real_kafka: None, certificate: Certificate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a broker whose clients must speak TLS and know the password."""
    broker = LocalKafka(tmp_path_factory.mktemp("secured"))
    ports = {"SASL_SSL": broker.port, "INNER": broker.inner, "CONTROLLER": broker.controller}
    broker.properties |= {
        "listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items()),
        "listener.security.protocol.map": "SASL_SSL:SASL_SSL,INNER:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "INNER",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(certificate.both),
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl_ssl.plain.sasl.jaas.config": "org.apache.kafka.common.security.plain.PlainLoginModule "
        f'required user_app="{PASSWORD}";',
    }
    with broker:
        yield broker.bootstrap


def sections(secured: str, certificate: Certificate, **options: Any) -> dict[str, Any]:
    """A settings file without a password."""
    known = {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN", "sasl.username": "app"}
    return {
        "app": f"s{uuid.uuid4().hex[:10]}",
        "kafka": {"bootstrap_servers": secured,
                  "options": known | {"ssl.ca.location": str(certificate.certificate)} | options},
        "topics": {"partitions": 2},
        "commit": {"interval": "200ms"},
        "time": {"idle_after": "1s"},
        "http": {"enabled": False},
    }  # fmt: skip


@contextmanager
def running(folder: Path, settings: dict[str, Any], password: str, *args: str) -> Iterator[subprocess.Popen[bytes]]:
    """`stream-monitor run` as a user starts it, with the password in its environment."""
    config = folder / "settings.yaml"
    config.write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-c", "from stream_monitor.cli.main import main; main()", *args, "-c", str(config)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {VARIABLE: password})
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def command_lines(parent: int) -> list[str]:
    """What `ps` shows of a process and its children."""
    told = subprocess.run(["ps", "-ww", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in told.splitlines()]
    return [row[2] for row in rows if str(parent) in row[:2]]


def test_a_run_over_tls_with_a_password_counts_events_and_shows_no_password(
    tmp_path: Path, secured: str, certificate: Certificate
) -> None:
    given = sections(secured, certificate)
    (tmp_path / "password").write_text(PASSWORD + "\n")
    file = tmp_path / "mine.yaml"
    options = given["kafka"]["options"] | {"sasl.password": f"file:{tmp_path / 'password'}"}
    file.write_text(yaml.safe_dump(given | {"kafka": given["kafka"] | {"options": options}}))
    rules = load(file, {})
    ready(rules)
    feed, watcher = EventWriter(rules), Watcher(rules)
    with running(tmp_path, given, PASSWORD, "run") as process:
        for i in range(500):
            event = {"id": f"{i}", "ts": int(time.time() * 1000), "features": {"x": i % 7}, "prediction": True}
            feed.send("predictions", f"{i}", json.dumps(event).encode())
        feed.flush()
        watcher.until(lambda: watcher.total("count") >= 500)
        shown = command_lines(process.pid)
        assert len(shown) >= 3, "the parent, and a process of each stage"
        assert not any("hunter2" in line for line in shown)
    assert process.returncode == 0
    assert watcher.total("count") == 500
    assert "hunter2" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize("args", [("run",), ("alerts", "tail"), ("verify",), ("check",)])
def test_a_wrong_password_is_told_as_such_soon_and_not_shown(
    tmp_path: Path, secured: str, certificate: Certificate, args: tuple[str, ...]
) -> None:
    with running(tmp_path, sections(secured, certificate), "hunter2-wrong", *args) as process:
        assert process.wait(60) in (1, 2)
    said = (tmp_path / "log").read_text()
    assert "refused by" in said and "Authentication failed" in said  # not "no answer from": then it had waited
    assert "hunter2" not in said


def test_a_certificate_that_is_not_trusted_is_told_as_such(
    tmp_path: Path, secured: str, certificate: Certificate
) -> None:
    stranger = certificate_of(tmp_path)
    with pytest.raises(BrokerError, match="certificate verify failed"):
        connected(parse(sections(secured, stranger, **{"sasl.password": PASSWORD})))


def test_options_that_the_client_does_not_take_are_a_mistake_without_their_values() -> None:
    for options in (
        {"sasl.jaas.config": "hunter2"},
        {"no.such.password": "hunter2"},
        {"security.protocol": "SSL", "ssl.key.pem": "hunter2"},
    ):
        with pytest.raises(SettingsError, match=r"^kafka\.options: ") as told:
            Tail(parse({"kafka": {"options": options}}), ["alerts"])
        assert "hunter2" not in str(told.value)
