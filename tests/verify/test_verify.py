"""The verifier finds nothing in what the stages say, and everything that somebody doctored."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from stream_monitor.config.settings import Settings
from stream_monitor.events.contracts import DeadLetter, Metric
from stream_monitor.events.dead_letters import NOT_ACCEPTED
from stream_monitor.file_replay import Replay
from stream_monitor.stages.contract import Output
from stream_monitor.verify.compare import compare
from stream_monitor.verify.expected import Expected
from stream_monitor.verify.published import Published
from tests.streams import Event, quick_settings, shop

RULES = quick_settings(segments=[["country"]])
BAD = [
    Event("predictions", "x", 0, b"{"),
    Event("labels", "x", 0, b'{"id":"x"}'),
    Event("predictions", "x", 0, b'{"id":"x","ts":5}'),
]


class Recording(Replay):
    """A replay that keeps what goes from stage to stage, too."""

    def __init__(self, rules: Settings, told: Published) -> None:
        self.told = told
        super().__init__(rules, self._keep)

    def _keep(self, output: Output) -> None:
        self.told.feed(output.role, output.value)

    def _judge(self, value: bytes) -> None:
        self.told.feed("profiles", value)
        super()._judge(value)


def second_opinions(event: Event) -> list[Event]:
    """Every tenth label is given again by two labelers, of whom one says something else."""
    if event.role != "labels" or not event.id.endswith("0"):
        return []
    label = json.loads(event.raw)
    return [
        event._replace(raw=json.dumps(label | change).encode())
        for change in ({"labeler": "a"}, {"labeler": "b", "label": "no"})
    ]


def both(seed: int, rules: Settings = RULES) -> tuple[Expected, Published]:
    """What the input says, and what the stages say of it in batches of 37."""
    events = [more for event in shop(seed) for more in (event, *second_opinions(event))]
    for at, bad in enumerate(BAD):
        events.insert(100 * at, bad)
    told, truth = Published(), Expected(rules)
    run = Recording(rules, told)
    for at in range(0, len(events), 37):
        run.feed((event.role, event.raw) for event in events[at : at + 37])
    run.finish()
    for role in ("predictions", "labels", "feedback"):
        for offset, event in enumerate(event for event in events if event.role == role):
            truth.feed(role, 0, offset, run.driver.started, event.raw)
    return truth, told


def problems(truth: Expected, told: Published, settled: bool = True) -> list[str]:
    return list(compare(RULES, truth, told, settled))


@pytest.mark.parametrize("seed", range(5))
def test_what_the_stages_say_is_what_the_input_says(seed: int) -> None:
    truth, told = both(seed)
    assert problems(truth, told) == []
    assert len(truth.rejected) == len(BAD)
    assert sum(counts.duplicates for counts in truth.traffic.values()) > 0
    assert sum(cell.labelled for cell in truth.performance.values()) > 100
    assert any("label_disagreement" in cell.n for cell in truth.performance.values())


SLIDING = quick_settings(
    time={"pane": "1s", "windows": ["20s/4s", "10s"], "allowed_lateness": "5s", "max_skew": "1s"},
    segments=[["country"]],
)


def test_windows_that_slide_are_held_against_the_input_each() -> None:
    truth, told = both(1, SLIDING)
    assert list(compare(SLIDING, truth, told, True)) == []
    gone = next(key for key in told.metrics if key[5] == "traffic" and key[4] - key[3] == 20_000 and key[4] % 20_000)
    del told.metrics[gone]
    (problem,) = compare(SLIDING, truth, told, True)
    assert "no record" in problem


def window(told: Published) -> list[Metric]:
    """The records of some window that has numbers."""
    return next(records for records in told.metrics.values() if "amount" in records[-1].measures)


def change(**fields: Any) -> Callable[[Published], None]:
    def doctor(told: Published) -> None:
        records = window(told)
        records[-1] = msgspec.structs.replace(records[-1], **fields)

    return doctor


def one_more(told: Published) -> None:
    records = window(told)
    records[-1] = msgspec.structs.replace(records[-1], count=records[-1].count + 1)


def other_sum(told: Published) -> None:
    summary = window(told)[-1].measures["amount"]
    summary.sum = (summary.sum or 0) + 0.01


def missing(told: Published) -> None:
    del told.metrics[next(key for key, records in told.metrics.items() if records is window(told))]


def twice(told: Published) -> None:
    window(told).append(window(told)[-1])


def delta_lost(told: Published) -> None:
    del told.traffic[next(iter(told.traffic))]


def delta_twice(told: Published) -> None:
    counts = next(iter(told.traffic.values()))
    counts.accepted *= 2


def join_lost(told: Published) -> None:
    next(cell for cell in told.performance.values() if cell.labelled).labelled -= 1


def other_label(told: Published) -> None:
    next(cell for cell in told.performance.values() if cell.total.get("error")).total["error"] -= 1


def alert_twice(told: Published) -> None:
    told.alerts[next(iter(told.alerts))] += 1


def letter_lost(told: Published) -> None:
    del told.letters[next(iter(told.letters))]


def letter_of_nothing(told: Published) -> None:
    told.letters["t", 0, 999].append("contract")


@pytest.mark.parametrize(
    ("doctor", "told_as"),
    [
        (one_more, "window"),
        (change(late=7), "window"),
        (change(parts=3), "parts are there"),
        (other_sum, "amount has sum"),
        (missing, "no record"),
        (twice, "2 final records"),
        (delta_lost, "profiles of"),
        (delta_twice, "profiles of"),
        (join_lost, "joins of"),
        (other_label, "error: n"),
        (alert_twice, "is there 2 times"),
        (letter_lost, "dead letters of"),
        (letter_of_nothing, "dead letters of t/0/999"),
    ],
)
def test_what_is_doctored_is_found(doctor: Callable[[Published], None], told_as: str) -> None:
    truth, told = both(1)
    doctor(told)
    found = problems(truth, told)
    assert any(told_as in problem for problem in found), found


def test_a_letter_about_a_message_that_nobody_accepted_is_none_about_an_event() -> None:
    published = Published()
    letter = DeadLetter(
        topic="alerts", partition=0, offset=3, reason=NOT_ACCEPTED, error="", length=0, sha256="", bytes=""
    )
    assert not published.feed("dead-letters", msgspec.json.encode(letter)) and not published.letters
