"""Two spellings of one thing are one: numbers in tags, features and limits; what is not found is told."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

import pytest

from stream_monitor.commands.status import drawn
from stream_monitor.config.settings import Settings
from stream_monitor.events.contracts import Health
from stream_monitor.events.privacy import Privacy
from stream_monitor.file_replay import Replay
from stream_monitor.queries.status import Status
from stream_monitor.service.check import limit_problems
from stream_monitor.service.event_survey import EventSurvey
from stream_monitor.stages.contract import Output
from tests.judge.logs import recorded
from tests.streams import T0, quick_settings


def segments(bodies: list[dict[str, Any]], specs: list[list[str]]) -> Counter[str]:
    events = [
        (
            "predictions",
            json.dumps({"id": f"e{i}", "ts": T0 + i * 10, "model": "m", "prediction": True} | body).encode(),
        )
        for i, body in enumerate(bodies)
    ]
    found: Counter[str] = Counter()
    for metric in recorded(quick_settings(segments=specs), events, batch=50).metrics:
        if metric["kind"] == "traffic" and metric["final"]:
            found[metric["segment"]] += metric["count"]
    del found["all"]
    return found


@pytest.mark.parametrize("place", ["tags", "features"])
def test_a_whole_number_is_one_segment_in_any_spelling(place: str) -> None:
    spellings = [17, 17.0, "17", 17, 17.0]
    assert segments([{place: {"shop": spellings[i % 5]}} for i in range(200)], [["shop"]]) == {"shop=17": 200}


@pytest.mark.parametrize("place", ["tags", "features"])
def test_long_numbers_keep_their_digits(place: str) -> None:
    first, big = 9_007_199_254_740_992, 2**70
    found = segments([{place: {"account": [first + i % 2, big][i % 3 == 2]}} for i in range(120)], [["account"]])
    assert found == {f"account={first}": 40, f"account={first + 1}": 40, f"account={big}": 40}


def test_other_values_are_segments_of_their_own() -> None:
    values = [0.5, True, "True", "1.0", -0.0, 1e300, None]
    found = segments([{"tags": {"x": values[i % 7]}} for i in range(70)], [["x"]])
    assert found == {"x=0.5": 10, "x=true": 10, "x=True": 10, "x=1.0": 10, "x=0": 10, "x=1e+300": 10}


def test_two_long_numbers_have_two_tokens_and_two_spellings_one() -> None:
    rules = Privacy(["account"], (), "0123456789abcdef")
    assert rules.hide("account", 2**53 + 1) != rules.hide("account", 2**53)
    assert rules.hide("account", 17) == rules.hide("account", 17.0)


NAMES = [
    "payment.amount", "monthly income (EUR)", "a>b", "a < b.mean > 3", "älter", "a/b", "volume", "score", "length(y)",
    "feature.x", "two  blanks", "line\nbreak", "n" * 300, "f(x", "p50", "length (m)",
]  # fmt: skip


def limited(limits: list[str]) -> Settings:
    return quick_settings(detection={"min_count": 20, "limits": limits})


def shift(names: list[str]) -> list[tuple[str, bytes]]:
    rng, events = random.Random(2), []
    for i in range(600):
        features = {name: rng.gauss(3 if i >= 400 else 0, 1) for name in names}
        body = {"id": f"e{i}", "ts": T0 + i * 100, "model": "m", "features": features, "prediction": True}
        events.append(("predictions", json.dumps(body).encode()))
    return events


@pytest.mark.parametrize("name", NAMES)
def test_a_limit_on_a_feature_rings_whatever_its_name_is(name: str) -> None:
    text = f"feature.{name}" if name in ("volume", "score", "length(y)") else name  # else the built-in one is meant
    limit = f"{text}.mean > 2"
    made = recorded(limited([limit]), shift([name]))
    alerts = [a for a in made.alerts if a["kind"] == "limit" and a["status"] == "open"]
    assert [a["findings"][0]["detector"] for a in alerts] == [limit]
    assert alerts[0]["opened_ts"] == T0 + 40_000
    survey = EventSurvey()
    for _, raw in shift([name]):
        survey.take(raw)
    assert list(survey.notes([(limit, text)])) == []


def test_a_limit_on_an_observation_is_by_its_own_name() -> None:
    events = [
        (
            "observations",
            json.dumps({"ts": T0 + i * 100, "source": "s", "model": "m", "measures": {"cpu (%)": 5}}).encode(),
        )
        for i in range(300)
    ]
    events += [("predictions", b'{"id":"e%d","ts":%d,"model":"m"}' % (i, T0 + i * 100)) for i in range(300)]
    made = recorded(limited(["cpu (%).mean > 2"]), events)
    assert {(a["measure"], a["kind"]) for a in made.alerts} == {("cpu (%)", "limit")}


def test_a_limit_on_what_never_comes_is_in_health_and_status_until_it_comes() -> None:
    out: list[Output] = []
    rules = limited(["ammount.mean > 2", "x.mean > 9", "late one.mean > 9"])
    events = shift(["x"])
    events += [("predictions", b'{"id":"l","ts":%d,"model":"m","features":{"late one":1}}' % (T0 + 61_000))]
    run = Replay(rules, out.append)
    for at in range(0, len(events), 50):
        run.feed(events[at : at + 50])
    run.finish()
    health = [json.loads(output.value) for output in out if output.role == "health" and output.value]
    first, last = health[0], health[-1]
    assert first["unseen_limits"] == ["ammount.mean > 2", "late one.mean > 9"]
    assert last["unseen_limits"] == ["ammount.mean > 2"]

    def health_of(model: str, unseen: list[str]) -> Health:
        return Health(model=model, window_start=T0, window_end=T0 + 1, unseen_limits=unseen)

    both = [health_of("a", ["ammount.mean > 2", "x.mean > 9"]), health_of("b", ["ammount.mean > 2"])]
    told = [str(getattr(part, "pieces", "")) for part in drawn(Status(both, None, []), rules, T0)]
    assert sum("ammount.mean > 2" in line for line in told) == 1
    assert not any("x.mean > 9" in line for line in told)


def test_a_limit_on_a_private_feature_with_parentheses_is_a_problem() -> None:
    rules = quick_settings(
        privacy={"drop": ["income (EUR)"]},
        detection={"limits": ["income (EUR).mean > 2", "feature.income (EUR).n < 1"]},
    )
    assert len(limit_problems(rules)) == 2
