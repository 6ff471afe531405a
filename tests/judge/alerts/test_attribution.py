"""Alerts say where a drift comes from, and, once the labels are there, whether it matters."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stream_monitor.baseline.build import build
from stream_monitor.config.settings import Settings
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


def in_germany(how: str) -> Iterator[tuple[str, bytes]]:
    """Half of the amounts, or of the kinds, of one country go wrong."""
    rng = Rng(5)
    for role, raw in events_of(lambda rng, where, after: rng.gauss(10, 2)):
        body = json.loads(raw)
        if role == "predictions":
            features = body["features"] | {"kind": rng.choice("abc")}
            if int(body["id"]) >= CHANGE * PER_SECOND and features["country"] == "DE" and rng.random() < 0.5:
                features |= {
                    "missing": {"amount": None},
                    "type_change": {"amount": "ten"},
                    "new_categories": {"kind": "d"},
                }[how]
            body["features"] = features
        yield role, json.dumps(body).encode()


@pytest.mark.parametrize("how", ["missing", "type_change", "new_categories"])
def test_an_alert_on_quality_says_which_segment_it_comes_from(how: str) -> None:
    found = records(in_germany(how))
    alert = next(a for a in found if a["kind"] == "quality" and a["findings"][0]["detector"] == how)
    first, *others = alert["attribution"]["segments"]
    assert first["segment"] == "country=DE" and first["named"] and first["part"] == pytest.approx(1, abs=0.2)
    assert not any(other.get("named") for other in others) and "of it from country=DE" in alert["reason"]
    assert not [a for a in found if a["id"] == alert["id"] and a["status"] == "outcome"]


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
    outcomes = [a for a in alerts if a["status"] == "outcome" and a["id"] == alert["id"]]
    assert [a["revision"] for a in outcomes] == [*range(len(outcomes))]
    outcome = outcomes[-1]
    error = outcome["attribution"]["error"]
    assert error["state"] == state and error["n"] >= 100
    assert outcome["ts"] >= alert["ts"] and error["since"] == alert["opened_ts"]
    assert error["sigmas"] == pytest.approx((error["now"] - error["baseline"]) / 0.4, rel=0.25)
    assert ("matters" in outcome["reason"]) == (state == "worse")


def test_without_labels_it_stays_unknown() -> None:
    alerts = records(events_of(germany_trebles, wrong=lambda after: None))
    assert opening(alerts, "amount")["attribution"]["error"] == {"state": "unknown"}
    assert not [a for a in alerts if a["status"] == "outcome"]


def test_how_far_labels_are_behind_does_not_show() -> None:
    events = list(events_of(germany_trebles, wrong=lambda after: 0.7 if after else 0.2))
    one, many = (records(iter(events), batch=size) for size in (100_000, 37))
    assert sorted(one, key=json.dumps) == sorted(many, key=json.dumps)


# --- what sequential detectors find ---


def by_detectors(names: list[str], **sections: Any) -> Settings:
    """Windows that reject nothing beside sequential detectors of inputs and outcomes."""
    changes = {"input": names, "outcome": names, "min_count": 40, "false_discovery_rate": 1e-12}
    detection = rules().detection.model_dump(mode="json") | changes | {"tolerance": dict.fromkeys(("psi", "ks"), 1.0)}
    return quick_settings(segments=[["country"]], baseline={"first": 300}, detection=detection, **sections)


def opened_by(names: list[str], measure: str, *, batch: int = 200, **sections: Any) -> list[dict[str, Any]]:
    """The records of the first alert on a measure that opens after the change, by a sequential detector."""
    events = events_of(germany_trebles, wrong=lambda after: 0.7 if after else 0.2)
    alerts = [a for a in recorded(by_detectors(names, **sections), events, batch=batch).alerts if a["segment"] == "all"]
    first = next(a for a in alerts if a["measure"] == measure and a["opened_ts"] >= T0 + CHANGE * 1_000)
    assert first["status"] == "open" and first["findings"][0]["detector"] in names
    return [a for a in alerts if a["id"] == first["id"]]


WINDOWS = {"tumbling": ["10s", "30s"], "sliding": ["20s/2s"]}


@pytest.mark.parametrize("windows", WINDOWS.values(), ids=WINDOWS)
@pytest.mark.parametrize("name", ["cusum", "adwin"])
def test_an_alert_of_a_sequential_detector_says_where_the_change_comes_from(name: str, windows: list[str]) -> None:
    time = {"pane": "1s", "windows": windows, "allowed_lateness": "5s", "max_skew": "1s"}
    records = opened_by([name], "amount", time=time)
    alert, found = records[0], records[0]["attribution"]
    assert found["segments"][0]["segment"] == "country=DE" and found["segments"][0]["part"] > 0.4
    assert max(found["moved"], key=lambda moved: moved["now"] - moved["baseline"])["above"] > 10
    evidence = alert["findings"][0]["evidence"]
    assert evidence["now"]["n"] >= 20 and sum(evidence["bins"]["now"]) == pytest.approx(1, abs=1e-4)
    assert evidence["baseline"]["std"] > 0 and evidence["baseline"]["p50"] == pytest.approx(10, abs=1)
    assert found["since"] == alert["findings"][0]["change_ts"] == T0 + CHANGE * 1_000
    assert found["error"] == {"state": "unknown"}
    (outcome,) = [record for record in records if record["status"] == "outcome"]
    error = outcome["attribution"]["error"]
    assert error["state"] == "worse" and error["since"] <= alert["opened_ts"] < outcome["ts"]


@pytest.mark.parametrize(("windows", "since"), [(["30s"], 70), (["10s", "30s"], 80), (["30s/5s"], 80)])
def test_what_came_before_the_change_is_looked_at_only_where_nothing_shorter_is_retained(
    windows: list[str], since: int
) -> None:
    """The change begins at second 80 and is found by 82, amid a window of 30 s that began at 70."""
    time = {"pane": "1s", "windows": windows, "allowed_lateness": "5s", "max_skew": "1s"}
    alert = opened_by(["cusum"], "amount", time=time)[0]
    assert alert["ts"] == T0 + 82_000
    assert alert["attribution"]["since"] == T0 + since * 1_000
    assert alert["findings"][0]["evidence"]["now"]["n"] == (alert["ts"] - alert["attribution"]["since"]) // 50


def test_a_change_that_is_found_in_the_window_after_it_began_is_held_against_that_window_too() -> None:
    """Only a few in a hundred values change, so the CUSUM takes longer than what is left of a window."""

    def some_more(rng: Rng, where: str, after: bool) -> float:
        return rng.gauss(10, 2) + (1.2 if after else 0)

    time = {"pane": "1s", "windows": ["4s", "1m"], "allowed_lateness": "5s", "max_skew": "1s"}
    alerts = recorded(by_detectors(["cusum"], time=time), events_of(some_more)).alerts
    alert = next(
        a for a in alerts if (a["measure"], a["segment"]) == ("amount", "all") and a["opened_ts"] >= T0 + 80_000
    )
    since = alert["attribution"]["since"]
    assert 4_000 < alert["ts"] - since <= 8_000 and since % 4_000 == 0
    assert alert["findings"][0]["evidence"]["now"]["n"] == (alert["ts"] - since) // 50


def test_an_alert_on_the_error_says_which_segment_it_comes_from_and_waits_for_nothing() -> None:
    records = opened_by(["cusum"], "error")
    found = records[0]["attribution"]
    assert {one["segment"] for one in found["segments"]} == {"country=DE", "country=FR", "country=IT"}
    assert sum(one["part"] for one in found["segments"]) == pytest.approx(1, abs=0.3)
    right, wrong = sorted(found["moved"], key=lambda moved: moved.get("above", 0.0))
    assert wrong["now"] > wrong["baseline"] and right["now"] < right["baseline"]
    assert "error" not in found and all(record["status"] != "outcome" for record in records)


def test_nor_does_it_show_there_how_events_were_batched() -> None:
    one, many = (opened_by(["cusum"], "amount", batch=size) for size in (100_000, 37))
    assert sorted(one, key=json.dumps) == sorted(many, key=json.dumps)
