"""A worker that is far ahead of the slowest partition waits, its own or another worker's."""

from __future__ import annotations

import json

from stream_monitor.config.settings import parse
from stream_monitor.describe.stage import Describe
from stream_monitor.kafka.in_memory import MemoryRecord
from stream_monitor.profiles.bin_catalog import BinCatalog, ProgressRecord, notice_output
from stream_monitor.stages.contract import Partition, PartitionStatus, Position
from stream_monitor.stages.topology import Topology
from tests.streams import T0

HOUR = 3_600_000
PARTS: list[Partition] = [("predictions", 0), ("predictions", 1)]
READING = dict.fromkeys(PARTS, PartitionStatus(at_end=False, idle=False))


def describe_at(*times: int) -> Describe:
    """A worker that owns two partitions and has read them up to these times."""
    stage = Describe(parse({}), Topology(2, 2, 1), BinCatalog())
    stage.assign(dict.fromkeys(PARTS, Position(0, "")), {})
    for number, ts in enumerate(times):
        event = {"id": f"e{number}", "ts": ts, "features": {}}
        stage.process("predictions", [MemoryRecord(json.dumps(event).encode(), number, 0, ts, b"k", None)])
    return stage


def tell(stage: Describe, watermark: int) -> None:
    stage.catalog.apply(notice_output(ProgressRecord(watermark))[1])


def test_a_partition_far_ahead_of_a_slower_one_of_the_same_worker_waits() -> None:
    assert describe_at(T0, T0 + 2 * HOUR).partitions_to_pause(READING) == {("predictions", 1)}
    assert describe_at(T0, T0 + HOUR // 2).partitions_to_pause(READING) == set()


def test_a_partition_that_has_nothing_to_read_holds_nobody_back() -> None:
    at_end = READING | {("predictions", 0): PartitionStatus(at_end=True, idle=False)}
    assert describe_at(T0, T0 + 2 * HOUR).partitions_to_pause(at_end) == set()


def test_observations_go_on_while_predictions_are_silent() -> None:
    stage = describe_at(T0, T0)
    part = ("observations", 0)
    stage.assign({part: Position(0, "")}, {})
    later = {"ts": T0 + 9 * HOUR, "source": "pod", "measures": {"memory_mb": 1.0}}
    stage.process("observations", [MemoryRecord(json.dumps(later).encode(), 0, 0, T0 + 9 * HOUR, b"k", None)])
    tell(stage, T0)
    at_end = dict.fromkeys([*PARTS, part], PartitionStatus(at_end=True, idle=True))
    assert stage.partitions_to_pause(at_end) == set()


def test_a_slower_partition_of_another_worker_holds_all_back_until_it_has_come_on() -> None:
    stage = describe_at(T0 + 2 * HOUR, T0 + 2 * HOUR)
    assert stage.partitions_to_pause(READING) == set()
    tell(stage, T0)
    assert stage.partitions_to_pause(READING) == set(PARTS)
    tell(stage, T0 + HOUR)
    assert stage.partitions_to_pause(READING) == set()
