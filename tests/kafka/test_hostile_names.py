"""Every command on a stream whose names a stranger chose, in a real pseudo-terminal: nothing of it steers the terminal.

A command that is new must be named in CASES.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

from stream_monitor.cli.main import app as command_line
from stream_monitor.config.settings import Settings
from stream_monitor.kafka.tail import tail
from stream_monitor.kafka.topics import ready
from stream_monitor.kafka.writer import EventWriter
from tests.hostile_names import NAMES, SURROGATE, TOO_LONG
from tests.kafka.test_exactly_once import workers_of
from tests.kafka.test_same_result import CLOSING, by_replay, read_until, rules_for
from tests.notify.stories import KEY
from tests.pseudo_terminals import in_terminal, steering
from tests.rollouts.routed import PLAN
from tests.streams import T0, Event

pytestmark = pytest.mark.kafka

ALL_IN_ONE = "".join(name for name in NAMES.values() if "\0" not in name)
"""As an argument, which cannot hold NUL."""
EACH, DRIFT = 160, 115
"""Events of each name, and those before its values drift."""
FEW = "".join(list(NAMES.values())[:3]) + "\x9b\u202e"
"""In a YAML file, which knows no halves of characters."""
CASES: dict[str, list[tuple[str, int]]] = {
    "run": [("-c WRONG", 2)],
    "demo": [("--report HOSTILE/x", 2)],
    "check": [("-c CONFIG", 0), ("-c LIMITS", 1), ("-c WRONG", 2), ("-c NOWHERE", 2)],
    "verify": [("-c CONFIG", 0), ("-c OTHER --all", 1)],
    "schema": [("HOSTILE", 2), ("alert", 0)],
    "replay": [("EVENTS -c CONFIG", 0), ("EVENTS -c CONFIG --html PAGE", 0), ("--topics -c CONFIG", 0), ("HOSTILE", 2)],
    "report": [("--html PAGE -c CONFIG", 0), ("--html HOSTILE/x", 2)],
    "dashboard": [("-c WRONG", 2), ("--host HOSTILE", 2)],
    "status": [("-c CONFIG", 0), ("-c CONFIG --json", 0), ("-c CONFIG --model HOSTILE", 0)],
    "rejudge": [("-c CONFIG --all", 0), ("-c STRICT --all", 0),
                ("-c CONFIG --model HOSTILE", 2), ("--since HOSTILE", 2)],
    "evaluate": [("--only HOSTILE", 2), ("FIGURES", 2)],
    "notify": [("-c CONFIG", 2), ("-c WRONG", 2)],
    "notify test": [("-c CONFIG", 2), ("HOSTILE -c NOTIFY", 2)],
    "notify preview": [("--alert ALERT -c NOTIFY", 0), ("--alert HOSTILE -c NOTIFY", 2),
                       ("--alert ALERT --receiver HOSTILE -c NOTIFY", 2)],
    "notify history": [("-c NOTIFY", 0)],
    "topics create": [("-c CONFIG", 0)],
    "topics check": [("-c CONFIG", 0)],
    "baseline build": [("--from EVENTS --name HOSTILE --out BASELINE", 0), ("--from EVENTS --out HOSTILE/x", 2),
                       ("--from BAD --model m", 3)],
    "baseline show": [("-c CONFIG", 0), ("BASELINE", 0), ("BASELINE --measure HOSTILE", 2), ("BAD", 2)],
    "baseline list": [("-c CONFIG", 0)],
    "alerts tail": [("-c CONFIG --no-follow", 0), ("-c CONFIG --no-follow --json", 0), ("-c CONFIG -f --last 3", 130)],
    "alerts explain": [("ALERT -c CONFIG", 0), ("ALERT -c CONFIG --json", 0), ("HOSTILE -c CONFIG", 2)],
    "metrics tail": [("-c CONFIG --no-follow", 0), ("-c CONFIG --no-follow --json", 0), ("--last HOSTILE", 2)],
    "alerts ack": [("ALERT -c CONFIG --why HOSTILE", 0), ("ALERT -c CONFIG --by HOSTILE", 2), ("HOSTILE -c CONFIG", 2)],
    "alerts mute": [("MODEL -c CONFIG --measure HOSTILE", 0), ("MODEL -c CONFIG --for HOSTILE", 2)],
    "alerts annotate": [("MODEL HOSTILE -c CONFIG", 0), ("HOSTILE HOSTILE -c CONFIG", 2)],
    "rollout start": [("PLAN -c CONFIG --dry-run", 0), ("BAD -c CONFIG", 2), ("HOSTILE -c CONFIG", 2)],
    "rollout status": [("-c CONFIG", 2), ("HOSTILE -c CONFIG", 2)],
    "rollout list": [("-c CONFIG", 1), ("-c CONFIG --json", 1)],
    "rollout watch": [("-c WRONG HOSTILE", 2)],
    "rollout approve": [("HOSTILE -c CONFIG", 2)],
    "rollout pause": [("HOSTILE -c CONFIG --reason HOSTILE", 2)],
    "rollout resume": [("HOSTILE -c CONFIG --by HOSTILE", 2)],
    "rollout promote": [("HOSTILE -c CONFIG --model HOSTILE", 2)],
    "rollout abort": [("HOSTILE -c CONFIG", 2)],
    "baseline pin": [("BASELINE -c CONFIG", 0), ("BAD -c CONFIG", 2)],
    "baseline reset": [("MODEL -c CONFIG", 0), ("HOSTILE -c CONFIG", 2)],
}  # fmt: skip
"""Arguments and exit codes of each command; what writes to the topics comes last."""


@dataclass
class Stage:
    """An app that has judged a stream of hostile names, and files with such names."""

    rules: Settings
    words: dict[str, str]


def commands(group: Any, path: str = "") -> Iterator[str]:
    for name, command in group.commands.items():
        if getattr(command, "invoke_without_command", False):
            yield path + name
        if hasattr(command, "commands"):
            yield from commands(command, f"{path}{name} ")
        else:
            yield path + name


def test_every_command_is_here() -> None:
    assert set(CASES) == set(commands(typer.main.get_command(command_line)))


def hostile_events() -> list[Event]:
    """A minute of every name as a model: its features, categories, segments, answers, labels and signals, too."""
    rng, names, found = random.Random(4), list(NAMES.values()), list[Event]()
    for at in range(EACH):
        for number, name in enumerate(names):
            ts, key = T0 + at * 400, f"{name}{at}"
            amount, other = rng.gauss(10, 2) * (1 if at < DRIFT else 3), rng.choice(names[: 8 if at < DRIFT else 3])
            event = {
                "id": key, "model": name, "version": name, "ts": ts, "prediction": other,
                "features": {name: amount, f"{name[:120]}2": other}, "tags": {"country": name}, "latency_ms": 5.0,
            }  # fmt: skip
            found.append(Event("predictions", key, ts, json.dumps(event).encode()))
            label = {"id": key, "ts": ts + 1, "label": rng.choice(names[:3]), "labeler": name}
            found.append(Event("labels", key, ts + 1, json.dumps(label).encode()))
            if at % 40 == 0 and number < 10:  # a worker knows 16 names of signals
                signals = {"id": key, "ts": ts + 2, "signals": {name: 1.0}}
                found.append(Event("feedback", key, ts + 2, json.dumps(signals).encode()))
                seen = {"ts": ts, "source": name, "model": name, "measures": {name: 1.0}}
                found.append(Event("observations", name, ts, json.dumps(seen).encode()))
    for bad in (SURROGATE, json.dumps(TOO_LONG).encode()):
        found.append(Event("predictions", "x", T0 + 60_000, b'{"id":"x","ts":%d,"model":%s}' % (T0 + 60_000, bad)))
    late = T0 + 86_400_000
    for key in ("c", "d"):  # two, for one alone may be a wrong clock
        last = {"ts": late, "source": key, "model": CLOSING, "measures": {"x": 1.0}}
        found.append(Event("observations", key, late, json.dumps(last).encode()))
        end = {"id": key, "model": CLOSING, "ts": late, "features": {}, "prediction": 1}
        found.append(Event("predictions", key, late, json.dumps(end).encode()))
    return found


@pytest.fixture(scope="module")
def stage(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    rules, events = rules_for(kafka, 1), hostile_events()
    topology, expected = ready(rules), by_replay(events, rules, [])
    assert {alert["model"] for alert in expected.alerts.values()} == set(NAMES.values())
    feed = EventWriter(rules)
    for event in events:
        feed.send(event.role, event.id, event.raw)
    feed.flush()
    with workers_of(rules, topology, 1):
        found = read_until(rules, lambda f: f.alerts == expected.alerts and f.metrics == expected.metrics)
    assert found.alerts == expected.alerts
    return Stage(rules, words_of(rules, events, tmp_path_factory.mktemp("stage")))


def words_of(rules: Settings, events: list[Event], folder: Path) -> dict[str, str]:
    """What the words of CASES stand for."""
    files = {
        word: folder / f"{word.lower()}\x1b]8;;x\x07[{word}]\u202e" for word in ("WRONG", "BAD", "FIGURES", "EVENTS")
    }
    detection = rules.detection
    changes: dict[str, dict[str, object]] = {
        "CONFIG": {},
        "OTHER": {"segments": ()},
        "STRICT": {"detection": detection.model_copy(update={"tolerance": {"psi": 100.0}, "input": ()})},
        "LIMITS": {"detection": detection.model_copy(update={"limits": (f"{FEW}.nope > 1",)})},
    }
    for word, change in changes.items():
        files[word] = folder / f"{word.lower()}.yaml"
        files[word].write_text(json.dumps(rules.model_copy(update=change).model_dump(mode="json")))
    receivers = {
        "hook": {"kind": "webhook", "url": "https://hook.example", "key": KEY},
        "team": {"kind": "slack", "token": "x", "channel": "#x"},
        "mail": {"kind": "email", "host": "mail.example", "sender": "a@b.example", "to": ["c@d.example"]},
    }
    notify = rules.model_dump(mode="json") | {"notify": {"receivers": receivers}}
    files["NOTIFY"] = folder / "notify.yaml"
    files["NOTIFY"].write_text(json.dumps(notify))
    files["WRONG"].write_text(json.dumps({ALL_IN_ONE: 1, "time": {"pane": ALL_IN_ONE}, "topics": {ALL_IN_ONE: 2}}))
    files["BAD"].write_bytes(json.dumps({ALL_IN_ONE: ALL_IN_ONE}).encode() + b"\n" + SURROGATE)
    files["FIGURES"].write_text(json.dumps({"value": ALL_IN_ONE}))
    files["PLAN"] = folder / "plan\x1b[2J\u202e.yaml"
    files["PLAN"].write_text(PLAN.replace("model: fraud", f"model: {json.dumps(ALL_IN_ONE[:100])}"))
    files["EVENTS"].write_bytes(b"\n".join(event.raw for event in events))
    files["BASELINE"], files["NOWHERE"] = folder / "baseline\x1b[2J.json", folder / "nowhere\x9b\u202e"
    files["PAGE"] = folder / "page\x1b[2J\u202e.html"
    opened = (json.loads(value) for value in tail(rules, "alerts", follow=False))
    alert = next(a for a in opened if a["status"] == "open" and a["model"] == NAMES["clears the screen"])
    given = {"ALERT": alert["id"], "MODEL": NAMES["clears the screen"], "HOSTILE": ALL_IN_ONE[:200]}
    return {word: str(path) for word, path in files.items()} | given


def interrupt(process: subprocess.Popen[bytes], said: bytes) -> None:
    if said.count(b"\n") >= 3:  # all that is there
        process.send_signal(signal.SIGINT)


@pytest.mark.parametrize(
    ("command", "arguments", "code"),
    [(command, *case) for command, cases in CASES.items() for case in cases],
    ids=lambda value: str(value),
)
def test_nothing_of_a_name_steers_the_terminal(stage: Stage, command: str, arguments: str, code: int) -> None:
    line = [*command.split()]
    for word in arguments.split():
        first, slash, rest = word.partition("/")
        line.append(stage.words.get(first, first) + slash + rest)
    ended, text = in_terminal(line, heard=interrupt if "-f" in line else lambda process, said: None)
    assert "Traceback" not in text, text[-3_000:]
    assert (ended, steering(text)) == (code, set()), text[-3_000:]
    if code == 0 and command in ("alerts tail", "metrics tail", "baseline list") and "--json" not in line:
        for shown in ("[/nope]", "[link=http://x.example]a[/link]", ":boom:", r"c\x1b[2J\x1b[H", r"l\u202egnp.exe"):
            assert shown in text


@pytest.mark.parametrize("role", ["alerts", "metrics"])
def test_json_on_a_terminal_is_equal_to_what_is_on_the_topic(stage: Stage, role: str) -> None:
    _, text = in_terminal([role, "tail", "-c", stage.words["CONFIG"], "--no-follow", "--json"])
    shown = sorted(text.splitlines(), key=len)
    told = [json.loads(value) for value in tail(stage.rules, role, follow=False)]
    assert sorted(map(repr, map(json.loads, shown))) == sorted(map(repr, told))
