"""`stream-monitor status` on a real Kafka, beside an app."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from typer.testing import CliRunner

from stream_monitor.cli.main import app as command_line
from stream_monitor.config.settings import Settings
from stream_monitor.errors import TopicsError
from stream_monitor.kafka.client_config import admin
from stream_monitor.kafka.tail import tail
from stream_monitor.kafka.topics import create, inspect, ready
from stream_monitor.kafka.writer import EventWriter
from tests.kafka.test_exactly_once import workers_of
from tests.kafka.test_same_result import by_replay, events_of_a_day, read_until, rules_for
from tests.patience import PATIENCE_S
from tests.streams import Event

pytestmark = pytest.mark.kafka


def send(rules: Settings, events: list[Event]) -> None:
    feed = EventWriter(rules)
    for event in events:
        feed.send(event.role, event.id, event.raw)
    feed.flush()


@pytest.fixture(scope="module")
def stopped(kafka: str) -> Settings:
    """An app that has judged a day and was stopped; then a hundred records came."""
    rules, events = rules_for(kafka, 2), events_of_a_day(2)
    topology, expected = ready(rules), by_replay(events, rules, [])
    send(rules, events)
    with workers_of(rules, topology, 1):
        found = read_until(rules, lambda f: len(f.metrics) >= len(expected.metrics) and f.alerts == expected.alerts)
        assert found.alerts == expected.alerts
    send(rules, [event._replace(id=f"late{at}") for at, event in enumerate(events[:100])])
    return rules


def shown(rules: Settings, path: Path, *arguments: str) -> str:
    config = path / "settings.yaml"
    config.write_text(rules.model_dump_json())
    done = CliRunner().invoke(
        command_line, ["status", "-c", str(config), *arguments], catch_exceptions=False, env={"COLUMNS": "200"}
    )
    assert done.exit_code == 0, done.output
    return done.output


def test_status_says_of_each_model_what_alerts_and_topics_say(stopped: Settings, tmp_path: Path) -> None:
    found: dict[str, Any] = json.loads(shown(stopped, tmp_path, "--json"))
    alerts = [json.loads(value) for value in tail(stopped, "alerts", follow=False)]
    open_now = {a["id"] for a in alerts if a["status"] == "open"} - {
        a["id"] for a in alerts if a["status"] == "resolved"
    }
    models = {model["model"]: model for model in found["models"]}
    assert {"m0", "m1"} <= set(models)
    told = [alert["id"] for model in models.values() for alert in model.get("open", [])]
    assert set(told) <= {a["id"] for a in alerts} and open_now <= set(told) | {
        a["id"] for a in alerts if a["model"] not in models
    }
    behind = {(lag["stage"], lag["role"]): lag["records"] for lag in found["lags"]}
    counts = {role: n for (stage, role), n in behind.items() if stage == "describe"}
    assert sum(counts.values()) == 100 and behind["judge", "profiles"] < 100
    assert all(lag["largest"] <= lag["records"] for lag in found["lags"])


def test_what_a_person_sees_names_models_and_the_lag(stopped: Settings, tmp_path: Path) -> None:
    text = shown(stopped, tmp_path)
    for word in ("m0", "m1", "seen", "alerts", "labelled", "records of", "to read, at most"):
        assert word in text
    assert "m1" not in shown(stopped, tmp_path, "--model", "m0").split("describe has")[0]


def test_an_app_without_the_topic_goes_on_and_says_how_to_get_it(stopped: Settings, tmp_path: Path) -> None:
    """As an app of a former version, whose topics somebody else makes."""
    rules = stopped.model_copy(update={"app": f"{stopped.app}-old"})
    create(rules)
    client: AdminClient = admin(rules)
    client.delete_topics([rules.topic("health")])[rules.topic("health")].result(30)
    held = rules.model_copy(update={"topics": rules.topics.model_copy(update={"create": False})})
    deadline = time.monotonic() + PATIENCE_S
    while "health" in inspect(held).partitions:
        assert time.monotonic() < deadline
        time.sleep(0.1)  # the broker forgets it in its own time
    topology = ready(held)
    assert not topology.health and not inspect(held).missing
    events = events_of_a_day(2)
    expected = by_replay(events, held, [])
    send(held, events)
    with workers_of(held, topology, 1):
        found = read_until(held, lambda f: f.alerts == expected.alerts)
    assert found.alerts == expected.alerts
    with pytest.raises(TopicsError, match="topics create"):
        shown(held, tmp_path)
