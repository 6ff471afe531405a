"""Slow answers that few tests see: the tail of latency, by default settings, from events to alerts and metrics."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest

from stream_monitor.config.settings import Settings, parse
from stream_monitor.events.contracts import Alert, Metric
from stream_monitor.file_replay import published
from stream_monitor.types import F64

T0 = 1_760_000_040_000
COUNT, CHANGE, PACE_MS = 12_000, 8_400, 100
FIRST = {"baseline": {"first": 4_000}}


def latencies(seed: int, slow: float) -> F64:
    """Milliseconds; from `CHANGE` on a share `slow` of them is ten times and more as long."""
    rng = np.random.default_rng(seed)
    usual, hit = rng.lognormal(3, 0.5, COUNT), rng.random(COUNT) < slow
    hit[:CHANGE] = False
    return np.where(hit, rng.uniform(1_000, 1_500, COUNT), usual)


def events(values: F64) -> Iterator[bytes]:
    for at, value in enumerate(values.tolist()):
        body = {"id": str(at), "ts": T0 + at * PACE_MS, "model": "m", "features": {"x": value}, "prediction": True}
        yield json.dumps(body | {"latency_ms": value}).encode()


def judged(values: F64, settings: Settings) -> tuple[list[Alert], list[Metric]]:
    records = list(published(settings, events(values)))
    alerts = [record for record in records if isinstance(record, Alert) and record.status == "open"]
    return alerts, [record for record in records if isinstance(record, Metric) and record.kind == "traffic"]


@cache
def slow_answers() -> tuple[list[Alert], list[Metric]]:
    limits = {"limits": ["latency_ms.p999 > 500"]}
    return judged(latencies(1, 0.05), parse(FIRST | {"detection": limits}))


def test_a_p99_that_becomes_ten_times_as_large_rings_for_latency_by_default() -> None:
    alerts, metrics = slow_answers()
    found = [alert for alert in alerts if alert.kind == "drift"]
    assert [(alert.measure, alert.findings[0].detector) for alert in found] == [("latency_ms", "tail")]
    assert 0 <= found[0].opened_ts - (T0 + CHANGE * PACE_MS) <= 60_000, "in the second window"
    ks = [m.measures["latency_ms"].tests["ks"] for m in metrics if m.measures["latency_ms"].tests]
    assert max(ks) < 0.1, "the other tests are silent"


def test_a_limit_on_p999_rings() -> None:
    alerts, _ = slow_answers()
    [limit] = [alert for alert in alerts if alert.kind == "limit"]
    assert limit.opened_ts == T0 + CHANGE * PACE_MS and limit.findings[0].score > 1_000


def test_quantiles_of_windows_are_within_two_per_cent_before_and_after() -> None:
    values, (_, metrics) = latencies(1, 0.05), slow_answers()
    seen = 0
    for metric in metrics:
        first, summary = max((metric.window_start - T0) // PACE_MS, 0), metric.measures["latency_ms"]
        now = values[first : first + metric.count]
        for share, found in ((0.95, summary.p95), (0.99, summary.p99), (0.999, summary.p999)):
            assert found == pytest.approx(np.quantile(now, share, method="inverted_cdf"), rel=0.02)
        assert summary.coarse is None
        seen += metric.count == 600
    assert seen > 15


@pytest.mark.parametrize("seed", range(3))
def test_calm_latencies_are_quiet(seed: int) -> None:
    alerts, _ = judged(latencies(seed, 0.0), parse(FIRST))
    assert not alerts


def test_tail_may_be_chosen_for_all_numbers_or_none() -> None:
    chosen: dict[str, Any] = {"numeric": ["tail"], "software": []}
    alerts, _ = judged(latencies(4, 0.05), parse(FIRST | {"detection": chosen}))
    assert {(alert.measure, alert.findings[0].detector) for alert in alerts} == {("x", "tail"), ("latency_ms", "tail")}
    assert not judged(latencies(4, 0.05), parse(FIRST | {"detection": {"software": []}}))[0]
