"""How far the source partitions have come, as one judge heard it; the minimum closes panes."""

from __future__ import annotations

import msgspec

from stream_monitor.profiles.measures import TimelineName
from stream_monitor.profiles.names import NEVER
from stream_monitor.profiles.records import ObservationTime, PartitionTime, WatermarkRecord


class Watermarks(msgspec.Struct):
    """The latest of every source partition; times never go back."""

    sources: int = 0
    observation_sources: int = 0
    partitions: dict[int, PartitionTime] = {}
    observations: dict[int, ObservationTime] = {}
    timelines: dict[str, int] = msgspec.field(name="lanes", default_factory=dict)
    idle_since: int | None = None
    """Broker time of the first record since which all partitions are idle."""

    def update(self, record: WatermarkRecord, arrived: int) -> None:
        """Take in a worker's record that the broker got at `arrived`."""
        self.sources = max(self.sources, record.sources)
        self.observation_sources = max(self.observation_sources, record.observation_sources)
        for time in record.partitions:
            self.partitions[time.partition] = _later(self.partitions.get(time.partition), time)
        for seen in record.observations:
            old = self.observations.get(seen.partition)
            if old is not None:
                seen.watermark, seen.largest = max(old.watermark, seen.watermark), max(old.largest, seen.largest)
            self.observations[seen.partition] = seen
        for timeline, watermark in self._now().items():
            self.timelines[timeline] = max(self.timelines.get(timeline, NEVER), watermark)
        if not self.all_idle:
            self.idle_since = None
        elif self.idle_since is None:
            self.idle_since = arrived

    @property
    def all_idle(self) -> bool:
        """Every partition has been heard of and is idle, and none has ended."""
        known = len(self.partitions) >= self.sources > 0
        return (
            known and all(p.idle for p in self.partitions.values()) and not all(p.end for p in self.partitions.values())
        )

    @property
    def largest(self) -> int:
        """The largest event time anywhere in predictions, labels and feedback."""
        return max((p.largest for p in self.partitions.values()), default=NEVER)

    def latest_event(self, timeline: TimelineName) -> int:
        """The largest event time anywhere in what a lane is made of; its watermark is not above, unless it is END."""
        if timeline == "observation":
            return max((o.largest for o in self.observations.values()), default=NEVER)
        return self.largest

    def for_timeline(self, timeline: TimelineName) -> int:
        """A lane's watermark."""
        return self.timelines.get(timeline, NEVER)

    def _now(self) -> dict[TimelineName, int]:
        timelines: dict[TimelineName, int] = {"input": NEVER, "label": NEVER, "feedback": NEVER, "observation": NEVER}
        if len(self.partitions) >= self.sources > 0:
            active = [p for p in self.partitions.values() if not p.idle or p.end]
            for timeline in ("input", "label", "feedback"):
                timelines[timeline] = min((getattr(p, timeline) for p in active), default=self.largest)
        if len(self.observations) >= self.observation_sources > 0:
            moving = [o for o in self.observations.values() if not o.idle or o.end]
            largest = max(o.largest for o in self.observations.values())
            timelines["observation"] = min((o.watermark for o in moving), default=largest)
        return timelines

    @property
    def ended(self) -> bool:
        """Every partition has ended: a finite replay is over."""
        return len(self.partitions) >= self.sources > 0 and all(p.end for p in self.partitions.values())


def _later(old: PartitionTime | None, new: PartitionTime) -> PartitionTime:
    if old is None:
        return new
    return PartitionTime(
        new.partition,
        max(old.input, new.input),
        max(old.label, new.label),
        max(old.feedback, new.feedback),
        max(old.largest, new.largest),
        new.idle,
        new.end,
    )
