"""The same truth, written by two systems in two ways, is one class; what cannot be compared is told."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.profiles import classes
from stream_monitor.verify.compare import compare
from stream_monitor.verify.expected import Expected, _class
from stream_monitor.verify.published import Published
from tests.effort import examples
from tests.judge.logs import Recorded, recorded
from tests.streams import T0, quick_settings

Pair = tuple[Any, Any]
RULES = quick_settings(
    time={"pane": "1s", "windows": ["1m"], "allowed_lateness": "1m", "max_skew": "1s"}, join={"grain": "1m"}
)

SAME: dict[str, tuple[Pair, Pair]] = {
    "bool": ((True, False), (True, False)),
    "int and text": ((1, 0), ("1", "0")),
    "int and bool": ((1, 0), (True, False)),
    "text and int": (("1", "0"), (1, 0)),
    "bool and int": ((True, False), (1, 0)),
    "bool and text": ((True, False), ("true", "false")),
    "bool and Text": ((True, False), ("True", "False")),
    "Text and bool": (("True", "False"), (True, False)),
    "text and float as text": (("1", "0"), ("1.0", "0.0")),
    "int and float": ((1, 0), (1.0, 0.0)),
    "int": ((1, 0), (1, 0)),
    "17 and text": (("17", "18"), (17, 18)),
    "large and text": ((70_001, 70_002), ("70001", "70002")),
}
OTHER: dict[str, tuple[Pair, Pair]] = {
    "names and numbers": (("spam", "ham"), (1, 0)),
    "scores and truths": ((0.7, 0.2), (True, False)),
    "lists": (([1], [0]), (1, 0)),
    "no answer": ((None, None), (True, False)),
}


def run(answers: Pair, labels: Pair, count: int = 60) -> Recorded:
    rng, events = random.Random(7), []
    for i in range(count):
        truth, right = rng.random() < 0.5, i % 4 != 0
        answer, label = answers[0 if truth == right else 1], labels[0 if truth else 1]
        events.append(("predictions", {"id": f"e{i}", "ts": T0 + i * 1000, "model": "m", "prediction": answer}))
        events.append(("labels", {"id": f"e{i}", "ts": T0 + i * 1000 + 200, "label": label}))
    return recorded(RULES, [(role, json.dumps(event).encode()) for role, event in events])


def total(made: Recorded) -> dict[str, Any]:
    windows = [m for m in made.metrics if m["kind"] == "performance" and m["final"] and m["segment"] == "all"]
    found: dict[str, Any] = {"labelled": 0, "compared": 0, "error": [0, 0.0], "incomparable": 0, "pairs": 0}
    for window in windows:
        found["labelled"] += window["labelled"]
        found["compared"] += window["compared"]
        found["pairs"] += sum(n for *_, n in window.get("confusion", []))
        error = window["measures"].get("error", {"n": 0, "sum": 0.0})
        found["error"] = [found["error"][0] + error["n"], found["error"][1] + error["sum"]]
        found["incomparable"] += window["measures"].get("incomparable", {"n": 0})["n"]
    return found


@pytest.mark.parametrize("name", SAME)
def test_two_spellings_of_a_class_are_one(name: str) -> None:
    found = total(run(*SAME[name]))
    assert found["labelled"] == found["compared"] == 60
    large = name == "large and text"
    assert (found["error"] == [60, 15.0] and found["pairs"] == 60) or (large and found["error"] == [60, 15.0])


@pytest.mark.parametrize("name", OTHER)
def test_what_cannot_be_compared_is_a_count_and_an_alert(name: str) -> None:
    made = run(*OTHER[name])
    assert total(made) == {"labelled": 60, "compared": 0, "error": [0, 0.0], "incomparable": 60, "pairs": 0}
    (alert,) = [a for a in made.alerts if a["measure"] == "incomparable"]
    assert (alert["status"], alert["kind"], alert["group"]) == ("open", "quality", "outcome")
    assert "labels (100 %) could not be compared with their answer" in alert["reason"]
    assert "metrics tail --model m" in alert["reason"]


def test_case_and_blanks_are_compared_as_spelled_and_show_in_the_confusion() -> None:
    made = run(("spam", "ham"), ("Spam", "ham"))
    assert total(made)["error"][0] == 60
    pairs = {(answer, label) for m in made.metrics for answer, label, _ in m.get("confusion") or []}
    assert ("spam", "Spam") in pairs


def test_three_classes_as_numbers_have_an_error_and_regression_has_none() -> None:
    rng = random.Random(8)
    events = []
    for i in range(60):
        truth = rng.randrange(3)
        answer = truth if i % 4 else (truth + 1) % 3
        events.append(("predictions", {"id": f"c{i}", "ts": T0 + i * 1000, "model": "c", "prediction": answer}))
        events.append(("labels", {"id": f"c{i}", "ts": T0 + i * 1000 + 200, "label": truth}))
        events.append(
            ("predictions", {"id": f"r{i}", "ts": T0 + i * 1000, "model": "r", "prediction": rng.gauss(5, 2)})
        )
        events.append(("labels", {"id": f"r{i}", "ts": T0 + i * 1000 + 200, "label": rng.randrange(9)}))
    made = recorded(RULES, [(role, json.dumps(event).encode()) for role, event in events])
    windows = [m for m in made.metrics if m["kind"] == "performance" and m["final"]]
    classes_of = [m["measures"] for m in windows if m["model"] == "c"]
    assert sum(m["error"]["sum"] for m in classes_of) / sum(m["error"]["n"] for m in classes_of) == 0.25
    assert all("error" not in m["measures"] and m["compared"] == m["labelled"] for m in windows if m["model"] == "r")


def priced(shift: float, seed: int = 1, count: int = 2_400) -> list[tuple[str, bytes]]:
    """Prices whose answers are right but for 10 % of noise; half-way they become too high or too low by a part."""
    rng, events = random.Random(seed), []
    for i in range(count):
        price = rng.lognormvariate(4, 1)
        answer = price * (1 + rng.gauss(0, 0.1) + (shift if i >= count // 2 else 0))
        events.append(("predictions", {"id": f"p{i}", "ts": T0 + i * 250, "model": "m", "prediction": answer}))
        events.append(("labels", {"id": f"p{i}", "ts": T0 + i * 250 + 100, "label": price}))
    return [(role, json.dumps(event).encode()) for role, event in events]


@pytest.mark.parametrize(("shift", "direction"), [(0.1, "up"), (-0.1, "down")])
def test_answers_that_are_too_high_or_too_low_move_the_bias(shift: float, direction: str) -> None:
    made = recorded(RULES, priced(shift))
    (alert,) = [a for a in made.alerts if (a["measure"], a["status"]) == ("bias", "open")]
    assert alert["findings"][0]["direction"] == direction and alert["severity"] == "warning"
    assert T0 + 300_000 < alert["ts"] < T0 + 420_000
    assert (
        len({a["incident"] for a in made.alerts if a["measure"] in ("bias", "relative_error", "absolute_error")}) == 1
    )
    last = [m for m in made.metrics if m["kind"] == "performance" and m["final"]][-1]["measures"]
    assert (last["bias"]["mean"] > 0) == (shift > 0) and 0.08 < last["relative_error"]["mean"] < 0.16


def test_a_label_of_0_has_a_bias_and_no_relative_error() -> None:
    events: list[tuple[str, dict[str, Any]]] = []
    for i, (answer, label) in enumerate([(150.5, 0), (150.5, 100.5), (-3, -6), (1e100, 1e-300)]):
        events.append(("predictions", {"id": f"p{i}", "ts": T0 + i, "model": "m", "prediction": answer}))
        events.append(("labels", {"id": f"p{i}", "ts": T0 + i, "label": label}))
    made = recorded(RULES, [(role, json.dumps(event).encode()) for role, event in events])
    (last,) = [m["measures"] for m in made.metrics if m["kind"] == "performance" and m["final"]]
    assert (last["bias"]["n"], last["relative_error"]["n"]) == (4, 2)
    assert last["relative_error"]["sum"] == pytest.approx(50 / 100.5 + 0.5)


def test_verify_knows_bias_and_relative_error() -> None:
    events, expected, published = priced(0.1, count=400), Expected(RULES), Published()
    for offset, (role, raw) in enumerate(events):
        if role == "predictions":
            expected.feed(role, 0, offset, T0 + 10**9, raw)
    for offset, (role, raw) in enumerate(events):
        if role == "labels":
            expected.feed(role, 0, offset, T0 + 10**9, raw)
    made = recorded(RULES, events)
    for value in made.raw_log:
        published.feed("profiles", value)
    for metric in made.metrics:
        published.feed("metrics", json.dumps(metric).encode())
    assert list(compare(RULES, expected, published, settled=True)) == []
    for cell in published.performance.values():
        cell.total["bias"] += 1e-3
    assert any("bias" in problem for problem in compare(RULES, expected, published, settled=True))


def test_a_correction_takes_the_comparison_back() -> None:
    events: list[tuple[str, dict[str, Any]]] = [("predictions", {"id": "a", "ts": T0, "model": "m", "prediction": "1"})]
    events += [("labels", {"id": "a", "ts": T0 + at, "label": label}) for at, label in enumerate(["spam", 0.5, 1, 0])]
    made = recorded(RULES, [(role, json.dumps(event).encode()) for role, event in events], batch=1)
    (last,) = [m for m in made.metrics if m["kind"] == "performance" and m["final"]]
    assert last["confusion"] == [["1", "0", 1]] and last["measures"]["error"]["sum"] == 1
    assert last["measures"].get("incomparable", {"n": 0})["n"] == 0


def test_an_override_in_another_spelling_is_none() -> None:
    body = {"model": "m", "prediction": 1}
    events = [
        body | {"id": f"e{i}", "ts": T0 + i, "human_prediction": said} for i, said in enumerate([1, "1", True, 0])
    ]
    made = recorded(RULES, [("predictions", json.dumps(event).encode()) for event in events])
    (last,) = [m for m in made.metrics if m["kind"] == "traffic" and m["final"]]
    assert (last["measures"]["human_override"]["n"], last["measures"]["human_override"]["sum"]) == (4, 1)


@pytest.mark.parametrize("name", [*SAME, *OTHER])
def test_verify_expects_the_same(name: str) -> None:
    answers, labels = (SAME | OTHER)[name]
    made = run(answers, labels)
    expected, published = Expected(RULES), Published()
    rng = random.Random(7)
    for i in range(60):
        truth, right = rng.random() < 0.5, i % 4 != 0
        event = {"id": f"e{i}", "ts": T0 + i * 1000, "model": "m"}
        event["prediction"] = answers[0 if truth == right else 1]
        expected.feed("predictions", 0, i, T0 + 10**9, json.dumps(event).encode())
        label = {"id": f"e{i}", "ts": T0 + i * 1000 + 200, "label": labels[0 if truth else 1]}
        expected.feed("labels", 0, i, T0 + 10**9, json.dumps(label).encode())
    for value in made.raw_log:
        published.feed("profiles", value)
    for metric in made.metrics:
        published.feed("metrics", json.dumps(metric).encode())
    assert list(compare(RULES, expected, published, settled=True)) == []


spellings = st.one_of(
    st.sampled_from(["true", "True", "TRUE", "tRUE", "1", "1.0", "01", "-1", "-0", "1.", ".0", "+1", "1e0", "", " 1"]),
    st.text(max_size=6),
    st.from_regex(r"-?[0-9]{1,20}(\.0{1,17})?", fullmatch=True),
)


@examples(167)
@given(spellings)
def test_the_spelling_of_a_class_is_that_of_the_oracle(text: str) -> None:
    assert classes.class_of(text) == _class(text)
    assert classes.class_of(classes.class_of(text)) == classes.class_of(text)
