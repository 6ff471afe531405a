"""Event time of the input partitions: which events are late, and the watermarks of a partition number.

The clocks here decide by event times in log order. A worker's wall clock decides only which partitions are idle, and
the driver passes that in.
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
    """A prediction time: everything that was in this log when it was the largest one has been read."""
    goal: tuple[int, int] | None = None
    """A log end that reading has not reached yet, and the largest prediction time when the driver reported it."""

    def learn(self, reported: PartitionStatus, predicted: int) -> None:
        """Take in a status from the driver; `predicted` is the largest prediction time read so far."""
        self.at_end, self.idle, self.merged_by_time = reported.at_end, reported.idle, reported.merged_by_time
        if reported.at_end:
            self.read_for, self.goal = predicted, None
        elif reported.end is not None:
            if self.goal is not None and reported.position >= self.goal[0]:
                self.read_for, self.goal = max(self.read_for, self.goal[1]), None
            self.goal = self.goal or (reported.end, predicted)

    def admit(self, ts: I64) -> I64:
        """Advance over events in log order; return for each the largest *earlier* time (NEVER before the first)."""
        before = np.maximum.accumulate(np.concatenate([[self.largest], ts]))
        self.largest = int(before[-1])
        return before[:-1]

    def watermark(self, lateness_ms: int) -> int:
        """The time below which only late events come."""
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

        It is never above the input watermark, and equals it while the partition has no item and is read to its end.

        It lags the prediction time P by at most `lateness_ms` + `horizon_ms`, where P is the newest prediction read
        before the last consumed item was appended (`read_for`). Older items can no longer match anything. Predictions
        read since then do not count towards P: they may have crossed a gap in event time, and the items that are left
        to read may be older than that gap. If the driver merges the topics by time, P is the newest prediction read.
        """
        inputs = self.input(lateness_ms)
        if items.largest == NEVER and items.at_end:
            return inputs
        known = inputs if items.merged_by_time else items.read_for - lateness_ms
        return max(NEVER, min(inputs, max(items.watermark(lateness_ms), known - horizon_ms)))
