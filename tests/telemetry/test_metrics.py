"""What the process counts reaches a metric: no count leaves it nowhere."""

from __future__ import annotations

from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from stream_monitor.kafka.loop import Report
from stream_monitor.stages.statistics import DescribeStatistics, JudgeStatistics, StageStatistics
from stream_monitor.telemetry.metrics import Telemetry, exposed
from stream_monitor.version import __version__

NOT_SHOWN = {"problem", "refused"}
"""Are lines in the log; `rejects` has the figures of `refused`."""


def shown(stats: StageStatistics, *reports: Report) -> tuple[Telemetry, CollectorRegistry]:
    """Telemetry that has heard of commits."""
    registry = CollectorRegistry()
    telemetry = Telemetry(registry)
    loop = SimpleNamespace(
        stage=SimpleNamespace(stats=lambda: stats), client=SimpleNamespace(restored=1.0), owned=set()
    )
    listen = telemetry.observe(loop)
    for report in reports or (Report(),):
        listen(report)
    return telemetry, registry


def values(registry: CollectorRegistry) -> set[float]:
    return {sample.value for metric in registry.collect() for sample in metric.samples}


def figure_of(kind: Any, figure: int) -> Any:
    if "Mapping[tuple" in str(kind):
        return {("drift", "warning", "open"): figure}
    if "Mapping[int" in str(kind):
        return {3: figure}
    return {"predictions": figure} if "Mapping" in str(kind) else figure


@pytest.mark.parametrize("kind", [DescribeStatistics, JudgeStatistics])
def test_every_figure_of_a_stage_reaches_a_metric(kind: type[StageStatistics]) -> None:
    figures = {
        field.name: 1_000_003 + at for at, field in enumerate(fields(kind)) if field.name not in NOT_SHOWN
    }  # fmt: skip
    given = {field.name: figure_of(field.type, figures[field.name]) for field in fields(kind) if field.name in figures}
    _, registry = shown(kind(**given))
    seen = values(registry)
    assert {name for name, figure in figures.items() if figure not in seen} == set()


def test_every_figure_of_a_commit_reaches_a_metric() -> None:
    report = Report({"predictions": 101}, {"profiles": 102}, 103, 104.0, 105.0, {("predictions", 0): 106}, 107, 108)
    assert values(shown(StageStatistics(), report)[1]) >= {101, 102, 103, 104, 105, 106, 107, 108}


def test_one_partition_that_is_stuck_shows_beside_the_sum() -> None:
    _, registry = shown(
        StageStatistics(), Report(lag={("predictions", 0): 5, ("predictions", 1): 900, ("labels", 0): 7})
    )
    found = [
        registry.get_sample_value(f"stream_monitor_{name}", {"topic": "predictions"}) for name in ("lag", "lag_max")
    ]
    assert found == [905, 900]


def test_an_aborted_commit_counts_the_stage_no_second_time_and_is_no_commit() -> None:
    _, registry = shown(DescribeStatistics(rejects={"blank": 3}), Report(aborted=True))
    assert registry.get_sample_value("stream_monitor_rejects_total", {"reason": "blank"}) is None
    assert registry.get_sample_value("stream_monitor_last_commit_timestamp_seconds") == 0
    assert registry.get_sample_value("stream_monitor_aborts_total") == 1


def test_what_was_dropped_is_a_counter_and_keeps_its_former_name() -> None:
    _, registry = shown(DescribeStatistics(evicted=4), Report(), Report())
    text = generate_latest(registry).decode()
    assert "# TYPE stream_monitor_pending_evicted_total counter" in text
    assert "# TYPE stream_monitor_pending_evicted gauge" in text
    for name in ("stream_monitor_pending_evicted_total", "stream_monitor_pending_evicted"):
        assert f"\n{name} 8.0\n" in text


def test_the_version_and_the_role_are_told() -> None:
    text = exposed("describe", shown(StageStatistics())[1]).decode()
    assert f'stream_monitor_build_info{{role="describe",version="{__version__}"}} 1.0' in text


def test_windows_are_timed_from_the_broker_to_the_commit() -> None:
    registry = CollectorRegistry()
    telemetry = Telemetry(registry, now=lambda: 1_000.0)
    stats = JudgeStatistics(closed_windows={993_000: 3, 880_000: 1, 1_005_000: 1})
    stage = SimpleNamespace(stats=lambda: stats)
    telemetry.observe(SimpleNamespace(stage=stage, client=SimpleNamespace(restored=1.0), owned=set()))(Report())
    spent = {
        le: registry.get_sample_value("stream_monitor_detection_seconds_bucket", {"le": le})
        for le in ("0.1", "5.0", "10.0", "60.0", "300.0")
    }
    assert spent == {"0.1": 1, "5.0": 1, "10.0": 4, "60.0": 4, "300.0": 5}, "a broker's clock ahead of ours is no delay"
    assert registry.get_sample_value("stream_monitor_detection_seconds_sum") == 3 * 7 + 120
