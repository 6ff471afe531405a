"""A real Prometheus scrapes real workers on a real Kafka; what it says reaches a real Alertmanager and its receiver."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream_monitor.config.settings import Settings, parse
from tests.deploy.prometheus import program, promtool, query, serving
from tests.deploy.test_dashboards import expressions
from tests.deploy.test_rules import FILES, FOLDER, RULES
from tests.deploy.traffic import drifting, odd, settings_for
from tests.patience import until

SELECTORS = sorted({
    found
    for expression in [*expressions(), *(rule["expr"] for rule in RULES)]
    for found in re.findall(r"stream_monitor_\w+(?:\{[^}]*\})?", expression)
})  # fmt: skip
"""What the rules and the panels read."""


@dataclass
class Receiver:
    """Takes what Alertmanager sends."""

    url: str = ""
    names: list[str] = field(default_factory=list)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            receiver.names += [f"{a['labels']['alertname']} {a['labels'].get('role', '')}" for a in body["alerts"]]
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}/"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()


def told_and_shown(settings: Settings, alertmanager: str) -> Settings:
    """The settings, with the Alertmanager as a receiver, and a port for the page."""
    given = settings.model_dump(mode="json", exclude_unset=True)
    receiver = {"kind": "alertmanager", "url": f"http://{alertmanager}", "allow_private": True}
    return parse(given | {"notify": {"receivers": {"am": receiver}}, "dashboard": {"port": free_port()}})


@contextmanager
def process_of(command: str, file: Path) -> Iterator[Path]:
    """Another command of ours with these settings; its log."""
    log = file.with_name(f"{command}.log")
    with log.open("wb") as output:
        arguments = [sys.executable, "-m", "stream_monitor", command, "-c", str(file)]
        process = subprocess.Popen(arguments, stdout=output, stderr=output)
    try:
        yield log
    finally:
        process.terminate()
        process.wait(60)


def notify_address(log: Path) -> list[str]:
    return re.findall(r"metrics of notify at http://([\d.:]+)/metrics", log.read_text())


@contextmanager
def workers(settings: Settings, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], list[str]]]:
    """`run` with these settings, and the addresses of its metrics."""
    file, log = folder / "settings.yaml", folder / "run.log"
    file.write_text(yaml.safe_dump(settings.model_dump(mode="json", exclude_unset=True)))
    with log.open("wb") as output:
        command = [sys.executable, "-m", "stream_monitor", "run", "-c", str(file)]
        process = subprocess.Popen(command, stdout=output, stderr=output)

    def addresses() -> list[str]:
        assert process.poll() is None, log.read_text()[-3_000:]
        return re.findall(r"metrics of \w+-0 at http://([\d.:]+)/metrics", log.read_text())

    try:
        until(lambda: len(addresses()) == 2, "two workers")
        yield process, addresses()
    finally:
        process.terminate()
        process.wait(60)


def configuration(folder: Path, targets: list[str], alertmanager: str) -> Path:
    """The rules as they are, but that they ring at once."""
    for name in FILES:
        rules = yaml.safe_load((FOLDER / name).read_text())
        for rule in rules["groups"][0]["rules"]:
            rule.pop("for", None)
        (folder / name).write_text(yaml.safe_dump(rules))
    configured: dict[str, Any] = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    configured["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    configured["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [alertmanager]}]}]
    configured["scrape_configs"] = [{"job_name": "stream-monitor", "static_configs": [{"targets": targets}]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configured))
    return folder / "prometheus.yml"


@contextmanager
def alertmanager(folder: Path, receiver: str) -> Iterator[str]:
    port = free_port()
    configured = yaml.safe_load((FOLDER.parent / "alertmanager" / "alertmanager.yml").read_text())
    configured["route"]["group_wait"] = "0s"
    configured["receivers"][0]["webhook_configs"] = [{"url": receiver}]
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(configured))
    command = [
        program("prometheus-alertmanager", "alertmanager"), f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder / 'alerts'}", f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=",
    ]  # fmt: skip
    with serving(command, f"http://127.0.0.1:{port}", folder / "alertmanager.log"):
        yield f"127.0.0.1:{port}"


@contextmanager
def prometheus(folder: Path, config: Path) -> Iterator[str]:
    port = free_port()
    command = [
        program("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={folder / 'series'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    with serving(command, f"http://127.0.0.1:{port}", folder / "prometheus.log") as url:
        yield url


def test_the_files_of_compose_are_what_the_servers_understand() -> None:
    done = promtool("check", "config", str(FOLDER / "prometheus.yml"))
    assert done.returncode == 0, done.stdout + done.stderr
    command = [program("amtool"), "check-config", str(FOLDER.parent / "alertmanager" / "alertmanager.yml")]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.kafka
def test_every_expression_finds_its_metrics_and_a_stopped_worker_reaches_a_person(kafka: str, tmp_path: Path) -> None:
    program("prometheus")
    with receiving() as receiver, alertmanager(tmp_path, receiver.url) as address, ExitStack() as others:
        settings = told_and_shown(settings_for(kafka, http={"port": 0}), address)
        with workers(settings, tmp_path) as (process, targets):
            others.enter_context(process_of("dashboard", tmp_path / "settings.yaml"))
            notify = others.enter_context(process_of("notify", tmp_path / "settings.yaml"))
            until(lambda: notify_address(notify), "notify")
            targets += [*notify_address(notify), f"127.0.0.1:{settings.dashboard.port}"]
            drifting(settings)
            odd(settings)
            with prometheus(tmp_path, configuration(tmp_path, targets, address)) as url:
                for selector in [*SELECTORS, "stream_monitor_detection_seconds_count > 0"]:
                    until(lambda found=selector: query(url, found), selector)  # type: ignore[misc]
                until(lambda: "StreamMonitorWatchdog " in receiver.names, "the watchdog")
                scraped = query(url, 'stream_monitor_build_info{role=~"dashboard|notify"}')
                assert len(scraped) == 2, "the page and notify are scraped, too"
                assert {name for name in receiver.names if "Absent" in name} == set()
                process.terminate()
                absent = {f"StreamMonitorAbsent {role}" for role in ("describe", "judge")}
                until(lambda: absent <= set(receiver.names), "the alert of workers that have stopped")
