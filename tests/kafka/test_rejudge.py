"""`rejudge` and `alerts explain` beside an app on a real Kafka: what was said is said again, nothing is written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from typer.testing import CliRunner

from stream_monitor.cli.main import app as command_line
from stream_monitor.config.settings import ROLES, Settings
from stream_monitor.errors import SettingsError, StreamMonitorError, TopicsError
from stream_monitor.kafka.client_config import admin
from stream_monitor.kafka.tail import tail
from stream_monitor.kafka.topic_reader import TopicReader
from stream_monitor.kafka.topics import ready
from stream_monitor.kafka.writer import EventWriter
from tests.kafka.test_exactly_once import workers_of
from tests.kafka.test_same_result import by_replay, events_of_a_day, read_until, rules_for
from tests.schedules import rounded

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def judged(kafka: str) -> Iterator[Settings]:
    """An app over two partitions that has judged a day, and goes on running."""
    rules, events = rules_for(kafka, 2), events_of_a_day(2)
    # commands read it between two commits, on a slow machine too
    rules = rules.model_copy(update={"commit": rules.commit.model_copy(update={"interval": 2_000})})
    topology, expected = ready(rules), by_replay(events, rules, [])
    feed = EventWriter(rules)
    for event in events:
        feed.send(event.role, event.id, event.raw)
    feed.flush()
    with workers_of(rules, topology, 1):
        found = read_until(rules, lambda f: len(f.metrics) >= len(expected.metrics) and f.alerts == expected.alerts)
        assert found.alerts == expected.alerts
        yield rules


def config_of(rules: Settings, path: Path, **detection: Any) -> str:
    changed = rules.model_copy(update={"detection": rules.detection.model_copy(update=detection)})
    file = path / "settings.yaml"
    file.write_text(changed.model_dump_json())
    return str(file)


def lines_of(path: Path, topic: str) -> list[dict[str, Any]]:
    records = map(json.loads, path.read_text().splitlines())
    return sorted((rounded(r["value"]) for r in records if r["topic"] == topic), key=json.dumps)


def published(rules: Settings, role: str) -> list[dict[str, Any]]:
    return sorted((rounded(json.loads(value)) for value in tail(rules, role, follow=False)), key=json.dumps)


def run(*arguments: str) -> str:
    done = CliRunner().invoke(command_line, ["rejudge", *arguments], env={"COLUMNS": "200"}, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def row(output: str, *cells: str) -> list[int]:
    """The figures behind the first cells of a row."""
    words = [line.split() for line in output.splitlines()]
    (found,) = [w[len(cells) :] for w in words if w[: len(cells)] == list(cells) and len(w) == len(cells) + 5]
    return [int(figure.replace(",", "")) for figure in found]


def test_the_same_settings_give_the_alerts_that_were_published(judged: Settings, tmp_path: Path) -> None:
    out = tmp_path / "out.ndjson"
    output = run("-c", config_of(judged, tmp_path), "--out", str(out))
    assert lines_of(out, "alerts") == published(judged, "alerts")
    then, now, both, only_then, only_now = row(output, "all")
    assert then == now == both > 0 and only_then == only_now == 0
    assert "only now:" not in output and "other updates" not in output
    finals = [metric for metric in lines_of(out, "metrics") if metric["final"]]
    assert finals == [metric for metric in published(judged, "metrics") if metric["final"]]


def test_another_tolerance_shows_what_it_would_have_left_out(judged: Settings, tmp_path: Path) -> None:
    config = config_of(judged, tmp_path, input=(), tolerance={"psi": 100.0, "ks": 1.0})
    then, now, _, only_then, _ = row(run("-c", config, "--model", "m1"), "m1", "amount")
    assert then == only_then > 0 and now == 0
    assert "m0" not in run("-c", config, "--model", "m1")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--model", "m"], r"nothing of a model 'm'; did you mean 'm\d'"),
        (["--model", "fraud"], "nothing of a model 'fraud'; models with a baseline: m0, m1"),
        (["--until", "2000-01-01"], r"nothing was judged in that time, .* end with the pane of \d{4}-"),
        (["--since", "2200-01-01"], "nothing was judged in that time"),
        (["--model", "__all__"], "nothing was judged in that time"),  # no silence
    ],
)
def test_what_is_not_there_is_told(stopped: Settings, tmp_path: Path, arguments: list[str], why: str) -> None:
    with pytest.raises(StreamMonitorError, match=why):
        CliRunner().invoke(
            command_line, ["rejudge", "-c", config_of(stopped, tmp_path), *arguments], catch_exceptions=False
        )


def test_an_alert_is_explained_from_the_command_line(judged: Settings, tmp_path: Path) -> None:
    config, wanted = config_of(judged, tmp_path), ("m0", "amount", "all", "open")
    opened = [a for a in published(judged, "alerts") if (a["model"], a["measure"], a["segment"], a["status"]) == wanted]
    (told,) = opened
    invoke = partial(CliRunner().invoke, catch_exceptions=False)
    shown = invoke(command_line, ["alerts", "explain", told["id"][:10], "-c", config], env={"COLUMNS": "120"})
    assert shown.exit_code == 0, shown.output
    for word in (told["id"], "m0 0: amount ", "cusum", "psi", "panes, at most", "windows of 10s"):
        assert word in shown.output
    data = json.loads(invoke(command_line, ["alerts", "explain", told["id"], "-c", config, "--json"]).output)
    assert data["exact"] and rounded(data["records"][0]) == told
    with pytest.raises(StreamMonitorError, match="no alert has an id that begins with 'xyz'"):
        invoke(command_line, ["alerts", "explain", "xyz", "-c", config])


def test_nothing_is_written_and_the_app_must_be_there_with_the_same_panes(judged: Settings, tmp_path: Path) -> None:
    quiet = judged.model_copy(update={"app": "t-nobody"})
    with pytest.raises(TopicsError, match="t-nobody"):
        CliRunner().invoke(command_line, ["rejudge", "-c", config_of(quiet, tmp_path)], catch_exceptions=False)
    other = judged.model_copy(update={"segments": ()})
    with pytest.raises(SettingsError, match="what profiles are made of"):
        CliRunner().invoke(command_line, ["rejudge", "-c", config_of(other, tmp_path)], catch_exceptions=False)


@pytest.fixture(scope="module")
def stopped(kafka: str) -> Settings:
    """An app over one partition that has judged a day, and runs no more."""
    rules, events = rules_for(kafka, 1), events_of_a_day(1)
    topology, expected = ready(rules), by_replay(events, rules, [])
    feed = EventWriter(rules)
    for event in events:
        feed.send(event.role, event.id, event.raw)
    feed.flush()
    with workers_of(rules, topology, 1):
        read_until(rules, lambda f: f.alerts == expected.alerts)
    return rules


def test_the_ends_of_all_topics_stay_where_they_were(stopped: Settings, tmp_path: Path) -> None:
    before = ends_of(stopped)
    run("-c", config_of(stopped, tmp_path, persistence=3), "--out", str(tmp_path / "out.ndjson"))
    assert ends_of(stopped) == before


def test_what_has_expired_is_said(stopped: Settings, tmp_path: Path) -> None:
    (span,) = TopicReader(stopped).spans([("profiles", 0)]).values()
    left = TopicPartition(stopped.topic("profiles"), 0, span.end - 8)
    client = admin(stopped)  # it must outlive its answer
    for deleted in client.delete_records([left]).values():
        deleted.result(30)
    config = config_of(stopped, tmp_path)
    output = " ".join(run("-c", config).split())
    assert "the oldest profiles of partition 0 have expired" in output
    first = min((json.loads(v) for v in tail(stopped, "alerts", follow=False)), key=lambda alert: alert["ts"])
    with pytest.raises(StreamMonitorError, match=f"led to alert {first['id']} have expired"):
        CliRunner().invoke(command_line, ["alerts", "explain", first["id"], "-c", config], catch_exceptions=False)


def ends_of(rules: Settings) -> tuple[Any, ...]:
    audit = TopicReader(rules)
    partitions = [partition for role in ROLES for partition in audit.partitions(role)]
    profiles = audit.partitions("profiles")
    groups = [audit.committed(stage, profiles) for stage in ("judge", "audit", "tail")]
    return audit.spans(partitions), *groups
