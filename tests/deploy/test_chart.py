"""The chart: its values against their schema, what it makes of the examples against the schemas of Kubernetes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from stream_monitor.config.settings import parse
from stream_monitor.version import __version__
from tests.deploy.helm import CHART, EXAMPLES, GOLDEN, KUBERNETES, HelmMissing, helm, template
from tests.deploy.test_rules import FILES

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
OURS = {path.stem: json.loads(path.read_text()) for path in Path(__file__).with_name("schemas").glob("*.json")}
"""Of custom resources, whose schemas no Kubernetes has: the fields that the chart uses."""
Manifest = dict[str, Any]


def manifests(text: str) -> list[Manifest]:
    return [manifest for manifest in yaml.safe_load_all(text) if manifest]


def golden(name: str) -> str:
    return (GOLDEN / f"{name}.yaml").read_text()


def merged(base: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The values as helm merges them."""
    both = {key: merged(base[key], given[key]) for key in base.keys() & given.keys() if isinstance(base[key], dict)}
    return base | given | both


def values_of(name: str) -> dict[str, Any]:
    given = yaml.safe_load((CHART / "examples" / f"{name}.yaml").read_text())
    return merged(yaml.safe_load((CHART / "values.yaml").read_text()), given)


def refusal(text: str, version: str) -> str | None:
    """Why a Kubernetes of this version would refuse manifests; None where it would not."""
    for manifest in manifests(text):
        try:
            if manifest["kind"] in OURS:
                jsonschema.validate(manifest, OURS[manifest["kind"]])
            else:
                kubernetes_validate.validate(manifest, version, strict=True)
        except (jsonschema.ValidationError, kubernetes_validate.ValidationError) as error:
            return f"{manifest['kind']}: {error.message}"
    return None


def pods_of(text: str) -> list[dict[str, Any]]:
    owners = [manifest for manifest in manifests(text) if manifest["kind"] in ("Deployment", "Job")]
    return [owner["spec"]["template"]["spec"] for owner in owners]


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_values_and_hold_settings_of_ours(name: str) -> None:
    jsonschema.validate(values_of(name), SCHEMA)
    settings = values_of(name)["settings"]
    assert parse(settings, name).app == settings["app"]


@pytest.mark.parametrize(
    "given",
    [
        {"judge": {"autoscaleCpu": 80}},
        {"judge": {"replicas": 0}},
        {"keda": {"minReplicaCount": 0}},
        {"settings": {"kafka": {"bootstrap_servers": ""}}},
        {"networkPolicy": {"brokers": []}},
        {"networkPolicy": {"brokers": [{"port": 9092}]}},
        {"networkPolicy": {"brokers": [{"ipBlock": {"cidr": "10.0.0.0/8"}, "port": 99_999}]}},
        {"secrets": [{"name": "kafka", "key": "password", "file": "../etc/passwd"}]},
        {"secrets": [{"name": "kafka", "key": "password", "value": "hunter2"}]},
        {"image": {"digest": "latest"}},
        {"dashboard": {"ingress": {"enabled": True}}},
        {"pod": {"privileged": True}},
    ],
)
def test_wrong_values_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(merged(values_of("minimal"), given), SCHEMA)


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("name", EXAMPLES)
def test_kubernetes_understands_what_the_chart_makes(name: str, version: str) -> None:
    assert refusal(golden(name), version) is None


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("containerPort: 9464", "containerPort: eighty"),
        ("replicas: 1", "replicaz: 1"),
        ("maxUnavailable: 1", "maxUnavailible: 1"),
        ("policyTypes: [Ingress, Egress]", "policyTypes: Ingress"),
        ("periodSeconds: 10", 'periodSeconds: "10"'),
        ("minReplicaCount: 2", "minReplicaCount: 0"),
        ("lagThreshold:", "lagTreshold:"),
        ("podMetricsEndpoints:", "endpoints:"),
        ("expr: vector(1)", "expression: vector(1)"),
        ("record: stream", "recorded: stream"),
    ],
)
def test_a_broken_manifest_is_refused(right: str, wrong: str) -> None:
    text = golden("everything")
    assert right in text
    assert refusal(text.replace(right, wrong, 1), KUBERNETES[-1]) is not None


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_container_is_locked_down_and_bounded(name: str) -> None:
    for pod in pods_of(golden(name)):
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True and pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in [*pod["containers"], *pod.get("initContainers", ())]:
            allowed = {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["securityContext"] == allowed
            assert set(container["resources"]) == {"requests", "limits"}
            assert set(container["resources"]["limits"]) == {"memory"}, (
                "a limit of CPU slows a worker that must catch up"
            )


@pytest.mark.parametrize("name", EXAMPLES)
def test_workers_are_asked_whether_they_live_and_not_how_far_behind_they_are(name: str) -> None:
    containers = [container for pod in pods_of(golden(name)) for container in pod["containers"]]
    workers = [container for container in containers if container["args"][0] == "run"]
    assert {"describe", "judge"} <= {worker["name"] for worker in workers}
    for worker in workers:
        paths = [worker[f"{probe}Probe"]["httpGet"]["path"] for probe in ("startup", "liveness", "readiness")]
        assert paths == ["/healthz", "/healthz", "/readyz"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_secrets_are_files(name: str) -> None:
    for pod in pods_of(golden(name)):
        for container in pod["containers"]:
            assert all("valueFrom" not in variable for variable in container["env"])
    assert [manifest for manifest in manifests(golden(name)) if manifest["kind"] == "Secret"] == []


def test_the_version_is_ours_and_rules_and_dashboards_are_the_same() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)
    for dashboard in (CHART.parent / "grafana" / "dashboards").iterdir():
        assert (CHART / "files" / dashboard.name).read_text() == dashboard.read_text()
    for name in FILES:
        assert (CHART / "files" / name).read_text() == (CHART.parent / "prometheus" / name).read_text()


@pytest.fixture(scope="module")
def _helm() -> None:
    """Helm. Without it: a loud skip, or a failure where CI is set."""
    try:
        helm("version")
    except HelmMissing as error:
        if os.environ.get("CI", "").lower() not in ("", "0", "false"):
            raise
        pytest.skip(f"NO HELM, so the chart's templates are not tested: {error}")


@pytest.mark.image
@pytest.mark.usefixtures("_helm")
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_chart_makes_the_committed_manifests(name: str) -> None:
    values = CHART / "examples" / f"{name}.yaml"
    done = template(values)
    assert done.returncode == 0, done.stderr
    assert done.stdout == golden(name), "`make chart` writes them anew"
    linted = helm("lint", "--strict", str(CHART), "--values", str(values))
    assert linted.returncode == 0, linted.stdout


@pytest.mark.image
@pytest.mark.usefixtures("_helm")
@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("networkPolicy.enabled=false", "nothing guards the ports"),
        ("settings.join.rekey=true", "set rekey.enabled"),
        ("notify.enabled=true", "name settings.notify.receivers"),
        ("judge.replicaz=3", "additional properties 'replicaz' not allowed"),
    ],
)
def test_the_chart_refuses_what_would_not_work(given: str, told: str) -> None:
    done = template(CHART / "examples" / "minimal.yaml", "--set", given)
    assert done.returncode != 0 and told in done.stderr
