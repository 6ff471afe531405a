"""docker-compose.yml on podman: events in, an alert out, and the page answers: `make deploy-test`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
import yaml

from stream_monitor.config.settings import Settings
from stream_monitor.kafka.tail import Tail
from tests.deploy import kafka_image
from tests.deploy.podman import Podman
from tests.deploy.test_compose import FILE
from tests.deploy.test_prometheus import free_port
from tests.deploy.traffic import drifting, settings_for
from tests.patience import until

pytestmark = pytest.mark.image

QUICK = {
    "TIME__PANE": "1s", "TIME__WINDOWS": "[10s]", "TIME__ALLOWED_LATENESS": "2s", "TIME__MAX_SKEW": "1s",
    "TIME__IDLE_AFTER": "1s", "BASELINE__FIRST": "500", "COMMIT__INTERVAL": "200ms",
}  # fmt: skip
"""The settings of `traffic.settings_for`, as variables."""
STAGES = ("describe", "judge")


class Composed:
    """The services of docker-compose.yml, on ports of their own; podman has no timer that asks for their health."""

    def __init__(self, podman: Podman, folder: Path, images: dict[str, str]) -> None:
        self.podman, self.name = podman, f"sm{uuid.uuid4().hex[:8]}"
        self.kafka_port, self.page_port = free_port(), free_port()
        text = re.sub(r"\b9092\b", str(self.kafka_port), FILE.read_text())
        text = text.replace("127.0.0.1:8080:", f"127.0.0.1:{self.page_port}:")
        for name, tag in images.items():
            text = re.sub(rf"\$\{{{name}\}}", tag, text)
        composed = yaml.safe_load(text)
        every = composed["services"].items()
        self.services: dict[str, Any] = {name: service for name, service in every if "profiles" not in service}
        composed["services"] = self.services
        self.health: dict[str, list[str]] = {}
        for name, service in self.services.items():
            self.health[name] = service.pop("healthcheck")["test"]
            service.pop("depends_on", None)
            service.pop("build", None)
            if name in STAGES:
                service["environment"] |= {f"STREAM_MONITOR__{key}": value for key, value in QUICK.items()}
            if service["image"] == "stream-monitor":
                service["image"] = images["stream-monitor"]
        self.file = folder / "docker-compose.yml"
        self.file.write_text(yaml.safe_dump(composed))

    def compose(self, *arguments: str) -> None:
        options = ("-p", self.name, "-f", str(self.file), "--in-pod=0", "--podman-run-args=--no-healthcheck")
        command = [sys.executable, "-m", "podman_compose", *options, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=self.podman.environ)
        assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-3_000:]

    def container(self, service: str) -> str:
        label = f"label=com.docker.compose.service={service}"
        project = f"label=com.docker.compose.project={self.name}"
        return self.podman.run("ps", "--all", "--quiet", "--filter", label, "--filter", project).strip()

    def healthy(self, service: str) -> bool:
        """Whether the command of its healthcheck says so."""
        name = self.container(service)
        running = self.podman.run("inspect", "--format", "{{.State.Running}}", name).strip()
        assert running == "true", self.podman.start("logs", name).stderr[-3_000:]
        shell, command = self.health[service]
        assert shell == "CMD-SHELL"
        return self.podman.start("exec", name, "/bin/sh", "-c", command).returncode == 0

    def start(self, *services: str) -> None:
        self.compose("up", "--detach", "--no-build", *services)
        for service in services:
            until(lambda name=service: self.healthy(name), service)  # type: ignore[misc]


def first_alert(settings: Settings) -> dict[str, Any]:
    tail, found = Tail(settings, ("alerts",)), list[bytes]()

    def read() -> bool:
        found.extend(value for _, value in tail.read(0.2))
        return bool(found)

    until(read, "an alert")
    alert: dict[str, Any] = json.loads(found[0])
    return alert


def shown(composed: Composed, alert: dict[str, Any]) -> bool:
    """Whether the page has the alert."""
    try:
        with urlopen(f"http://127.0.0.1:{composed.page_port}/api/v1/alerts/{alert['id']}", timeout=10) as response:
            return bool(json.load(response)["measure"] == alert["measure"])
    except HTTPError as error:  # it has not read so far
        assert error.code == 404
        return False


def test_events_go_in_an_alert_comes_out_and_the_page_answers(
    podman: Podman, image: str, tmp_path: Path, real_kafka: None
) -> None:
    (folder := tmp_path / "kafka").mkdir()
    kafka = kafka_image.build(podman, folder)
    composed = Composed(podman, tmp_path, {"KAFKA_IMAGE": kafka, "stream-monitor": image})
    started = time.monotonic()
    try:
        composed.start("kafka")
        composed.start("describe", "judge", "dashboard")
        ready = time.monotonic() - started
        settings = settings_for(f"localhost:{composed.kafka_port}", app="stream-monitor")
        drifting(settings)
        alert = first_alert(settings)
        assert alert["model"] == "m"
        alerted = time.monotonic() - started
        until(lambda: shown(composed, alert), "the alert on the page")
        print(f"\nhealthy after {ready:.1f} s, first alert after {alerted:.1f} s of `compose up`")
        for stage in STAGES:
            stopping = time.monotonic()
            podman.run("stop", "--time", "30", name := composed.container(stage))
            assert podman.run("inspect", "--format", "{{.State.ExitCode}}", name).strip() == "0"
            print(f"{stage} stopped in {time.monotonic() - stopping:.1f} s")
    finally:
        composed.compose("down", "--volumes")
