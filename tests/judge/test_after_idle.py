"""Events that come for panes which had closed while their partition was idle: each is counted, and told."""

from __future__ import annotations

import json

from stream_monitor.config.settings import Settings
from stream_monitor.describe.stage import Describe
from stream_monitor.judge.stage import Judge
from stream_monitor.kafka.in_memory import MemoryRecord
from stream_monitor.profiles.bin_catalog import BinCatalog
from stream_monitor.stages.contract import Output, PartitionStatus, Position
from stream_monitor.stages.topology import Topology
from tests.streams import T0, quick_settings

PARTS = [(role, number) for role in ("predictions", "labels", "feedback") for number in (0, 1)]


def event(partition: int, offset: int, ts: int) -> MemoryRecord:
    body = {"id": f"{partition}-{offset}", "model": "m", "ts": ts, "features": {"x": 1.0}, "tags": {"country": "DE"}}
    return MemoryRecord(json.dumps(body).encode(), partition, offset, ts, None, None)


def flushed(stage: Describe, busy: int, records: list[MemoryRecord]) -> list[Output]:
    """The profiles of a commit in which one partition brings records and all others are idle."""
    status = {part: PartitionStatus(at_end=True, idle=part != ("predictions", busy)) for part in PARTS}
    stage.process("predictions", records)
    outputs = list(stage.flush(status))
    stage.offsets([0 for output in outputs if output.tracked])
    stage.committed()
    return [output for output in outputs if output.role == "profiles"]


class Log:
    """A judge with its partition of `profiles`, which holds what the judge writes there, too."""

    def __init__(self, rules: Settings) -> None:
        self.judge, self.end = Judge(rules, 1), 0
        self.judge.assign({("profiles", 0): Position(0, "")}, {})
        self.late_after([])

    def late_after(self, outputs: list[Output]) -> int:
        """How many events came too late, as the stage tells telemetry, once these profiles are read."""
        while True:
            records = [MemoryRecord(o.value, 0, at, T0, None, None) for at, o in enumerate(outputs, self.end)]
            self.end += len(records)
            self.judge.process("profiles", records)
            said = list(self.judge.flush({("profiles", 0): PartitionStatus(at_end=True, idle=False)}))
            self.judge.offsets([0 for output in said if output.tracked])
            self.judge.committed()
            outputs = [output for output in said if output.role == "profiles"]
            if not outputs:
                return self.judge.stats().after_idle


def test_events_of_a_partition_that_was_idle_are_counted_once_each_whatever_their_segments() -> None:
    rules = quick_settings()
    stage, log = Describe(rules, Topology(2, 1, 1), BinCatalog()), Log(rules)
    stage.assign({part: Position(0, "") for part in PARTS}, {})
    ahead = flushed(stage, 0, [event(0, i, T0 + i * 1_000) for i in range(200)])
    assert log.late_after(ahead) == 0
    late = flushed(stage, 1, [event(1, i, T0 + i * 10) for i in range(50)])
    assert log.late_after(late) == 50
    assert log.late_after([]) == 0, "counted once"
