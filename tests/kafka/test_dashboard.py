"""The page on a real Apache Kafka: committed records are on it once, through kills; remarks come back to it."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from typer.testing import CliRunner

from stream_monitor.cli.main import app as command_line
from stream_monitor.config.settings import Settings
from stream_monitor.dashboard.facts import store_view
from stream_monitor.dashboard.reader import Reader
from stream_monitor.dashboard.store import Snapshot, Store
from stream_monitor.kafka.follower import FollowedRecord, Follower
from stream_monitor.kafka.topics import create
from tests.dashboard import stories
from tests.dashboard.conftest import DISK
from tests.patience import until

pytestmark = pytest.mark.kafka


def ask(url: str, path: str, body: Any = None) -> Any:
    """The answer of the API; None for one that is refused."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}/api/v1/{path}", data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return None


def is_read(url: str) -> bool:
    """Whether the page has read all topics to their ends."""
    reading = ask(url, "health")["reading"]
    return bool(reading["state"] == "live" and reading["behind"] == 0)


def commit(rules: Settings, stage: str, role: str, offset: int) -> None:
    """Commit an offset in the name of a stage."""
    group = {"bootstrap.servers": rules.kafka.bootstrap_servers, "group.id": f"{rules.app}.{stage}"}
    consumer = Consumer(group)
    consumer.commit(offsets=[TopicPartition(rules.topic(role), 0, offset)], asynchronous=False)
    consumer.close()


def remarks(url: str, alert: str) -> dict[str, Any]:
    """What was said of the incident of an alert; nothing while the page does not know it."""
    found = ask(url, f"alerts/{alert}")
    return {"acknowledged": None, "muted": None} if found is None else found["about"]


def persistently(step: Callable[[float], None]) -> None:
    """A step of a transaction, again while the broker says that it may be: a coordinator may be starting."""
    for last in (*[False] * 9, True):
        try:
            return step(60)
        except KafkaException as error:
            if last or not error.args[0].retriable():
                raise


class Publisher:
    """Writes output records in transactions, as judges do; some of them are aborted."""

    def __init__(self, rules: Settings, name: str = "judge") -> None:
        self.rules, identity = rules, f"{rules.app}-{name}"
        self._producer = Producer({"bootstrap.servers": rules.kafka.bootstrap_servers, "transactional.id": identity})
        persistently(self._producer.init_transactions)

    def publish(self, records: list[FollowedRecord], abort: bool = False) -> None:
        self._producer.begin_transaction()
        for record in records:
            self._producer.produce(self.rules.topic(record.role), record.value, record.key)
            self._producer.poll(0)
        persistently(self._producer.abort_transaction if abort else self._producer.commit_transaction)


@contextmanager
def page(config: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command `dashboard` in a process of its own, and its address."""
    command = [sys.executable, "-m", "stream_monitor", "dashboard", "-c", str(config), "--port", "0", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            found = (re.search(r"the page is at (http://[0-9.:]+)", line) for line in process.stderr)
            yield process, next(match.group(1) for match in found if match)
        finally:
            process.kill()


@pytest.fixture
def rules(kafka: str, tmp_path: Path) -> Settings:
    given = stories.settings(
        app=f"t{uuid.uuid4().hex[:10]}", kafka={"bootstrap_servers": kafka},
        dashboard={"path": str(tmp_path / "page.sqlite")}, topics={"partitions": 3},
    )  # fmt: skip
    create(given)
    (tmp_path / "settings.yaml").write_text(given.model_dump_json())
    return given


def contents(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """What a store holds, without offsets, which depend on the topics."""
    queries = {
        "window": "SELECT model, version, segment, kind, size, start, part, final, count, times, found, record "
        "FROM window JOIN series ON series.id = window.series",
        "alert": "SELECT id, model, incident, measure, severity, opened, ended, first, last, last_revision, outcome, "
        "outcome_revision, end_unread FROM alert",  # not when it came
        "health": "SELECT model, app, record FROM health",
        "baseline": "SELECT model, timeline, version, segment, measure, payload FROM baseline",
        "letter": "SELECT topic, number, offset, record FROM letter",
    }
    connection = sqlite3.connect(path)
    try:
        return {name: sorted(connection.execute(query), key=repr) for name, query in queries.items()}
    finally:
        connection.close()


def test_committed_records_are_on_the_page_once_through_kills_and_remarks_come_back(
    rules: Settings, tmp_path: Path
) -> None:
    records, config = list(stories.records()), tmp_path / "settings.yaml"
    publisher, third = Publisher(rules), len(stories.records()) // 3
    publisher.publish(records[:third])
    Publisher(rules, "killed").publish(records[-200:], abort=True)
    with page(config) as (process, url):
        until(lambda: len(ask(url, "models")) == 3, "the models")
        process.kill()
    publisher.publish(records[third : 2 * third])
    with page(config) as (process, _):
        publisher.publish(records[2 * third :])
        process.kill()  # in the middle of the backlog, or before it
    commit(rules, "judge", "profiles", 0)
    with page(config) as (_, url):
        until(lambda: is_read(url), "the end of the topics")
        (lag,) = ask(url, "health")["lags"]
        assert (lag["stage"], lag["topic"], lag["records"]) == ("judge", "profiles", 0)
        incident = ask(url, "incidents?state=open")["incidents"][0]
        assert ask(url, "remarks", {"remark": "acknowledgement", "incident": incident["id"], "by": "ann"})
        alert = incident["alerts"][0]["id"]
        until(lambda: remarks(url, alert)["acknowledged"], "the acknowledgement")
        said = ["alerts", "mute", incident["model"], "--from", "2001-01-01", "--for", "36500d", "-c", str(config)]
        done = CliRunner().invoke(command_line, said, catch_exceptions=False)
        assert done.exit_code == 0 and "muted" in done.output
        until(lambda: remarks(url, alert)["muted"], "the mute")
        assert ask(url, "remarks", remarks(url, alert)["muted"] | {"remark": "mute", "withdraw": True})
        until(lambda: remarks(url, alert)["muted"] is None, "the end of the mute")
        note = ["alerts", "annotate", incident["model"], "deployed v7", "--at", "2023-11-15", "-c", str(config)]
        assert CliRunner().invoke(command_line, note, catch_exceptions=False).exit_code == 0
        path = f"models/{incident['model']}?range=all"
        until(lambda: [one["text"] for one in ask(url, path)["annotations"]] == ["deployed v7"], "the annotation")
    store = Store(tmp_path / "expected.sqlite", DISK, rules.app)
    store.apply(records, {})
    store.close()
    assert contents(tmp_path / "page.sqlite") == contents(tmp_path / "expected.sqlite")


def test_an_acknowledgement_from_the_command_line_finds_the_incident(rules: Settings, tmp_path: Path) -> None:
    records = [record for record in stories.records() if record.role == "alerts"]
    Publisher(rules).publish(records)
    alert = json.loads(records[0].value or b"")
    said = ["alerts", "ack", alert["id"][:10], "--verdict", "known", "-c", str(tmp_path / "settings.yaml")]
    done = CliRunner().invoke(command_line, said, catch_exceptions=False)
    assert done.exit_code == 0 and alert["measure"] in done.output
    with page(tmp_path / "settings.yaml") as (_, url):
        until(lambda: remarks(url, alert["id"])["acknowledged"], "the acknowledgement")
        assert remarks(url, alert["id"])["acknowledged"]["verdict"] == "known"


def test_a_topic_that_is_made_anew_is_read_anew(rules: Settings, tmp_path: Path) -> None:
    store = Store(tmp_path / "page.sqlite", DISK, rules.app)
    store.apply(list(stories.records()), {("metrics", 0): 10**6, ("alerts", 1): 10**6})
    reader = Reader(rules, store)
    reader.start()
    until(lambda: reader.progress.state == "live", "the end of the topics")
    reader.close()
    assert store.positions().get(("metrics", 0), 0) == 0
    assert not contents(tmp_path / "page.sqlite")["window"]
    store.close()


def test_kafka_that_is_not_there_is_told_with_its_reason(tmp_path: Path) -> None:
    rules = stories.settings(kafka={"bootstrap_servers": "127.0.0.1:1"})
    store = Store(tmp_path / "page.sqlite", DISK, rules.app)
    reader = Reader(rules, store)
    reader.start()
    until(lambda: reader.progress.state == "away", "the reason")
    assert "127.0.0.1:1" in reader.progress.reason
    reader.close()
    store.close()


def delete_before(rules: Settings, role: str, number: int, offset: int) -> None:
    """Let Kafka delete the records of a partition before an offset, as the retention does."""
    client = AdminClient({"bootstrap.servers": rules.kafka.bootstrap_servers})
    for deleted in client.delete_records([TopicPartition(rules.topic(role), number, offset)]).values():
        deleted.result()


def read_to_the_end(rules: Settings, store: Store) -> dict[str, int]:
    """Start a reader, stop it at the ends of the topics, and return what the store says was lost."""
    reader, snapshot = Reader(rules, store), Snapshot(store.path)
    reader.start()
    until(lambda: reader.progress.state == "live" and not reader.progress.behind, "the end of the topics")
    reader.close()
    with snapshot:
        lost: dict[str, int] = store_view(snapshot, reader.progress, DISK, 0)["lost"]
    snapshot.close()
    return lost


def test_records_that_kafka_deleted_before_the_page_read_them_are_counted(rules: Settings, tmp_path: Path) -> None:
    store, producer = Store(tmp_path / "page.sqlite", DISK, rules.app), Publisher(rules)
    letter = next(r for r in stories.records() if r.role == "dead-letters")
    producer.publish([letter] * 10)  # of one key, so in one partition
    assert read_to_the_end(rules, store) == {}
    (number,) = {n for (role, n), at in store.positions().items() if role == "dead-letters" and at > 0}
    producer.publish([letter] * 6)
    delete_before(rules, "dead-letters", number, 15)
    read = store.positions()["dead-letters", number]
    for _ in range(2):  # the second time nothing more is lost
        assert read_to_the_end(rules, store) == {"dead-letters": 15 - read}
    assert store.positions()["dead-letters", number] > 15
    store.close()


def test_a_report_ends_at_the_ends_that_the_topics_had(rules: Settings) -> None:
    producer, roles = Producer({"bootstrap.servers": rules.kafka.bootstrap_servers}), ("dead-letters",)
    producer.produce(rules.topic("dead-letters"), b"{}", partition=0)
    producer.flush()
    with Follower(rules, roles, {}, {"dead-letters": None}) as follower:
        follower.follow(roles)
        ends = follower.known_ends()
        assert follower.behind(ends) == 1
        producer.produce(rules.topic("dead-letters"), b"{}", partition=0)
        producer.produce(rules.topic("dead-letters"), b"{}", partition=1)
        producer.flush()
        until(lambda: follower.poll(1, 0.1) and sum(follower.known_ends().values()) == 3, "the new ends")
        until(lambda: follower.poll(1, 0.1) and not follower.behind(ends), "the old ends")
        assert sum(ends.values()) == 1
