"""Event time of the input partitions: what is late, and how far a partition number has come.

Everything is decided in log order by event times; a worker's clock says only which partitions are idle, and that is
passed in.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from stream_monitor.profiles.names import NEVER
from stream_monitor.stages.contract import PartitionStatus
from stream_monitor.types import I64


@dataclass(slots=True)
class TopicClock:
    """The largest event time read so far from one topic partition."""

    largest: int = NEVER
    at_end: bool = False
    idle: bool = False
    merged_by_time: bool = False
    read_for: int = NEVER
    """All that was in the log when this was the largest prediction time has been read."""
    goal: tuple[int, int] | None = None
    """A log end that is still to be reached, and the largest prediction time when it was told."""

    def learn(self, told: PartitionStatus, predicted: int) -> None:
        """Take in what the driver says; the predictions that have been read go up to `predicted`."""
        self.at_end, self.idle, self.merged_by_time = told.at_end, told.idle, told.merged_by_time
        if told.at_end:
            self.read_for, self.goal = predicted, None
        elif told.end is not None:
            if self.goal is not None and told.position >= self.goal[0]:
                self.read_for, self.goal = max(self.read_for, self.goal[1]), None
            self.goal = self.goal or (told.end, predicted)

    def admit(self, ts: I64) -> I64:
        """Advance over events in log order; returns for each the largest *earlier* time (NEVER before the first)."""
        before = np.maximum.accumulate(np.concatenate([[self.largest], ts]))
        self.largest = int(before[-1])
        return before[:-1]

    def watermark(self, lateness_ms: int) -> int:
        """Nothing below this comes any more, late events excepted."""
        return NEVER if self.largest == NEVER else self.largest - lateness_ms


@dataclass(slots=True)
class PartitionClock:
    """The clocks of one partition number of predictions, labels and feedback."""

    predictions: TopicClock = field(default_factory=TopicClock)
    labels: TopicClock = field(default_factory=TopicClock)
    feedback: TopicClock = field(default_factory=TopicClock)

    def input(self, lateness_ms: int) -> int:
        """The input watermark."""
        return self.predictions.watermark(lateness_ms)

    def joined(self, items: TopicClock, lateness_ms: int, horizon_ms: int) -> int:
        """The watermark of labels or feedback.

        Never above the input's; equal to it while the partition never had an item and has been read to its end. At most
        a horizon behind where the predictions were when the last item that has been read was not yet in the log: what
        comes later than that joins nothing. What the predictions have passed since does not count, for the items that
        are left to read may be older than a gap that the predictions have crossed.
        """
        inputs = self.input(lateness_ms)
        if items.largest == NEVER and items.at_end:
            return inputs
        known = inputs if items.merged_by_time else items.read_for - lateness_ms
        return max(NEVER, min(inputs, max(items.watermark(lateness_ms), known - horizon_ms)))
