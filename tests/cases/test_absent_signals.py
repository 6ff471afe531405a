"""A click that never came counts as 0 once its time has passed, where the settings say so."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.config.settings import Settings
from stream_monitor.errors import SettingsError
from stream_monitor.verify.compare import compare
from stream_monitor.verify.expected import Expected
from stream_monitor.verify.published import Published
from tests.effort import examples
from tests.judge.logs import recorded
from tests.schedules import by_cluster, by_replay
from tests.streams import T0, Event, quick_settings
from tests.verify.test_verify import Recording

AFTER = 20_000
JOIN = quick_settings().join.model_dump(mode="json", exclude={"signals"})


def rules(**signals: Any) -> Settings:
    return quick_settings(join=JOIN | {"signals": signals})


ZERO = rules(click={"absent": "zero", "after": "20s", "models": "shop*"})


def shop(seed: int, count: int, rates: tuple[float, float], slow: float = 0.0) -> list[Event]:
    """Ten predictions a second of two models, and clicks of up to 15 s later; half-way the rate of clicks changes.

    A share of clicks, `slow`, comes only after `AFTER`. The last events are so late that all clicks are decided.
    """
    rng, found = random.Random(seed), list[tuple[int, Event]]()
    for i in range(count):
        ts, model = T0 + i * 100, rng.choice(["shop1", "fraud"])
        body: dict[str, Any] = {"id": f"p{i}", "ts": ts, "model": model, "prediction": True}
        found.append((ts, Event("predictions", f"p{i}", ts, json.dumps(body).encode())))
        if rng.random() < rates[i >= count // 2]:
            at = ts + (AFTER + rng.randrange(1, 20_000) if rng.random() < slow else rng.randrange(15_000))
            click = {"id": f"p{i}", "ts": at, "signals": {"click": 1}}
            found.append((at, Event("feedback", f"p{i}", at, json.dumps(click).encode())))
    for i in range(40):
        ts = T0 + count * 100 + 200_000 + i
        body = {"id": f"end{i}", "ts": ts, "model": ("shop1", "fraud")[i % 2], "prediction": True}
        found.append((ts, Event("predictions", f"end{i}", ts, json.dumps(body).encode())))
    return [event for _, event in sorted(found, key=lambda one: one[0])]


def sums(settings: Settings, events: list[Event]) -> dict[str, tuple[int, float]]:
    """(predictions with a known signal, its sum) by model, in the last records of performance windows."""
    run = recorded(settings, [(event.role, event.raw) for event in events])
    last = {(m["model"], m["window_start"], m["window_end"]): m for m in run.metrics if m["kind"] == "performance"}
    found: dict[str, tuple[int, float]] = {}
    for (model, *_), metric in last.items():
        click = metric.get("measures", {}).get("signal.click", {"n": 0, "sum": 0.0})
        n, total = found.get(model, (0, 0.0))
        found[model] = n + click["n"], total + click["sum"]
    return found


def test_predictions_without_a_click_count_as_0_and_slow_clicks_too() -> None:
    events = shop(1, 1_000, (0.3, 0.3), slow=0.3)
    sent = [json.loads(event.raw) for event in events if event.role == "predictions" and event.id[0] == "p"]
    of = {model: sum(event["model"] == model for event in sent) for model in ("shop1", "fraud")}
    slow = Expected(ZERO)
    for offset, event in enumerate(events):
        slow.feed(event.role, 0, offset, 2**60, event.raw)
    in_time = sum(cell.total["signal.click"] for key, cell in slow.performance.items() if key[:3:2] == ("shop1", "all"))
    counted = sums(ZERO, events)
    assert counted["shop1"] == (of["shop1"], in_time)
    plain = sums(rules(), events)
    assert counted["fraud"] == plain["fraud"] and plain["fraud"][0] < of["fraud"] / 2  # not a model of the setting
    assert plain["shop1"][0] == plain["shop1"][1] > in_time


@pytest.mark.parametrize("seed", range(2))
def test_a_rate_of_clicks_that_are_only_sent_when_they_happen_rings_when_it_halves(seed: int) -> None:
    """Half an hour of a click rate of .12, and as much of .06, with default settings but for the signal."""
    events = [(event.role, event.raw) for event in shop(seed, 36_000, (0.12, 0.06))]
    settings = Settings.model_validate({"join": {"signals": {"click": {"absent": "zero", "after": "20s"}}}})
    opened = [a for a in recorded(settings, events).alerts if (a["status"], a["measure"]) == ("open", "signal.click")]
    assert {a["findings"][0]["direction"] for a in opened} == {"down"}
    assert 0 < min(a["ts"] for a in opened) - (T0 + 1_800_000) < 600_000
    if not seed:
        assert [a for a in recorded(Settings(), events).alerts if a["measure"] == "signal.click"] == []


def test_what_is_told_is_what_the_input_demands() -> None:
    told, truth = Published(), Expected(ZERO)
    run, events = Recording(ZERO, told), shop(5, 1_200, (0.2, 0.2), slow=0.2)
    for at in range(0, len(events), 37):
        run.feed((event.role, event.raw) for event in events[at : at + 37])
    run.finish()
    for role in ("predictions", "feedback"):
        for offset, event in enumerate(event for event in events if event.role == role):
            truth.feed(role, 0, offset, run.driver.started, event.raw)
    truth.absent_signals(told.feedback)
    assert list(compare(ZERO, truth, told, settled=True)) == []
    assert sum(cell.n["signal.click"] for key, cell in truth.performance.items() if key[2] == "all") > 600


@examples(6)
@given(seed=st.integers(0, 10**6), partitions=st.integers(1, 3), crashes=st.sampled_from([0.0, 0.1]))
def test_zeros_do_not_depend_on_batches_partitions_or_crashes(seed: int, partitions: int, crashes: float) -> None:
    events = shop(7, 500, (0.3, 0.1), slow=0.1)
    assert by_cluster(events, ZERO, (partitions, 1), seed, crashes) == by_replay(events, ZERO)


def test_a_time_beyond_the_horizon_is_refused() -> None:
    with pytest.raises(SettingsError, match="after of 'click' must be above 0 and at most label_horizon"):
        rules(click={"absent": "zero", "after": "2m"})
    with pytest.raises(SettingsError, match="unknown key"):
        rules(click={"absnt": "zero"})
