"""A range of topics is followed to its end, whichever partition ends first."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any

from stream_monitor.commands.replay import follow
from stream_monitor.config.settings import parse
from stream_monitor.file_replay import Replay
from stream_monitor.kafka.in_memory import MemoryRecord
from stream_monitor.kafka.interface import Batch
from stream_monitor.stages.contract import Partition
from stream_monitor.stages.topology import Topology
from tests.streams import T0

DAY = 86_400_000


class Range:
    """A range of topics in memory: partitions in turn, a thousand records a time, but for those that are paused."""

    def __init__(self, parts: Collection[Partition], records: dict[Partition, list[MemoryRecord]]) -> None:
        self.left = {part: list(found) for part, found in records.items()}
        self.parts = set(parts)
        self.paused: set[Partition] = set()

    @property
    def ended(self) -> set[Partition]:
        return self.parts - self.left.keys()

    def read(self) -> Iterator[list[Batch]]:
        for _ in range(10_000):
            for empty in [part for part in self.left if not self.left[part]]:
                del self.left[empty]
            if not self.left:
                return
            part = next((part for part in self.left if part not in self.paused), None)
            if part is None:
                yield []
                continue
            taken, self.left[part] = self.left[part][:1_000], self.left[part][1_000:]
            yield [(part[0], taken)]
            self.left[part] = self.left.pop(part)
        raise AssertionError("it waits for ever")

    def pause(self, partitions: Collection[Partition]) -> None:
        self.paused = set(partitions)


def test_partitions_that_wait_go_on_when_the_slow_one_has_ended() -> None:
    def event(number: int, i: int, step: int) -> MemoryRecord:
        body = {"id": f"{number}-{i}", "ts": T0 + i * step, "features": {}}
        return MemoryRecord(json.dumps(body).encode(), number, i, T0 + 60 * DAY, b"k", None)

    fast = [event(0, i, 30 * DAY // 40_000) for i in range(40_000)]
    slow = [event(1, i, 30 * DAY // 12_000) for i in range(12_000)]
    rules = parse({"time": {"pane": "1h", "windows": ["1d"]}, "join": {"grain": "1d", "label_horizon": "2h"}})
    made = Replay(rules, lambda output: None, topology=Topology(2, 1, 1))
    source: Any = Range(made.driver.parts, {("predictions", 0): fast, ("predictions", 1): slow})
    for _ in follow(source, made):
        pass
    assert made.driver.events == 52_000
