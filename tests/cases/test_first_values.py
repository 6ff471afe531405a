"""Features that were null in every event, and get values."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from stream_monitor.config.settings import Settings
from tests.judge.logs import Recorded, recorded

T0, CHANGE, COUNT = 1_760_000_040_000, 4_000, 12_000
SETTINGS = Settings.model_validate({"baseline": {"first": 2_000}})


def events(seed: int, change: int = CHANGE) -> Iterator[tuple[str, bytes]]:
    """Ten predictions a second; from `change` on four features have values for the first time."""
    rng = random.Random(seed)
    for at in range(COUNT):
        late = at >= change
        features: dict[str, Any] = {"steady": rng.gauss(0, 1), "from_null": rng.gauss(0, 1) if late else None}
        features["text_from_null"] = rng.choice("ab") if late else None
        features["list_from_null"] = [1, 2] if late else None
        features["never"] = None
        if late:
            features["new_feature"] = rng.gauss(5, 1)
        event = {"id": str(at), "ts": T0 + at * 100, "model": "m", "features": features, "prediction": True}
        yield "predictions", json.dumps(event).encode()


def quality(run: Recorded) -> list[dict[str, Any]]:
    return [alert for alert in run.alerts if alert["kind"] == "quality"]


def test_a_feature_that_gets_its_first_values_rings_and_resolves_with_a_baseline() -> None:
    run = recorded(SETTINGS, events(1))
    changed = {"from_null", "text_from_null", "list_from_null", "new_feature"}
    opened = [alert for alert in quality(run) if alert["status"] == "open"]
    assert sorted(alert["measure"] for alert in opened) == sorted(changed)
    for alert in opened:
        finding = alert["findings"][0]
        assert (finding["detector"], finding["direction"]) == ("missing", "down")
        assert f"{alert['measure']} is missing less often (100 % → " in alert["reason"]
        assert alert["ts"] <= T0 + CHANGE * 100 + 60_000
    assert {alert["measure"] for alert in quality(run) if alert["status"] == "resolved"} == changed


@pytest.mark.parametrize("change", [0, 1_500])
def test_a_feature_whose_values_come_within_the_first_baseline_is_quiet(change: int) -> None:
    assert [alert for alert in quality(recorded(SETTINGS, events(2, change))) if alert["status"] == "open"] == []
