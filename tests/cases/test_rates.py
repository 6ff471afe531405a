"""Rates that change by more than their tolerance, in streams that nobody has configured."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from stream_monitor.config.settings import Settings
from tests.judge.logs import recorded

T0 = 1_760_000_040_000
DEFAULTS = Settings()


def clicks(seed: int, before: float, after: float) -> Iterator[tuple[str, bytes]]:
    """Forty minutes of ten predictions a second, each with a click of 0 or 1; the rate changes after 25 minutes."""
    rng = random.Random(seed)
    for at in range(24_000):
        event = {"id": str(at), "ts": T0 + at * 100, "model": "m"}
        yield "predictions", json.dumps(event | {"prediction": True}).encode()
        click = rng.random() < (before if at < 15_000 else after)
        yield "feedback", json.dumps({"id": str(at), "ts": T0 + at * 100, "signals": {"click": int(click)}}).encode()


def alerts_of(events: Iterator[tuple[str, bytes]], settings: Settings = DEFAULTS) -> list[dict[str, Any]]:
    return [alert for alert in recorded(settings, events).alerts if alert["status"] == "open"]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_click_rate_that_halves_rings_within_minutes(seed: int) -> None:
    (alert,) = alerts_of(clicks(seed, 0.12, 0.06))
    assert (alert["measure"], alert["kind"], alert["findings"][0]["detector"]) == ("signal.click", "drift", "cusum")
    assert 0 <= alert["ts"] - (T0 + 1_500_000) <= 300_000
    assert "signal.click = 1 went down (1" in alert["reason"]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_click_rate_that_stays_rings_nothing(seed: int) -> None:
    assert alerts_of(clicks(seed, 0.12, 0.12)) == []
