"""Numbers at the ends of what doubles hold, wherever an event may have one: the judge goes on, its records are JSON."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest

from stream_monitor.verify.expected import Performance, _judge
from tests.judge.logs import recorded
from tests.streams import T0, quick_settings

ENDS = [0.0, 5e-324, -5e-324, 1e-310, 2.2e-308, 1e-160, 1.0, -1.0, 1e160, -1e160, 1e308, -1e308, 1.7976931348623157e308]
OURS = ("cusum", "adwin", "page_hinkley", "e_sr")
RULES: dict[str, Any] = {
    "time": {"pane": "1s", "windows": ["10s", "1m"], "allowed_lateness": "1s", "max_skew": "1s"},
    "sample": {"rows": 5},
    "detection": {
        "min_count": 20,
        "input": OURS,
        "outcome": OURS,
        "feedback": OURS,
        "numeric": ["psi", "ks", "js", "hellinger", "wasserstein", "tail"],
        "limits": ["x.mean > 1", "x.std > 1", "x.p99 > 1e200", "latency_ms.p999 > 1"],
    },
}


def events(seed: int) -> list[tuple[str, bytes]]:
    """Four minutes: a common draw of values for the first half, another one for the second."""
    rng, found = random.Random(seed), list[tuple[str, dict[str, Any]]]()
    pools = [rng.sample(ENDS, rng.choice([1, 2, 3, 6])) for _ in range(2)]
    for i in range(1_200):
        ts, pool = T0 + 200 * i, pools[i >= 700]
        features = {"x": rng.choice(pool), "y": rng.choice(pool) * rng.random(), "plain": rng.gauss(0, 1)}
        event = {"id": f"e{i}", "ts": ts, "model": "m", "features": features, "prediction": rng.choice(pool)}
        event["latency_ms"] = abs(rng.choice(pool))
        found.append(("predictions", event))
        found.append(("labels", {"id": f"e{i}", "ts": ts + 50, "label": rng.choice(pool)}))
        found.append(("feedback", {"id": f"e{i}", "ts": ts + 50, "signals": {"click": rng.choice(pool)}}))
        if i % 5 == 0:
            server = {"ts": ts, "source": "s", "model": "m", "measures": {"load": rng.choice(pool)}}
            found.append(("observations", server))
    return [(role, json.dumps(event).encode()) for role, event in found]


def numbers(value: Any) -> list[float]:
    """All numbers of a record."""
    if isinstance(value, dict):
        return [x for inner in value.values() for x in numbers(inner)]
    if isinstance(value, list):
        return [x for inner in value for x in numbers(inner)]
    return [value] if isinstance(value, float) else []


@pytest.mark.parametrize("seed", range(12))
def test_a_judge_goes_on_whatever_numbers_come(seed: int) -> None:
    made = recorded(quick_settings(**RULES), events(seed))
    counted = [m for m in made.metrics if m["kind"] == "traffic" and m["window_end"] - m["window_start"] == 10_000]
    assert sum(m["count"] for m in counted if m["final"]) == 1_200
    assert all(math.isfinite(x) for record in (*made.metrics, *made.alerts) for x in numbers(record))


def test_a_distance_that_no_double_holds_cannot_be_compared_and_verify_agrees() -> None:
    answer, label = 1.7e308, -1.7e308
    found = [
        ("predictions", {"id": f"e{i}", "ts": T0 + 200 * i, "model": "m", "prediction": answer if i % 2 else 1e200})
        for i in range(100)
    ]
    labels = [
        ("labels", {"id": f"e{i}", "ts": T0 + 200 * i + 50, "label": label if i % 2 else 0.5}) for i in range(100)
    ]
    raw = [(role, json.dumps(event).encode()) for pair in zip(found, labels, strict=True) for role, event in pair]
    made = recorded(quick_settings(**RULES), raw)
    windows = [m for m in made.metrics if m["kind"] == "performance" and m["final"] and m["segment"] == "all"]
    last = {m["window_start"]: m["measures"] for m in windows if m["window_end"] - m["window_start"] == 10_000}
    told = {name: sum(m[name]["n"] for m in last.values() if name in m) for name in ("incomparable", "absolute_error")}
    assert told == {"incomparable": 50, "absolute_error": 50}
    cell = Performance()
    for pair in ((answer, label), (1e200, 0.5)):
        _judge(cell, *pair, 1)
    assert dict(cell.n) == {"label": 2, "incomparable": 1, "absolute_error": 1, "bias": 1, "relative_error": 1}
