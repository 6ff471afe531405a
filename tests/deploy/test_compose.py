"""The compose file, against the schema of compose files and our own bounds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

FILE = Path(__file__).parents[2] / "docker-compose.yml"


def told_of(file: Path) -> subprocess.CompletedProcess[str]:
    """The schema comes with the package: nothing is fetched."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


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


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(FILE.read_text())["services"]
    return found


def test_ports_are_published_to_this_machine_alone(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service["ports"]]
    assert ports and all(port.startswith("127.0.0.1:") for port in ports)


@pytest.mark.parametrize("name", ["stream-monitor", "page"])
def test_our_containers_are_locked_down(services: dict[str, Any], name: str) -> None:
    ours = services[name]
    assert ours["read_only"] is True and ours["cap_drop"] == ["ALL"] and ours["security_opt"] == ["no-new-privileges"]
    assert "mem_limit" in ours and "healthcheck" in ours
