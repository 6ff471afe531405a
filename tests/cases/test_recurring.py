"""A regime that comes and goes: each change is told."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

from stream_monitor.config.settings import Settings
from tests.judge.logs import recorded

T0 = 1_760_000_040_000


def events() -> Iterator[tuple[str, bytes]]:
    """Ten values a second; the level halves at 600 s, returns at 900 s, halves at 1,200 s and returns at 1,500 s."""
    rng = random.Random(42)
    for at in range(18_000):
        low = at // 3_000 in (2, 4)
        event = {
            "id": str(at),
            "ts": T0 + at * 100,
            "model": "m",
            "features": {"v": rng.gauss(0.4 if low else 0.8, 0.1)},
        }
        yield "predictions", json.dumps(event).encode()


def test_a_change_that_comes_back_opens_a_new_alert_within_the_cooldown() -> None:
    settings = Settings.model_validate({"baseline": {"first": 3_000}, "detection": {"input": ["cusum", "adwin"]}})
    records = [alert for alert in recorded(settings, events()).alerts if alert["status"] != "update"]
    assert [alert["status"] for alert in records] == ["open", "resolved", "open", "resolved"]
    seconds = [(alert["ts"] - T0) // 1_000 for alert in records]
    for found, changed in zip(seconds, (600, 900, 1_200, 1_500), strict=True):
        assert changed <= found <= changed + 180, seconds
    assert len({alert["incident"] for alert in records}) == 1
