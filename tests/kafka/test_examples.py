"""The examples that need Kafka: what the producer sends is judged, and the subscriber prints the alert."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stream_monitor.kafka.topics import ready
from tests.kafka.test_exactly_once import settings_for, workers_of
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.kafka
FOLDER = Path(__file__).parent.parent.parent / "examples"


def start(name: str, *arguments: str, app: str, kafka: str, log: Path) -> subprocess.Popen[bytes]:
    environment = {"STREAM_MONITOR__APP": app, "STREAM_MONITOR__KAFKA__BOOTSTRAP_SERVERS": kafka}
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, str(FOLDER / name), *arguments], stdout=output, stderr=output, env=os.environ | environment
        )


def test_the_subscriber_prints_the_alert_on_what_the_producer_sends(kafka: str, tmp_path: Path) -> None:
    rules = settings_for(
        kafka,
        time={"pane": "1s", "windows": ["5s"], "allowed_lateness": "1s", "max_skew": "1s"},
        baseline={"first": 1_000},
    )
    log = tmp_path / "subscriber.log"
    with workers_of(rules, ready(rules), 1):
        reader = start("subscriber.py", app=rules.app, kafka=kafka, log=log)
        sender = start("producer.py", "25", "200", app=rules.app, kafka=kafka, log=tmp_path / "producer.log")
        try:
            assert sender.wait(PATIENCE_S) == 0, (tmp_path / "producer.log").read_text()
            deadline = time.monotonic() + PATIENCE_S
            while "open: fraud 7: amount" not in log.read_text() and time.monotonic() < deadline:
                assert reader.poll() is None, log.read_text()
                time.sleep(0.2)
        finally:
            sender.kill()
            reader.send_signal(signal.SIGINT)
            assert reader.wait(PATIENCE_S) == 0
    assert "open: fraud 7: amount is about " in log.read_text()
