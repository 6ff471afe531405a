"""A real Prometheus Alertmanager, where there is one: alerts open, stay while `notify` is killed, and end."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.kafka.test_notify import App
from tests.notify.stories import alert
from tests.patience import until

pytestmark = pytest.mark.kafka

BINARY = shutil.which("alertmanager") or shutil.which("prometheus-alertmanager")
CONFIG = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n"


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[str]:
    if BINARY is None:
        pytest.skip("NO ALERTMANAGER, so nothing about it is tested (Debian: prometheus-alertmanager)")
    config = tmp_path / "alertmanager.yml"
    config.write_text(CONFIG)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        BINARY, f"--config.file={config}", f"--storage.path={tmp_path / 'data'}", "--cluster.listen-address=",
        f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    with (
        (tmp_path / "alertmanager.log").open("wb") as log,
        subprocess.Popen(command, stderr=log, stdout=log) as process,
    ):
        until(lambda: answers(f"http://127.0.0.1:{port}/-/ready"), "Alertmanager")
        yield f"http://127.0.0.1:{port}"
        process.terminate()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return bool(answer.status == 200)
    except urllib.error.URLError:
        return False


def active(url: str) -> list[Any]:
    with urllib.request.urlopen(f"{url}/api/v2/alerts?active=true", timeout=60) as answer:
        found: list[Any] = json.load(answer)
    return found


def updated(url: str) -> datetime:
    return datetime.fromisoformat(active(url)[0]["updatedAt"])


def test_alerts_of_alertmanager_are_ours_from_their_beginning_to_their_end(
    kafka: str, tmp_path: Path, manager: str
) -> None:
    receiver = {"kind": "alertmanager", "url": manager, "allow_private": True, "labels": {"team": "ml"}}
    app = App(kafka, tmp_path, {"receivers": {"am": receiver}, "link": "https://page.example"})
    with app.notify() as process:
        until(lambda: not app.is_new("am"), "the first commit")
        app.publish(alert("0a-1"), alert("0a-2", segment='country="<D&E>"\n'))
        until(lambda: len(active(manager)) == 1, "the first alert")
        (first,) = active(manager)
        assert first["labels"] == {
            "alertname": "stream_monitor_drift", "app_role": "stream_monitor", "group": "input", "kind": "drift",
            "measure": "amount", "model": "fraud", "segment": "all", "severity": "warning", "team": "ml",
            "version": "7",
        }  # fmt: skip
        assert first["generatorURL"] == "https://page.example/#/alerts/0a-1"
        process.send_signal(signal.SIGKILL)
        process.wait()
    before, ids = updated(manager), {one["fingerprint"] for one in active(manager)}
    with app.notify():
        until(lambda: len(active(manager)) == 2, "what is open, again, with the alert that no message was about")
        assert ids < {one["fingerprint"] for one in active(manager)}, "the same alert, not one more"
        until(lambda: updated(manager) > before, "a new end")
        shown = subprocess.run(
            [shutil.which("amtool") or "amtool", "alert", "query", "model=fraud", f"--alertmanager.url={manager}"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert shown.stdout.count("stream_monitor_drift") == 2
        app.publish(alert("0a-2", "resolved", segment='country="<D&E>"\n'), alert("0a-1", "resolved"))
        until(lambda: all(one["labels"]["segment"] != "all" for one in active(manager)), "the end")
