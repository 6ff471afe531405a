"""The rules about the service: what promtool says of them, their metrics, and their runbooks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from stream_monitor.telemetry.dashboard_metrics import DashboardTelemetry
from stream_monitor.telemetry.metrics import Telemetry
from stream_monitor.telemetry.notify_metrics import NotifyTelemetry
from tests.deploy.prometheus import promtool

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
FILES = ("rules.yml", "slo.yml")


def rules_of(file: str) -> list[dict[str, Any]]:
    """The rules of a file, those that record series too."""
    found: list[dict[str, Any]] = yaml.safe_load((FOLDER / file).read_text())["groups"][0]["rules"]
    return found


RULES = [rule for file in FILES for rule in rules_of(file)]
ALERTS = [rule for rule in RULES if "alert" in rule]
NAMES = list(dict.fromkeys(rule["alert"] for rule in ALERTS))
"""Objectives have a rule for each severity, under one name."""
SECTIONS = ("What it means.", "What users notice.", "First commands.", "How it ends.")


def exposed_names() -> set[str]:
    """The names of all series that a worker, `notify` and the page can expose."""
    worker, notify = CollectorRegistry(), CollectorRegistry()
    Telemetry(worker)
    NotifyTelemetry(notify)
    registries = (worker, notify, DashboardTelemetry(lambda: ()).registry)
    suffixes = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
    return {m.name + suffix for registry in registries for m in registry.collect() for suffix in suffixes[m.type]}


def told(name: str) -> str:
    """The section of a rule in the runbooks."""
    found = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", (ROOT / "docs" / "runbooks.md").read_text(), re.M | re.S)
    assert found is not None, f"docs/runbooks.md has no section on {name}"
    return found.group(1)


def stories_of(file: str) -> Path:
    """The tests of a file of rules."""
    return FOLDER / file.replace(".yml", "_test.yml")


@pytest.mark.parametrize("file", FILES)
def test_prometheus_understands_the_rules(file: str) -> None:
    done = promtool("check", "rules", str(FOLDER / file))
    assert done.returncode == 0 and f"{len(rules_of(file))} rules found" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("file", FILES)
def test_each_rule_rings_when_it_should_and_only_then(file: str) -> None:
    done = promtool("test", "rules", str(stories_of(file)))
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_rule_has_a_story_in_which_it_rings_and_one_in_which_it_does_not() -> None:
    stories = [story for file in FILES for story in yaml.safe_load(stories_of(file).read_text())["tests"]]
    cases = [case for story in stories for case in story.get("alert_rule_test", ())]
    expected = [(case["alertname"], bool(case.get("exp_alerts"))) for case in cases]
    assert {name for name, rings in expected if rings} == set(NAMES)
    assert {name for name, rings in expected if not rings} == set(NAMES) - {"StreamMonitorWatchdog"}


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("sum by (role) (increase(", "sum by (role (increase("),
        ("severity: critical}", "severity: critical, 1st: x}"),
        ("for: 2m", "for: 2 minutes"),
        ("annotations:", "annotation:"),
        ("stream_monitor_restored < 1", "stream_monitor_restored[5m] < 1"),
    ],
)
def test_promtool_refuses_a_broken_file(tmp_path: Path, right: str, wrong: str) -> None:
    text = (FOLDER / "rules.yml").read_text()
    assert right in text
    (tmp_path / "rules.yml").write_text(text.replace(right, wrong, 1))
    assert promtool("check", "rules", str(tmp_path / "rules.yml")).returncode != 0


@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [
        ("rules.yml", "stream_monitor_lag)", "stream_monitor_lags)"),
        ("rules.yml", "> 0.01", "> 0.1"),
        ("rules.yml", "[15m])) > 0", "[15m])) >= 0"),
        ("rules.yml", '{role="judge"})', '{role="judges"})'),
        ("rules.yml", "stream_monitor_partitions > 0", "stream_monitor_partitions > 9"),
        (
            "rules.yml",
            "stream_monitor_rejects_summed_total[10m])) > 0",
            "stream_monitor_rejects_summed_total[10m])) >= 0",
        ),
        ("slo.yml", "14.4 * 0.005", "4.4 * 0.005"),
        ("slo.yml", "6 * 0.005", "26 * 0.005"),
        ("slo.yml", 'le="10.0"', 'le="30.0"'),
        ("slo.yml", "min(max by (partition)", "max(max by (partition)"),
        ("slo.yml", "== bool 0 or vector(0)", "== bool 0 or vector(1)"),
    ],
)
def test_the_stories_find_a_rule_that_says_something_else(tmp_path: Path, file: str, right: str, wrong: str) -> None:
    text = (FOLDER / file).read_text()
    assert right in text
    (tmp_path / file).write_text(text.replace(right, wrong))
    (stories := tmp_path / "stories.yml").write_text(stories_of(file).read_text())
    assert promtool("test", "rules", str(stories)).returncode != 0


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_each_expression_names_metrics_that_a_worker_has(rule: dict[str, Any]) -> None:
    assert set(re.findall(r"stream_monitor_\w+", rule["expr"])) <= exposed_names()


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_each_rule_has_a_severity_and_a_runbook(rule: dict[str, Any]) -> None:
    name = rule["alert"]
    assert rule["labels"]["severity"] in ("none", "warning", "critical")
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks.md#{name.lower()}"
    section = told(name)
    positions = [section.find(f"**{title}**") for title in SECTIONS]
    assert -1 not in positions and positions == sorted(positions), f"{name}: {', '.join(SECTIONS)}, in this order"
    assert len(re.findall(r"^    \S", section, re.M)) == 3, f"{name}: the first three commands"


def test_no_runbook_is_about_a_rule_that_is_gone() -> None:
    assert re.findall(r"^## (.*)$", (ROOT / "docs" / "runbooks.md").read_text(), re.M) == NAMES
