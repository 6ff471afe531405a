"""How far a partition has come when its predictions are read before their labels."""

from __future__ import annotations

import json

import pytest

from stream_monitor.describe.stage import Describe
from stream_monitor.kafka.in_memory import MemoryRecord
from stream_monitor.profiles.bin_catalog import BinCatalog
from stream_monitor.profiles.names import NEVER
from stream_monitor.profiles.records import PartitionTime, WatermarkRecord, read_record
from stream_monitor.stages.contract import Partition, PartitionStatus, Position
from stream_monitor.stages.topology import Topology
from tests.schedules import by_cluster, by_replay
from tests.streams import T0, Event, quick_settings, shop

DAY = 86_400_000
RULES = quick_settings()
LATENESS, HORIZON = RULES.time.allowed_lateness, RULES.join.label_horizon
PARTS: list[Partition] = [("predictions", 0), ("labels", 0), ("feedback", 0)]
READING, DONE = PartitionStatus(at_end=False, idle=False), PartitionStatus(at_end=True, idle=True)
BODY: dict[str, dict[str, object]] = {"predictions": {"prediction": 1, "features": {}}, "labels": {"label": 1}}


def started() -> Describe:
    stage = Describe(RULES, Topology(1, 1, 1), BinCatalog())
    stage.assign(dict.fromkeys(PARTS, Position(0, "")), {})
    return stage


def step(stage: Describe, role: str, ts: int) -> None:
    """Two events of the same time: one alone does not move a clock over a gap."""
    bodies = [{"id": id_, "model": "m", "ts": ts, **BODY[role]} for id_ in ("e", "f")]
    stage.process(role, [MemoryRecord(json.dumps(body).encode(), 0, 0, ts, b"e", None) for body in bodies])


def time_of(stage: Describe, labels: PartitionStatus, feedback: PartitionStatus = DONE) -> PartitionTime:
    status = dict(zip(PARTS, (DONE, labels, feedback), strict=True))
    outputs = list(stage.flush(status))
    told = [read_record(output.value) for output in outputs if output.role == "profiles"]
    (found,) = [record for record in told if isinstance(record, WatermarkRecord)]
    stage.offsets(range(sum(output.tracked for output in outputs)))
    stage.committed()
    return found.partitions[0]


def test_a_gap_of_predictions_does_not_pass_labels_that_are_still_to_be_read() -> None:
    stage = started()
    step(stage, "predictions", T0)
    step(stage, "predictions", T0 + DAY)
    assert time_of(stage, READING).label == NEVER
    step(stage, "labels", T0 + 1_000)
    assert time_of(stage, READING).label == T0 + 1_000 - LATENESS
    assert time_of(stage, DONE).label == T0 + DAY - LATENESS - HORIZON
    assert time_of(stage, DONE._replace(at_end=False, merged_by_time=True)).label == T0 + DAY - LATENESS - HORIZON


def test_without_labels_the_clock_is_that_of_predictions() -> None:
    stage = started()
    step(stage, "predictions", T0)
    assert time_of(stage, READING).label == NEVER
    assert time_of(stage, DONE).label == T0 - LATENESS


def test_labels_that_never_stop_hold_windows_no_longer_than_what_lay_before_them() -> None:
    """At each commit a few more have come, whose times stand still."""
    stage = started()
    step(stage, "labels", T0)
    step(stage, "predictions", T0 + DAY)
    assert time_of(stage, READING._replace(position=1, end=10)).label == T0 - LATENESS
    step(stage, "predictions", T0 + 2 * DAY)
    assert time_of(stage, READING._replace(position=9, end=20)).label == T0 - LATENESS
    assert time_of(stage, READING._replace(position=11, end=30)).label == T0 + DAY - LATENESS - HORIZON
    assert time_of(stage, READING._replace(position=29, end=40)).label == T0 + DAY - LATENESS - HORIZON
    assert time_of(stage, READING).label == T0 + DAY - LATENESS - HORIZON  # a commit that knows of no log ends
    assert time_of(stage, READING._replace(position=30, end=50)).label == T0 + 2 * DAY - LATENESS - HORIZON


@pytest.mark.parametrize(("seed", "partitions", "crashes"), [(2, 3, 0.02), (3, 3, 0.02), (4, 2, 0.02)])
def test_a_gap_longer_than_the_horizon_does_not_show_where_all_is_there_to_read(
    seed: int, partitions: int, crashes: float
) -> None:
    """Predictions are read before most labels."""
    events, closing = shop(3, 900), []
    for i in range(40 * partitions):
        body = {"id": f"c{i}", "model": "closing", "ts": T0 + DAY, "features": {}, "prediction": 1}
        closing.append(Event("predictions", f"c{i}", T0 + DAY, json.dumps(body).encode()))
    rules = quick_settings(segments=[["country"]], commit={"snapshot_interval": "2s"})
    metrics, alerts = by_replay([*events, *closing], rules)
    assert any(key[5] == "performance" and found["measures"] for key, found in metrics.items())
    assert by_cluster([*events, *closing], rules, (partitions, 1), seed, crashes, at_once=True) == (metrics, alerts)
