"""Rates that change by more than their tolerance, in streams that nobody has configured."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stream_monitor.config.settings import Settings
from tests.judge.logs import recorded

T0 = 1_760_000_040_000
DEFAULTS = Settings()
BATCH = 2_000
SEEDS = [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in (2, 3))]


def clicks(seed: int, before: float, after: float) -> Iterator[tuple[str, bytes]]:
    """Forty minutes of ten predictions a second, each with a click of 0 or 1; the rate changes after 25 minutes."""
    rng = random.Random(seed)
    for at in range(24_000):
        event = {"id": str(at), "ts": T0 + at * 100, "model": "m"}
        yield "predictions", json.dumps(event | {"prediction": True}).encode()
        click = rng.random() < (before if at < 15_000 else after)
        yield "feedback", json.dumps({"id": str(at), "ts": T0 + at * 100, "signals": {"click": int(click)}}).encode()


def alerts_of(events: Iterator[tuple[str, bytes]], settings: Settings = DEFAULTS) -> list[dict[str, Any]]:
    return [alert for alert in recorded(settings, events, batch=BATCH).alerts if alert["status"] == "open"]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_click_rate_that_halves_rings_within_minutes(seed: int) -> None:
    (alert,) = alerts_of(clicks(seed, 0.12, 0.06))
    assert (alert["measure"], alert["kind"], alert["findings"][0]["detector"]) == ("signal.click", "drift", "cusum")
    assert 0 <= alert["ts"] - (T0 + 1_500_000) <= 300_000
    assert "signal.click = 1 went down (1" in alert["reason"]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_click_rate_that_stays_rings_nothing(seed: int) -> None:
    assert alerts_of(clicks(seed, 0.12, 0.12)) == []


WINDOW_MS, CHANGE = 50_000, 16_000
"""Ten events a second: 500 a window. The change comes with the first event of a window."""
WINDOWS = Settings.model_validate({"time": {"windows": ["50s"]}})


def rows(seed: int, features: Callable[[random.Random, bool], dict[str, Any]], end: int) -> Iterator[tuple[str, bytes]]:
    """Predictions whose features change at the number `CHANGE`."""
    rng = random.Random(seed)
    for at in range(end):
        event = {"id": str(at), "ts": T0 - T0 % WINDOW_MS + at * 100, "model": "m", "prediction": True}
        yield "predictions", json.dumps(event | {"features": features(rng, at >= CHANGE)}).encode()


def missing(rng: random.Random, late: bool) -> dict[str, Any]:
    amount, country = rng.gauss(50, 10), rng.choice(["DE", "FR", "IT"])
    return {"amount": None if late and rng.random() < 0.05 else amount, "country": country}


def new_category(rng: random.Random, late: bool) -> dict[str, Any]:
    return {"amount": rng.gauss(50, 10), "country": "UK" if late and rng.random() < 0.03 else rng.choice(["DE", "FR"])}


def another_type(rng: random.Random, late: bool) -> dict[str, Any]:
    amount = rng.gauss(50, 10)
    return {"amount": "n/a" if late and rng.random() < 0.03 else amount, "country": rng.choice(["DE", "FR"])}


@pytest.mark.parametrize("seeds", [range(3), pytest.param(range(10), marks=pytest.mark.long)], ids=["few", "all"])
@pytest.mark.parametrize(
    ("features", "measure", "detector", "said"),
    [
        (missing, "amount", "missing", "amount is missing more often (0 % → "),
        (new_category, "country", "new_categories", "country has categories that were not seen before (0 % → "),
        (another_type, "amount", "type_change", "amount has values of another type (0 % → "),
    ],
)
def test_a_small_share_rings_within_three_windows(
    features: Callable[[random.Random, bool], dict[str, Any]], measure: str, detector: str, said: str, seeds: range
) -> None:
    """At least nine of ten; what rings is the change alone, in the four windows after it, and says since when."""
    began, found = T0 - T0 % WINDOW_MS + CHANGE * 100, 0
    for seed in seeds:
        alerts = alerts_of(rows(seed, features, CHANGE + 2_000), WINDOWS)
        assert {alert["measure"] for alert in alerts} <= {measure}
        for alert in [alert for alert in alerts if alert["kind"] == "quality"]:
            assert alert["findings"][0]["detector"] == detector
            assert said in alert["reason"]
            assert alert["findings"][0].get("change_ts") in (None, began)
            found += alert["ts"] <= began + 3 * WINDOW_MS
    assert found >= 0.9 * len(seeds)


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_share_that_stays_rings_nothing(seed: int) -> None:
    """A tenth is always missing; a hundredth has a rare category or another type: 84 windows a seed."""

    def features(rng: random.Random, late: bool) -> dict[str, Any]:
        named = {"amount": rng.gauss(50, 10), "country": rng.choice(["DE", "FR", "IT"])}
        named["rare"] = "x" if rng.random() < 0.01 else "y"
        named["mixed"] = "n/a" if rng.random() < 0.01 else rng.gauss(0, 1)
        return {name: value for name, value in named.items() if name != "amount" or rng.random() < 0.9}

    assert alerts_of(rows(seed, features, 52_000), WINDOWS) == []


def test_a_lasting_share_is_one_alert_and_its_end_resolves_it() -> None:
    settings, began = WINDOWS, T0 - T0 % WINDOW_MS + CHANGE * 100

    def features(rng: random.Random, late: bool) -> dict[str, Any]:
        return {"amount": None if late and rng.random() < 0.04 else 1.0 * rng.randrange(100)}

    lasting = recorded(settings, rows(3, features, CHANGE + 20_000), batch=BATCH).alerts
    assert [alert["status"] for alert in lasting if alert["kind"] == "quality"][:1] == ["open"]
    assert all(alert["status"] != "resolved" for alert in lasting)
    rng = random.Random(4)
    ended = [*rows(3, features, CHANGE + 5_000)]
    for at in range(CHANGE + 5_000, CHANGE + 9_000):
        event = {"id": str(at), "ts": began + (at - CHANGE) * 100, "model": "m", "prediction": True}
        ended.append(("predictions", json.dumps(event | {"features": {"amount": 1.0 * rng.randrange(100)}}).encode()))
    records = [alert for alert in recorded(settings, ended, batch=BATCH).alerts if alert["status"] != "update"]
    assert [alert["status"] for alert in records] == ["open", "resolved"]
    assert records[1]["ts"] <= began + 500_000 + 4 * WINDOW_MS
