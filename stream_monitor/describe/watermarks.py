"""Event time of the input partitions: which events are late, and the watermarks of a partition number.

The clocks here decide by event times in log order. A worker's wall clock decides only which partitions are idle, and
the driver passes that in.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from stream_monitor.describe.clock_jumps import Arrivals, Candidate, Clock, advance
from stream_monitor.profiles.names import END, NEVER
from stream_monitor.profiles.records import ObservationTime, PartitionTime
from stream_monitor.stages.contract import Partition, PartitionStatus
from stream_monitor.types import I64

JOINED_ROLES = ("predictions", "labels", "feedback")
"""The topics whose records meet in the partition of their id."""


@dataclass(slots=True)
class TopicClock:
    """The largest event time read so far from one topic partition."""

    largest: int = NEVER
    candidate: Candidate | None = None
    """A time far ahead that no second event has confirmed."""
    at_end: bool = False
    idle: bool = False
    merged_by_time: bool = False
    caught_up: bool = False
    """Whether everything has been read that was in this log at the commit before."""
    end: int | None = None
    """The end of the log at the last commit; None: not known."""
    read_for: int = NEVER
    """A prediction time: everything that was in this log when it was the largest one has been read."""
    goal: tuple[int, int] | None = None
    """A log end that reading has not reached yet, and the largest prediction time when the driver reported it."""

    def learn(self, reported: PartitionStatus, predicted: int) -> None:
        """Take in a status from the driver; `predicted` is the largest prediction time read so far."""
        self.at_end, self.idle, self.merged_by_time = reported.at_end, reported.idle, reported.merged_by_time
        self.caught_up = reported.at_end or (self.end is not None and reported.position >= self.end)
        self.end = reported.end
        if reported.at_end:
            self.read_for, self.goal = predicted, None
        elif reported.end is not None:
            if self.goal is not None and reported.position >= self.goal[0]:
                self.read_for, self.goal = max(self.read_for, self.goal[1]), None
            self.goal = self.goal or (reported.end, predicted)

    def admit(self, arrivals: Arrivals, jump: int) -> I64:
        """Advance over events in log order; return for each the largest *earlier* time (NEVER before the first)."""
        (self.largest, self.candidate), before = advance(Clock(self.largest, self.candidate), arrivals, jump)
        return before

    def latest(self, end: bool) -> int:
        """The largest time read; a candidate counts when nothing more comes."""
        return max(self.largest, self.candidate.ts) if end and self.candidate is not None else self.largest

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

    def latest(self, end: bool) -> int:
        """The largest time read from any of the topics; a candidate counts when nothing more comes."""
        return max(topic.latest(end) for topic in (self.predictions, self.labels, self.feedback))

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


class Limits(NamedTuple):
    """How far a worker may read."""

    own: int
    """Event time in ms beyond the slowest partition of this worker."""
    joined: int | None
    """Event time (epoch ms) up to which predictions, labels and feedback may be read; None: no limit is known."""


class Clocks:
    """The clocks of all partitions that a worker owns."""

    def __init__(self, jump: int) -> None:
        self.jump = jump
        """How far ahead (ms) one event may move a partition's clock alone."""
        self.joined: dict[int, PartitionClock] = {}
        """By partition number of predictions, labels and feedback."""
        self.observations: dict[int, TopicClock] = {}

    def clock(self, role: str, number: int) -> TopicClock:
        """The clock of a partition. KeyError for predictions, labels and feedback that the worker does not own."""
        if role == "observations":
            return self.observations.setdefault(number, TopicClock())
        chosen: TopicClock = getattr(self.joined[number], role)
        return chosen

    def add(self, role: str, number: int) -> TopicClock:
        """The clock of a partition that the worker owns from now on."""
        if role != "observations":
            self.joined.setdefault(number, PartitionClock())
        return self.clock(role, number)

    def remove(self, role: str, number: int) -> None:
        """Forget the clock of a partition; labels and feedback go with their predictions."""
        if role == "observations":
            self.observations.pop(number, None)
        elif role == "predictions":
            self.joined.pop(number, None)

    def learn(self, partition: Partition, reported: PartitionStatus) -> None:
        """Take in the status of a partition from the driver."""
        clock = self.add(*partition)
        newest = self.joined[partition[1]].predictions.largest if partition[1] in self.joined else NEVER
        clock.learn(reported, newest)

    def admit(self, role: str, arrivals: Arrivals) -> I64:
        """Advance over events in log order; the largest *earlier* time of its partition for each of them."""
        partition = arrivals.partition
        first = int(partition[0])
        if (partition == first).all():
            return self.clock(role, first).admit(arrivals, self.jump)
        before = np.empty_like(arrivals.ts)
        for number in np.unique(partition).tolist():
            rows = partition == number
            before[rows] = self.clock(role, number).admit(arrivals.of(rows), self.jump)
        return before

    def over(self, ended: Collection[Partition]) -> set[int]:
        """The partition numbers of which predictions, labels and feedback bring no more."""
        return {number for number in self.joined if all((role, number) in ended for role in JOINED_ROLES)}

    def partition_times(self, ended: Collection[Partition], lateness: int, horizon: int) -> list[PartitionTime]:
        """The watermarks of predictions, labels and feedback; `ended` are the partitions that bring no more."""
        times, over = [], self.over(ended)
        for number, clock in sorted(self.joined.items()):
            end = number in over
            times.append(
                PartitionTime(
                    partition=number,
                    input=END if end else clock.input(lateness),
                    label=END if end else clock.joined(clock.labels, lateness, horizon),
                    feedback=END if end else clock.joined(clock.feedback, lateness, horizon),
                    largest=clock.latest(end),
                    idle=clock.predictions.idle,
                    end=end,
                    labels_read=clock.labels.caught_up,
                    feedback_read=clock.feedback.caught_up,
                )
            )
        return times

    def observation_times(self, ended: Collection[Partition], lateness: int) -> list[ObservationTime]:
        """The watermarks of observations."""
        times = []
        for number, clock in sorted(self.observations.items()):
            end = ("observations", number) in ended
            watermark = END if end else clock.watermark(lateness)
            times.append(ObservationTime(number, watermark, clock.latest(end), clock.idle, end))
        return times

    def ahead(
        self, status: Mapping[Partition, PartitionStatus], owned: Collection[Partition], limits: Limits
    ) -> set[Partition]:
        """The owned partitions that are beyond the limits, which count from the slowest one that is not at its end."""
        behind = [self.clock(*p).largest for p, reported in status.items() if not reported.at_end and p in owned]
        limit = min(behind, default=END) + limits.own
        joined = limit if limits.joined is None else min(limit, limits.joined)
        # the joint limit is that of predictions: observations continue when predictions have stopped
        return {p for p in owned if self.clock(*p).largest > (limit if p[0] == "observations" else joined)}
