"""Notifications on a real Apache Kafka: each message once, through kills at each step, whatever other receivers do."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from standardwebhooks import Webhook
from typer.testing import CliRunner

from stream_monitor.cli.main import app as command_line
from stream_monitor.config.settings import Settings, parse
from stream_monitor.errors import BrokerError
from stream_monitor.events.contracts import Alert
from stream_monitor.events.rollouts import RolloutDecision
from stream_monitor.kafka.follower import FollowedRecord
from stream_monitor.kafka.tail import tail
from stream_monitor.kafka.topic_reader import TopicReader
from stream_monitor.kafka.topics import create
from tests.dashboard import stories
from tests.kafka.test_dashboard import Publisher
from tests.notify.servers import Handler, Service, answer, close, service
from tests.notify.stories import KEY, alert
from tests.patience import PATIENCE_S, until

pytestmark = pytest.mark.kafka


@pytest.fixture
def there() -> Iterator[Service]:
    with service() as found:
        yield found


class App:
    """An app whose judge is the test, and the command `notify` in a process of its own."""

    def __init__(self, kafka: str, folder: Path, notify: dict[str, Any]) -> None:
        self.raw: dict[str, Any] = {
            "app": f"t{uuid.uuid4().hex[:10]}", "kafka": {"bootstrap_servers": kafka}, "topics": {"partitions": 2},
            "http": {"port": 0}, "notify": {"group_wait": "100ms"} | notify,
        }  # fmt: skip
        self.rules: Settings = parse(self.raw)
        self.config, self.log = folder / "settings.yaml", folder / "log"
        self.config.write_text(yaml.safe_dump(self.raw))
        create(self.rules)
        self.judge = Publisher(self.rules)

    def publish(self, *alerts: Alert) -> None:
        records = [FollowedRecord("alerts", 0, 0, 0, one.model.encode(), msgspec.json.encode(one)) for one in alerts]
        self.judge.publish(records)

    @contextmanager
    def notify(self) -> Iterator[subprocess.Popen[bytes]]:
        command = [sys.executable, "-m", "stream_monitor", "notify", "-c", str(self.config)]
        with self.log.open("ab") as log, subprocess.Popen(command, stderr=log) as process:
            try:
                yield process
            finally:
                process.kill()

    def run(self, *arguments: str) -> Any:
        return CliRunner().invoke(command_line, [*arguments, "-c", str(self.config)], catch_exceptions=False)

    def is_new(self, receiver: str = "hook") -> bool:
        """Whether the receiver has not committed yet; a broker that is starting does not tell."""
        reader = TopicReader(self.rules)
        try:
            return len(reader.committed(f"notify.{receiver}", reader.partitions("alerts"))) < 2
        except BrokerError:
            return True


def hook(there: Service, path: str = "hook") -> dict[str, Any]:
    return {"kind": "webhook", "url": f"{there.url}/{path}", "key": KEY, "allow_private": True}


def told(there: Service, path: str = "hook") -> list[Any]:
    return [json.loads(one.body) for one in there.received if one.path == f"/{path}"]


def types(there: Service, path: str = "hook") -> list[str]:
    return [one["type"] for one in told(there, path)]


def test_an_incident_is_told_from_its_beginning_to_its_end_and_a_restart_repeats_nothing(
    kafka: str, tmp_path: Path, there: Service
) -> None:
    app = App(kafka, tmp_path, {"receivers": {"hook": hook(there)}, "link": "https://page.example"})
    app.publish(alert("old-1"), alert("gone-1", model="other"), alert("gone-1", "resolved", model="other"))
    with app.notify() as process:
        until(lambda: types(there) == ["digest"], "what was open when the receiver was new")
        assert told(there)[0]["text"][0] == "when this receiver was new: 1 open"
        app.publish(alert("a-1"), alert("a-2", segment="country=DE"), alert("b-1", measure="score"))
        until(lambda: len(there.received) == 2, "the message")
        assert told(there)[1]["incident"]["id"] == "a" and told(there)[1]["together"][0]["id"] == "b"
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
    app.publish(alert("a-1", "resolved"), alert("a-2", "resolved", segment="country=DE"))
    with app.notify() as process:
        until(lambda: len(there.received) == 3, "the end")
        assert told(there)[2]["type"] == "incident.resolved" and told(there)[2]["thread"] == told(there)[1]["thread"]
        app.publish(alert("old-1", "resolved"), alert("c-1", kind="silence"))
        until(lambda: sorted(types(there)[3:]) == ["incident.resolved", "silence"], "what came after")
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
    shown = app.run("notify", "history")
    assert shown.exit_code == 0 and shown.output.count("sent") == 5, shown.output
    assert "hunter2" not in app.log.read_text() and KEY not in app.log.read_text()


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 13))])
def test_kills_around_send_and_commit_lose_nothing_and_double_a_message_at_most(
    kafka: str, tmp_path: Path, there: Service, seed: int
) -> None:
    """Kills before a message is accepted, when it just was, and at random moments after that."""
    rng, accepted, kills = random.Random(seed), list[dict[str, Any]](), 4
    reached = threading.Event()

    def accept(handler: Handler) -> None:
        accepted.append(json.loads(there.received[-1].body))
        answer(200)(handler)

    def refuse(handler: Handler) -> None:
        reached.set()
        close(handler)

    there.behaviour = accept
    app = App(kafka, tmp_path, {"receivers": {"hook": hook(there)}, "rate": "1000 per hour"})
    with app.notify():
        until(lambda: not app.is_new(), "the first commit")
    number = 0
    for _ in range(kills):
        before = rng.random() < 0.3
        there.behaviour = refuse if before else accept
        reached.clear()
        goal = len(accepted) + 1
        with app.notify() as process:
            for _ in range(rng.randrange(1, 4)):
                app.publish(alert(f"i{number}-1", model=f"m{number}"))
                number += 1
            if before:
                assert reached.wait(PATIENCE_S)
            else:
                until(lambda: len(accepted) >= goal, "a message")  # noqa: B023
                threading.Event().wait(rng.choice([0, 0.002, 0.01, 0.1]))
            process.send_signal(signal.SIGKILL)
            process.wait()
    there.behaviour = accept
    with app.notify():
        until(lambda: {one["incident"]["id"] for one in accepted} == {f"i{n}" for n in range(number)}, "all")
        app.publish(alert("last-1", model="last"))
        until(lambda: accepted[-1]["incident"]["id"] == "last", "the last message")
    sent = Counter(one["id"] for one in accepted)
    assert len(sent) == number + 1, "a double has the same id"
    assert sum(sent.values()) - len(sent) <= kills


def test_a_receiver_that_is_down_or_stopped_holds_up_no_other(kafka: str, tmp_path: Path, there: Service) -> None:
    receivers = {"good": hook(there, "good"), "down": hook(there, "down"), "wrong": hook(there, "wrong")}
    app = App(kafka, tmp_path, {"receivers": receivers, "rate": "1000 per hour"})
    state = {"down": answer(500), "wrong": answer(410), "good": answer(200)}
    there.behaviour = lambda handler: state[handler.path[1:]](handler)
    with app.notify() as process:
        for receiver in receivers:
            until(lambda: not app.is_new(receiver), "the first commit")  # noqa: B023
        for number in range(5):
            app.publish(alert(f"i{number}-1", model=f"m{number}"))
            until(lambda: any(f"i{number}" == i["id"] for m in told(there, "good") for i in incidents(m)))  # noqa: B023
        until(lambda: "receiver.stopped" in types(there, "good"), "the news about the other one")
        stopped = next(one for one in told(there, "good") if one["type"] == "receiver.stopped")
        assert "the receiver wrong has stopped: it answers 410" in stopped["text"][0]
        assert len(told(there, "wrong")) == 1
        assert len({one["id"] for one in told(there, "down")}) == 1, "a message that is tried again has the same id"
        state["down"] = answer(200)
        until(
            lambda: {i["id"] for m in told(there, "down") for i in incidents(m)} == {f"i{n}" for n in range(5)}, "all"
        )
        port = re.search(r"http://127.0.0.1:(\d+)/metrics", app.log.read_text())
        assert port is not None
        ready = HTTPConnection("127.0.0.1", int(port[1]), timeout=60)
        ready.request("GET", "/readyz")
        answered = ready.getresponse()
        assert answered.status == 503 and b"the receiver wrong has stopped" in answered.read()
        ready.request("GET", "/metrics")
        metrics = ready.getresponse().read().decode()
        ready.close()
        assert 'stream_monitor_notify_stopped{receiver="wrong",role="notify"} 1.0' in metrics
        assert 'stream_monitor_notify_sent_total{receiver="good",role="notify",status="sent"} 6.0' in metrics
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0


def test_what_a_judge_published_is_told_once_signed_and_with_a_link(kafka: str, tmp_path: Path, there: Service) -> None:
    records = [record for record in stories.records() if record.role == "alerts"]
    published = [msgspec.json.decode(record.value or b"", type=Alert) for record in records]
    app = App(
        kafka, tmp_path, {"receivers": {"hook": hook(there)}, "link": "https://page.example", "rate": "1000 per hour"}
    )
    with app.notify():
        until(lambda: not app.is_new(), "the first commit")
        for record in records:
            app.judge.publish([record])
        expected = {one.incident for one in published if one.status == "open"}
        until(lambda: {i["id"] for m in told(there) for i in incidents(m)} == expected, "all incidents")
        app.publish(alert("last-1", model="last"))
        until(lambda: any(i["id"] == "last" for m in told(there) for i in incidents(m)), "the last message")
    assert len({message["id"] for message in told(there)}) == len(there.received), "each message came once"
    for one in there.received:
        message = Webhook(KEY).verify(one.body, dict(one.headers))
        assert message["link"].startswith("https://page.example/#/alerts/") and "\u202e" not in "".join(message["text"])


def test_each_decision_about_a_rollout_is_told_once_and_reports_are_not(
    kafka: str, tmp_path: Path, there: Service
) -> None:
    records = [record for record in stories.records() if record.role == "decisions"]
    published = [msgspec.json.decode(record.value or b"", type=RolloutDecision) for record in records]
    expected = {(one.rollout, one.seq) for one in published if one.decision != "progress"}
    assert len(expected) < len(published)
    app = App(kafka, tmp_path, {"receivers": {"hook": hook(there)}, "link": "https://page.example"})
    with app.notify():
        until(lambda: not app.is_new(), "the first commit")
        app.judge.publish(records)
        until(lambda: len(there.received) >= len(expected), "all decisions")
        app.publish(alert("last-1", model="last"))
        until(lambda: types(there)[-1] == "incident.opened", "the last message")
    decisions = [one for one in told(there) if one["type"] == "decision"]
    assert sorted((one["decision"]["rollout"], one["decision"]["seq"]) for one in decisions) == sorted(expected)
    assert {one["severity"] for one in decisions} == {"info", "critical"}
    assert {one["link"] for one in decisions} == {f"https://page.example/#/rollouts/fraud/fraud-{n}" for n in (42, 43)}


def test_two_instances_share_the_models_and_one_that_dies_is_replaced(
    kafka: str, tmp_path: Path, there: Service
) -> None:
    app = App(kafka, tmp_path, {"receivers": {"hook": hook(there)}, "rate": "1000 per hour"})

    def all_told(number: int) -> bool:
        return {i["id"] for m in told(there) for i in incidents(m)} >= {f"i{n}" for n in range(number)}

    with app.notify() as first:
        until(lambda: not app.is_new(), "the first commit")
        with app.notify():
            for number in range(12):
                app.publish(alert(f"i{number}-1", model=f"m{number}"))
                if number == 5:
                    first.send_signal(signal.SIGKILL)
            until(lambda: all_told(12), "what both were told")
            app.publish(*(alert(f"i{n}-1", "resolved", model=f"m{n}") for n in range(12)))
            until(
                lambda: types(there).count("incident.resolved") >= 12, "the ends, of what the dead one had opened, too"
            )
    ids = Counter(one["id"] for one in told(there))
    assert len(ids) == 24 and sum(ids.values()) <= 24 + 2, "each process that leaves a partition may repeat a message"


def test_what_nobody_accepts_is_a_dead_letter_and_the_next_message_is_tried(
    kafka: str, tmp_path: Path, there: Service
) -> None:
    app = App(kafka, tmp_path, {"receivers": {"hook": hook(there)}})
    there.behaviour = answer(422)
    with app.notify():
        until(lambda: not app.is_new(), "the first commit")
        app.publish(alert("a-1"))
        until(lambda: len(there.received) == 1, "the refusal")
        there.behaviour = answer(200)
        app.publish(alert("b-1", model="other"))
        until(lambda: len(there.received) == 2, "the next message")
    (letter,) = [json.loads(value) for value in tail(app.rules, "dead-letters", follow=False)]
    assert (letter["reason"], letter["topic"]) == ("notify", app.rules.topic("alerts"))
    assert "it answers 422" in letter["error"]


def test_a_mute_holds_and_pagerduty_hears_of_an_acknowledgement(kafka: str, tmp_path: Path, there: Service) -> None:
    duty = {"kind": "pagerduty", "routing_key": "0" * 32, "url": there.url, "allow_private": True}
    app = App(kafka, tmp_path, {"receivers": {"duty": duty}})
    mute = ["alerts", "mute", "quiet", "--from", "2001-01-01", "--for", "36500d"]
    assert app.run(*mute).exit_code == 0
    with app.notify():
        until(lambda: not app.is_new("duty"), "the first commit")
        app.publish(alert("muted-1", model="quiet"), alert("0a-1"))
        until(lambda: there.received, "the alert that is not muted")
        assert app.run("alerts", "ack", "0a-1").exit_code == 0
        until(lambda: len(there.received) == 2, "the acknowledgement")
        app.publish(alert("0a-1", "resolved"))
        until(lambda: len(there.received) == 3, "the end")
    events = [json.loads(one.body) for one in there.received]
    assert [(e["event_action"], e["dedup_key"]) for e in events] == [
        ("trigger", "0a"), ("acknowledge", "0a"), ("resolve", "0a"),
    ]  # fmt: skip


def test_the_tools_show_what_would_be_sent_and_try_it_without_showing_secrets(
    kafka: str, tmp_path: Path, there: Service
) -> None:
    team = {"kind": "slack", "token": "hunter2-hunter2", "channel": "#x", "api": there.url, "allow_private": True}
    app = App(kafka, tmp_path, {"receivers": {"hook": hook(there, "hunter2"), "team": team}})
    app.publish(alert("0a-1"))
    shown = app.run("notify", "preview", "--alert", "0a")
    assert shown.exit_code == 0 and "chat.postMessage" in shown.output and "webhook-signature" in shown.output
    assert "hunter2" not in shown.output and not there.received
    tried = app.run("notify", "test")
    assert tried.exit_code == 1 and "hook (webhook): accepted" in tried.output
    assert "team (slack): may be accepted later: its answer is not that of Slack" in tried.output
    assert "hunter2" not in tried.output and types(there, "hunter2") == ["test"]
    assert app.run("notify", "test", "hook").exit_code == 0
    checked = app.run("check")
    assert "notify.receivers.team (slack) is told of everything" in checked.output and "hunter2" not in checked.output
    assert "1 open incident(s) would be told to hook, team: amount of fraud" in checked.output
    assert "no message was sent yet" in app.run("notify", "history").output


def incidents(message: Any) -> list[Any]:
    return [one for one in (message.get("incident"), *message.get("together", [])) if one is not None]
