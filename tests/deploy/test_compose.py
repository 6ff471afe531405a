"""The compose file, against the schema of compose files and our own bounds."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream_monitor.config.receivers import AlertmanagerSettings
from stream_monitor.config.settings import parse
from stream_monitor.notify.overview import receiver_problems

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
OF_OTHERS = {"kafka"}
"""Images that write into their own root."""


def told_of(file: Path) -> subprocess.CompletedProcess[str]:
    """The schema comes with the package: nothing is fetched."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def services_of(text: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(text)["services"]
    return found


def problems_of(services: dict[str, dict[str, Any]]) -> list[str]:
    """What a service lacks of what each must have."""
    found = []
    for name, service in services.items():
        if service.get("cap_drop") != ["ALL"] or service.get("security_opt") != ["no-new-privileges"]:
            found.append(f"{name} keeps rights")
        if service.get("privileged") or service.get("cap_add") or service.get("network_mode") == "host":
            found.append(f"{name} gets rights")
        if name not in OF_OTHERS and service.get("read_only") is not True:
            found.append(f"{name} may write its root")
        found += [f"{name} has no {key}" for key in ("mem_limit", "healthcheck", "restart") if key not in service]
        open_ports = [port for port in service.get("ports", ()) if not port.startswith("127.0.0.1:")]
        found += [f"{name} publishes {port} to other machines" for port in open_ports]
        if not re.fullmatch(r"\$\{[A-Z]+_IMAGE\}|stream-monitor(-demo)?", service["image"]):
            found.append(f"{name} has a version of its own")
    return found


def test_it_is_what_compose_understands() -> None:
    done = told_of(FILE)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("read_only: true", "readonly: true"), ("ports: [", "port: ["), ("retries: 20", "retries: [20]")],
)
def test_the_schema_finds_mistakes(tmp_path: Path, right: str, wrong: str) -> None:
    text = FILE.read_text()
    assert right in text
    (tmp_path / "compose.yml").write_text(text.replace(right, wrong))
    assert told_of(tmp_path / "compose.yml").returncode == 1


def test_every_service_is_locked_down() -> None:
    assert problems_of(services_of(FILE.read_text())) == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("read_only: true", "read_only: false"),
        ("cap_drop: [ALL]", "privileged: true"),
        ("cap_drop: [ALL]", "cap_drop: [NET_RAW]"),
        ('"127.0.0.1:9092:9092"', '"9092:9092"'),
        ("mem_limit: 2g", "shm_size: 2g"),
        ("${KAFKA_IMAGE}", "apache/kafka:4.1.0"),
        ("restart: on-failure", "stdin_open: false"),
    ],
)
def test_what_opens_a_service_is_found(right: str, wrong: str) -> None:
    text = FILE.read_text()
    assert right in text
    assert problems_of(services_of(text.replace(right, wrong, 1)))


def test_the_workers_differ_in_their_role_alone() -> None:
    services = services_of(FILE.read_text())
    describe, judge = services["describe"], services["judge"]
    assert (describe.pop("command"), judge.pop("command")) == ("run --role describe", "run --role judge")
    assert describe == judge
    assert "ports" not in describe, "or two workers of one role could not both run"


def test_versions_stand_in_one_file_and_each_is_used() -> None:
    given = dict(line.split("=", 1) for line in (ROOT / ".env").read_text().splitlines() if not line.startswith("#"))
    assert set(re.findall(r"\$\{(\w+)\}", FILE.read_text())) == set(given)
    assert all(re.fullmatch(r"[\w./-]+:[\w.-]+(@sha256:[0-9a-f]{64})?", image) for image in given.values())
    assert f"ARG BASE={given['PYTHON_IMAGE']}\n" in (ROOT / "deploy" / "Dockerfile").read_text()


def test_prometheus_scrapes_the_services_that_are_there() -> None:
    services = services_of(FILE.read_text())
    configured = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    (job,) = configured["scrape_configs"]
    scraped = {name: found["port"] for found in job["dns_sd_configs"] for name in found["names"]}
    ours = {name: service for name, service in services.items() if service["image"] == "stream-monitor"}
    assert set(scraped) == {name for name in ours if not name.startswith("demo")}
    page = scraped.pop("dashboard")
    assert f"127.0.0.1:8080:{page}" in services["dashboard"]["ports"]
    assert {services[name]["environment"]["STREAM_MONITOR__HTTP__PORT"] for name in scraped} == set(scraped.values())
    (alertmanagers,) = configured["alerting"]["alertmanagers"]
    assert alertmanagers["static_configs"][0]["targets"] == ["alertmanager:9093"] and "alertmanager" in services


def test_notify_tells_the_alertmanager_that_is_there() -> None:
    settings = parse(yaml.safe_load((ROOT / "deploy" / "notify.yaml").read_text()))
    assert receiver_problems(settings.notify) == []
    (receiver,) = settings.notify.receivers.values()
    assert isinstance(receiver, AlertmanagerSettings) and receiver.url == "http://alertmanager:9093"
