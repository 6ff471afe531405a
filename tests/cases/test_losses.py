"""Late, duplicate and after-idle events are judged as missing values are, by model and window."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from stream_monitor.events.contracts import Alert
from stream_monitor.judge.detection.losses import Loss, UsualShare, judge_loss
from stream_monitor.rejudge.explain import explain, find
from stream_monitor.rejudge.log_replay import RejudgeTerms
from tests.judge.logs import Recorded, recorded
from tests.streams import T0, quick_settings

Body = dict[str, Any]
COUNT = 3_000


def run(change: Callable[[int, Body, random.Random], list[Body]], **sections: Any) -> Recorded:
    rng, events = random.Random(3), list[Body]()
    for i in range(COUNT):
        body: Body = {"id": f"e{i}", "ts": T0 + i * 50, "model": "m", "features": {"x": rng.gauss(0, 1)}}
        body |= {"prediction": rng.random() < 0.3, "tags": {"server": str(i % 4)}}
        events += change(i, body, rng)
    base = quick_settings().detection.model_dump(mode="json") | {"input": []}
    rules = quick_settings(**{"baseline": {"first": 500}, "detection": base, **sections})
    return recorded(rules, [("predictions", json.dumps(event).encode()) for event in events])


def losses(made: Recorded) -> list[dict[str, Any]]:
    return [a for a in made.alerts if (a["measure"], a["kind"]) == ("volume", "quality")]


def behind(i: int, body: Body, rng: random.Random) -> list[Body]:
    """Two of four servers tell local time."""
    return [body | {"ts": body["ts"] - 7_200_000} if i % 4 >= 2 else body]


def test_half_of_the_traffic_that_is_late_from_the_beginning_is_one_alert() -> None:
    (alert,) = losses(run(behind))
    assert (alert["status"], alert["severity"]) == ("open", "critical")
    assert alert["reason"].startswith("m 0: 100 of 200 predictions (50 %) came late")
    assert "the clock of a sender is behind" in alert["reason"] and "metrics tail --model m" in alert["reason"]
    assert "usual" not in alert["findings"][0]["evidence"]


def test_the_segments_that_are_late_are_named() -> None:
    (alert,) = losses(run(behind, segments=[["server"]]))
    assert "most of it from server=2, server=3" in alert["reason"]


def test_duplicates_that_begin_open_an_alert_which_resolves_when_they_stop() -> None:
    def change(i: int, body: Body, rng: random.Random) -> list[Body]:
        return [body, body] if 1_200 <= i < 2_000 and rng.random() < 0.5 else [body]

    first, *_, last = losses(run(change))
    assert (first["status"], last["status"]) == ("open", "resolved")
    assert "have an id that came before" in first["reason"]
    assert first["ts"] <= T0 + 1_200 * 50 + 20_000
    assert first["findings"][0]["evidence"]["usual"] == 0.0
    assert sum(a["status"] == "open" for a in losses(run(change))) == 1


@pytest.mark.parametrize("share", [0.0, 0.01, 0.05])
def test_few_that_were_always_few_are_quiet(share: float) -> None:
    assert losses(run(lambda i, body, rng: [body] * (1 + (rng.random() < share)))) == []


def test_a_share_that_was_always_large_is_told_until_the_tolerance_says_otherwise() -> None:
    def change(i: int, body: Body, rng: random.Random) -> list[Body]:
        return [body] * (1 + (rng.random() < 0.4))

    assert [a["status"] for a in losses(run(change))] == ["open"]
    base = quick_settings().detection.model_dump(mode="json") | {"tolerance": {"duplicate": 1.0}}
    assert losses(run(change, detection=base)) == []


def test_the_alert_is_explained() -> None:
    made = run(behind)
    alerts = find([msgspec.convert(a, Alert) for a in made.alerts], losses(made)[0]["id"])
    found = explain(RejudgeTerms(made.driver.describe.settings, obey_log=True), 0, iter(made.log), alerts)
    assert found.exact and found.records == alerts
    by_detector = {series.detector: max(point.score for point in series.points) for series in found.series}
    assert by_detector == {"late": pytest.approx(0.5, abs=0.1), "duplicate": 0.0, "after_idle": 0.0}


def test_false_alarms_of_a_calm_share_stay_far_below_the_level() -> None:
    """500 windows of 200 events, of which a tenth is lost as always: none beyond the tolerance at 1e-3."""
    rng, detection = random.Random(1), quick_settings().detection
    usual = UsualShare()
    usual.learn(200, 2_000, 2_000)
    found = [
        judge_loss(
            Loss("late", sum(rng.random() < 0.1 for _ in range(200)), 200, T0), usual.known(2_000), detection, 1e-3
        )
        for _ in range(500)
    ]
    assert not [one for one in found if one.finding is not None]
