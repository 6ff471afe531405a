"""docker-compose.yml on podman: events in, an alert out, and the page answers: `make deploy-test`."""

from __future__ import annotations

import json
import os
import re
import signal
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
from stream_monitor.errors import BrokerError
from stream_monitor.kafka.tail import Tail
from stream_monitor.verify.run import verify
from tests.deploy import kafka_image
from tests.deploy.podman import Podman
from tests.deploy.test_compose import FILE
from tests.deploy.test_prometheus import free_port
from tests.deploy.traffic import COUNT, drifting, settings_for
from tests.patience import until

pytestmark = pytest.mark.image

QUICK = {
    "TIME__PANE": "1s", "TIME__WINDOWS": "[10s]", "TIME__ALLOWED_LATENESS": "2s", "TIME__MAX_SKEW": "1s",
    "TIME__IDLE_AFTER": "1s", "BASELINE__FIRST": "500", "COMMIT__INTERVAL": "200ms",
}  # fmt: skip
"""The settings of `traffic.settings_for`, as variables."""
DEMO_TAG = "localhost/stream-monitor-demo:test"
STAGES = ("describe", "judge")


class Composed:
    """The services of docker-compose.yml, on ports of their own; podman has no timer that asks for their health."""

    def __init__(self, podman: Podman, folder: Path, images: dict[str, str], quick: bool = True) -> None:
        self.podman, self.name = podman, f"sm{uuid.uuid4().hex[:8]}"
        self.kafka_port, self.page_port = free_port(), free_port()
        text = re.sub(r"\b9092\b", str(self.kafka_port), FILE.read_text())
        text = re.sub(r"127\.0\.0\.1:808[01]:", f"127.0.0.1:{self.page_port}:", text)
        text = text.replace("${KAFKA_IMAGE}", images["kafka"]).replace("./deploy/", f"{FILE.parent}/deploy/")
        composed = yaml.safe_load(text)
        every = composed["services"].items()
        self.services: dict[str, Any] = {name: service for name, service in every if service["image"] in images}
        self.services["kafka"] = composed["services"]["kafka"]
        self.health: dict[str, list[str]] = {}
        for name, service in self.services.items():
            self.health[name] = service.pop("healthcheck").get("test", [])
            for key in ("depends_on", "build", "profiles"):
                service.pop(key, None)
            if quick and name in STAGES:
                service["environment"] |= {f"STREAM_MONITOR__{key}": value for key, value in QUICK.items()}
            service["image"] = images.get(service["image"], service["image"])
        self.file, self.volumes = folder / "docker-compose.yml", composed["volumes"]
        self.write()

    def write(self) -> None:
        """Write the services into the file that compose reads."""
        self.file.write_text(yaml.safe_dump({"services": self.services, "volumes": self.volumes}))

    def compose(self, *arguments: str) -> None:
        options = ("-p", self.name, "-f", str(self.file), "--in-pod=0", "--podman-run-args=--no-healthcheck")
        command = [sys.executable, "-m", "podman_compose", *options, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=self.podman.environ)
        assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-3_000:]

    def container(self, service: str) -> str:
        label = f"label=com.docker.compose.service={service}"
        project = f"label=com.docker.compose.project={self.name}"
        return self.podman.run("ps", "--all", "--quiet", "--filter", label, "--filter", project).strip()

    def process(self, service: str) -> int:
        """The first process of its container: who ends it by podman is not asked to start it again."""
        return int(self.podman.run("inspect", "--format", "{{.State.Pid}}", self.container(service)))

    def healthy(self, service: str) -> bool:
        """Whether the command of its healthcheck says so; without one, true."""
        if not self.health[service]:
            return True
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


@pytest.fixture(scope="module")
def kafka_tag(podman: Podman, tmp_path_factory: pytest.TempPathFactory, real_kafka: None) -> str:
    return kafka_image.build(podman, tmp_path_factory.mktemp("kafka"))


def first_alert(settings: Settings) -> dict[str, Any]:
    tail, found = Tail(settings, ("alerts",)), list[bytes]()

    def read() -> bool:
        found.extend(value for _, value in tail.read(0.2))
        return bool(found)

    until(read, "an alert")
    alert: dict[str, Any] = json.loads(found[0])
    return alert


def settled(settings: Settings) -> bool:
    """Whether the output is exactly that of all events."""
    try:
        report = verify(settings, settled=True)
    except BrokerError as error:  # the workers moved while the topics were read
        print(error)
        return False
    return sum(report.events.values()) == 2 * COUNT and not report.unread and not report.problems


def shown(composed: Composed, alert: dict[str, Any]) -> bool:
    """Whether the page has the alert."""
    try:
        with urlopen(f"http://127.0.0.1:{composed.page_port}/api/v1/alerts/{alert['id']}", timeout=10) as response:
            return bool(json.load(response)["measure"] == alert["measure"])
    except HTTPError as error:  # it has not read so far
        assert error.code == 404
        return False


def test_events_go_in_workers_are_killed_an_alert_comes_out_and_the_page_answers(
    podman: Podman, image: str, kafka_tag: str, tmp_path: Path
) -> None:
    composed = Composed(podman, tmp_path, {"kafka": kafka_tag, "stream-monitor": image})
    started = time.monotonic()
    try:
        composed.start("kafka")
        composed.start("describe", "judge", "dashboard")
        ready = time.monotonic() - started
        settings = settings_for(f"localhost:{composed.kafka_port}", app="stream-monitor")
        drifting(settings)
        for stage in STAGES:  # in the midst of it; compose starts them again
            os.kill(composed.process(stage), signal.SIGKILL)
        alert = first_alert(settings)
        assert alert["model"] == "m"
        alerted = time.monotonic() - started
        until(lambda: shown(composed, alert), "the alert on the page")
        print(f"\nhealthy after {ready:.1f} s, first alert after {alerted:.1f} s of `compose up`")
        until(lambda: settled(settings), "every event counted once")
        for stage in STAGES:
            stopping = time.monotonic()
            podman.run("stop", "--time", "30", name := composed.container(stage))
            assert podman.run("inspect", "--format", "{{.State.ExitCode}}", name).strip() == "0"
            print(f"{stage} stopped in {time.monotonic() - stopping:.1f} s")
    finally:
        composed.compose("down", "--volumes")


def test_the_demo_shows_its_first_alert(podman: Podman, image: str, kafka_tag: str, tmp_path: Path) -> None:
    podman.build(FILE.parent, DEMO_TAG, "demo")
    images = {"kafka": kafka_tag, "stream-monitor": image, "stream-monitor-demo": DEMO_TAG}
    composed = Composed(podman, tmp_path, images, quick=False)
    for name in (*STAGES, "dashboard"):  # those of the first test; the demo has its own
        del composed.services[name]
    composed.write()
    started = time.monotonic()
    try:
        composed.start("kafka")
        composed.start("demo-describe", "demo-judge", "demo-dashboard", "demo")
        settings = settings_for(f"localhost:{composed.kafka_port}", app="demo")
        alert = first_alert(settings)
        assert alert["model"] == "flights"
        until(lambda: shown(composed, alert), "the alert on the page")
        print(f"\nfirst alert on the page after {time.monotonic() - started:.1f} s of `compose --profile demo up`")
    finally:
        composed.compose("down", "--volumes")
