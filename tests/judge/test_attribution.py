"""Alerts say where a drift comes from, and, once the labels are there, whether it matters."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stream_monitor.baseline.build import build
from stream_monitor.settings import Settings
from tests.judge.logs import recorded
from tests.streams import T0, quick_settings

SECONDS, CHANGE, PER_SECOND = 120, 80, 20
Rng = random.Random


def rules(**sections: Any) -> Settings:
    changes = {"input": [], "outcome": [], "min_count": 100, "false_discovery_rate": 0.001}
    detection = quick_settings().detection.model_dump(mode="json") | changes
    return quick_settings(segments=[["country"]], baseline={"first": 300}, detection=detection, **sections)


def calm_country(rng: Rng, second: int) -> str:
    return rng.choice(["DE", "FR", "IT"])


def events_of(
    amount: Callable[[Rng, str, bool], float],
    country: Callable[[Rng, int], str] = calm_country,
    wrong: Callable[[bool], float | None] = lambda after: 0.2,
    seconds: int = SECONDS,
) -> Iterator[tuple[str, bytes]]:
    """Predictions of model m, and a label two seconds later unless `wrong`, the chance of an error, is None."""
    rng = Rng(11)
    for at in range(seconds * PER_SECOND):
        ts, after = T0 + at * 1_000 // PER_SECOND, at >= CHANGE * PER_SECOND
        where = country(rng, at // PER_SECOND)
        features = {"amount": amount(rng, where, after), "country": where}
        event = {"id": f"{at}", "model": "m", "ts": ts, "features": features, "prediction": True}
        yield "predictions", json.dumps(event).encode()
        share = wrong(after)
        if share is not None:
            label = {"id": f"{at}", "ts": ts + 2_000, "label": rng.random() >= share}
            yield "labels", json.dumps(label).encode()


def by_level(rng: Rng, where: str, after: bool) -> float:
    return rng.gauss({"DE": 10, "FR": 20, "IT": 30}.get(where, 25), 1)


def germany_trebles(rng: Rng, where: str, after: bool) -> float:
    return rng.gauss(10, 2) * (3 if after and where == "DE" else 1)


def records(events: Iterator[tuple[str, bytes]], **more: Any) -> list[dict[str, Any]]:
    found = recorded(rules(), events, **more).alerts
    return [alert for alert in found if alert["segment"] == "all"]


def opening(alerts: list[dict[str, Any]], measure: str) -> dict[str, Any]:
    (found,) = [a for a in alerts if (a["measure"], a["status"], a["kind"]) == (measure, "open", "drift")]
    return found


def test_a_change_of_one_segment_is_attributed_to_it() -> None:
    alert = opening(records(events_of(germany_trebles)), "amount")
    first, *others = alert["attribution"]["segments"]
    assert first["segment"] == "country=DE" and first["part"] > 0.8
    assert first["own"] == pytest.approx(first["part"], abs=0.15)
    assert all(abs(other["part"]) < 0.2 for other in others)
    assert "of it from country=DE" in alert["reason"]
    moved = alert["attribution"]["moved"]
    assert moved[0]["part"] == max(m["part"] for m in moved)
    assert moved[0]["above"] > 10 and moved[0]["now"] > moved[0]["baseline"]


def test_a_change_of_the_mix_is_told_from_one_of_values() -> None:
    def more_of_italy(rng: Rng, second: int) -> str:
        return rng.choice(["DE", "FR", "IT"] if second < CHANGE else ["DE", "IT", "IT", "IT"])

    alerts = records(events_of(by_level, more_of_italy))
    found = {one["segment"]: one for one in opening(alerts, "amount")["attribution"]["segments"]}
    italy = found["country=IT"]
    assert italy["before"] == pytest.approx(1 / 3, abs=0.1) and italy["now"] == pytest.approx(3 / 4, abs=0.1)
    assert italy["mix"] > 0.3 and abs(italy["own"]) < 0.15
    assert found["country=FR"]["mix"] > 0.2, "there is none of it, and that is a part of the movement too"
    moved = opening(alerts, "country")["attribution"]["moved"]
    assert {one["name"] for one in moved[:2]} == {"IT", "FR"}
    assert {one["name"]: one["now"] for one in moved}["FR"] == 0


def test_the_parts_of_segments_that_hold_all_events_add_up_to_one() -> None:
    """Exactly, where the baselines are of the same events: those of one file."""
    calm = build(rules(), events_of(germany_trebles, seconds=CHANGE), "calm", None).baselines
    alert = opening(records(events_of(germany_trebles), pinned=calm), "amount")
    parts = [one["part"] for one in alert["attribution"]["segments"]]
    assert len(parts) == 3 and sum(parts) == pytest.approx(1, abs=1e-5)


def test_a_segment_that_is_new_is_held_against_the_baseline_of_all() -> None:
    def spain_comes(rng: Rng, second: int) -> str:
        return calm_country(rng, second) if second < CHANGE or rng.random() < 0.5 else "ES"

    def far_in_spain(rng: Rng, where: str, after: bool) -> float:
        return rng.gauss(10, 2) + (30 if where == "ES" else 0)

    first = opening(records(events_of(far_in_spain, spain_comes)), "amount")["attribution"]["segments"][0]
    assert first["segment"] == "country=ES" and first["part"] > 0.8
    assert (first["mix"], first.get("before", 0.0)) == (0.0, 0.0)


@pytest.mark.parametrize(("after", "state"), [(0.7, "worse"), (0.2, "unchanged"), (0.0, "better")])
def test_once_labels_are_there_a_record_says_whether_the_error_moved(after: float, state: str) -> None:
    alerts = records(events_of(germany_trebles, wrong=lambda changed: after if changed else 0.2))
    alert = opening(alerts, "amount")
    assert alert["attribution"]["error"] == {"state": "unknown"}
    (outcome,) = [a for a in alerts if a["status"] == "outcome" and a["id"] == alert["id"]]
    error = outcome["attribution"]["error"]
    assert error["state"] == state and error["n"] >= 100
    assert outcome["ts"] >= alert["ts"] and error["since"] == alert["opened_ts"]
    assert error["sigmas"] == pytest.approx((error["now"] - error["baseline"]) / 0.4, rel=0.2)
    assert ("matters" in outcome["reason"]) == (state == "worse")


def test_without_labels_it_stays_unknown() -> None:
    alerts = records(events_of(germany_trebles, wrong=lambda after: None))
    assert opening(alerts, "amount")["attribution"]["error"] == {"state": "unknown"}
    assert not [a for a in alerts if a["status"] == "outcome"]


def test_how_far_labels_are_behind_does_not_show() -> None:
    events = list(events_of(germany_trebles, wrong=lambda after: 0.7 if after else 0.2))
    one, many = (records(iter(events), batch=size) for size in (100_000, 37))
    assert sorted(one, key=json.dumps) == sorted(many, key=json.dumps)
