"""The watermarks of the source partitions, as one judge has read them. Their minimum closes panes."""

from __future__ import annotations

import msgspec

from stream_monitor.profiles.measures import TimelineName
from stream_monitor.profiles.names import NEVER
from stream_monitor.profiles.records import ObservationTime, PartitionTime, WatermarkRecord


class Watermarks(msgspec.Struct):
    """The latest watermarks of every source partition. They never decrease."""

    sources: int = 0
    observation_sources: int = 0
    partitions: dict[int, PartitionTime] = {}
    observations: dict[int, ObservationTime] = {}
    timelines: dict[str, int] = msgspec.field(name="lanes", default_factory=dict)
    idle_since: int | None = None
    """Broker time of the record with which all partitions became idle; None: some partition is active."""

    def update(self, record: WatermarkRecord, arrived: int) -> None:
        """Merge a worker's record, which the broker received at `arrived` (epoch ms)."""
        self.sources = max(self.sources, record.sources)
        self.observation_sources = max(self.observation_sources, record.observation_sources)
        for time in record.partitions:
            self.partitions[time.partition] = _later(self.partitions.get(time.partition), time)
        for observed in record.observations:
            old = self.observations.get(observed.partition)
            if old is not None:
                observed.watermark, observed.largest = (
                    max(old.watermark, observed.watermark),
                    max(old.largest, observed.largest),
                )
            self.observations[observed.partition] = observed
        for timeline, watermark in self._now().items():
            self.timelines[timeline] = max(self.timelines.get(timeline, NEVER), watermark)
        if not self.all_idle:
            self.idle_since = None
        elif self.idle_since is None:
            self.idle_since = arrived

    @property
    def all_idle(self) -> bool:
        """Whether every partition has reported and is idle, and not all of them have ended."""
        known = len(self.partitions) >= self.sources > 0
        return (
            known and all(p.idle for p in self.partitions.values()) and not all(p.end for p in self.partitions.values())
        )

    @property
    def largest(self) -> int:
        """The largest event time in predictions, labels and feedback, over all partitions."""
        return max((p.largest for p in self.partitions.values()), default=NEVER)

    def latest_event(self, timeline: TimelineName) -> int:
        """The largest event time in the topics of a timeline. Its watermark is not above it, unless it is END."""
        if timeline == "observation":
            return max((o.largest for o in self.observations.values()), default=NEVER)
        return self.largest

    def for_timeline(self, timeline: TimelineName) -> int:
        """The watermark of a timeline."""
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
        """Whether every partition has ended: a finite replay is over."""
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
        new.labels_read,
        new.feedback_read,
    )
