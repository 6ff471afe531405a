"""Dashboards: made by their generator, of metrics that a worker has, in PromQL that Prometheus understands.

How the panels look is not tested: no Grafana runs here.
"""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.prometheus import promtool
from tests.deploy.test_rules import exposed_names

FOLDER = Path(__file__).parents[2] / "deploy" / "grafana"
NAMES = ("fleet.json", "workers.json")
VARIABLES = {"$__rate_interval": "5m", "$role": ".*", "$instance": ".*"}


def dashboard(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "dashboards" / name).read_text())
    return found


def expressions() -> list[str]:
    """All expressions of all panels, with a value for each variable."""
    found = []
    for name in NAMES:
        for expression in (target["expr"] for panel in dashboard(name)["panels"] for target in panel["targets"]):
            for variable, value in VARIABLES.items():
                expression = expression.replace(variable, value)
            found.append(expression)
    return found


def recorded(folder: Path, found: list[str]) -> Path:
    """The expressions as recording rules, which promtool can read."""
    rules = [{"record": f"panel:number{at}", "expr": expression} for at, expression in enumerate(found)]
    (folder / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    return folder / "panels.yml"


def test_the_committed_files_are_those_of_the_generator() -> None:
    made = runpy.run_path(str(FOLDER / "make_dashboards.py"))["DASHBOARDS"]
    assert set(made) == set(NAMES) == {path.name for path in (FOLDER / "dashboards").iterdir()}
    for name, text in made.items():
        assert (FOLDER / "dashboards" / name).read_text(encoding="utf-8") == text, name


def test_prometheus_understands_every_expression(tmp_path: Path) -> None:
    done = promtool("check", "rules", str(recorded(tmp_path, expressions())))
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_broken_expression_is_found(tmp_path: Path) -> None:
    assert promtool("check", "rules", str(recorded(tmp_path, ["sum by (topic (rate(x[5m]))"]))).returncode != 0


def test_every_expression_names_metrics_that_a_worker_has() -> None:
    assert set(re.findall(r"stream_monitor_\w+", " ".join(expressions()))) <= exposed_names()


@pytest.mark.parametrize("name", NAMES)
def test_every_variable_is_defined_and_every_source_is_provisioned(name: str) -> None:
    text = json.dumps(dashboard(name))
    defined = {variable["name"] for variable in dashboard(name).get("templating", {}).get("list", ())}
    assert set(re.findall(r"\$(\w+)", text)) - {"__rate_interval"} == defined
    provisioned = yaml.safe_load((FOLDER / "provisioning" / "datasources" / "prometheus.yml").read_text())
    assert set(re.findall(r'"uid": "(prometheus[^"]*)"', text)) == {one["uid"] for one in provisioned["datasources"]}


def test_grafana_finds_the_dashboards_where_compose_mounts_them() -> None:
    provider = yaml.safe_load((FOLDER / "provisioning" / "dashboards" / "stream_monitor.yml").read_text())["providers"]
    services = yaml.safe_load((FOLDER.parents[1] / "docker-compose.yml").read_text())["services"]
    place = provider[0]["options"]["path"]
    assert f"./deploy/grafana/dashboards:{place}:ro" in services["grafana"]["volumes"]
