"""When labels and feedback of each model came, by minutes of the broker time of describe's records."""

from __future__ import annotations

from typing import Literal

import msgspec

from stream_monitor.detect.windows.pauses import Pauses
from stream_monitor.profiles.measures import Group
from stream_monitor.profiles.names import NEVER
from stream_monitor.profiles.records import DeltaRecord, WatermarkRecord

Items = Literal["labels", "feedback"]
GROUPS: dict[Items, Group] = {"labels": "outcome", "feedback": "human"}
"""What comes after predictions, and the measure group of its alert."""
_TIMELINES: dict[str, Items] = {"label": "labels", "feedback": "feedback"}


class ItemsOfModel(msgspec.Struct):
    """The labels, or the feedback, of one model."""

    pauses: Pauses = msgspec.field(default_factory=Pauses)
    latest: int = NEVER
    """The input watermark when the last of them came (epoch ms)."""


class LabelArrivals(msgspec.Struct):
    """What the judge of a partition knows of the labels and the feedback of its models."""

    minute: int = 0
    """The minute of broker time that goes on."""
    predicted: set[str] = set()
    """Models that had predictions in it, of those that had labels or feedback before."""
    arrived: set[tuple[str, str]] = set()
    """(model, labels or feedback) that came in it."""
    read: dict[str, set[int]] = {}
    """By labels and feedback: the partitions that were read when they last reported in it."""
    known: dict[tuple[str, str], ItemsOfModel] = {}
    """By (model, labels or feedback): models that had some."""

    def take_deltas(self, record: DeltaRecord) -> None:
        """Note what came of which model."""
        for delta in record.deltas:
            if delta.timeline == "input":
                if any((delta.model, items) in self.known for items in GROUPS):
                    self.predicted.add(delta.model)
            elif (items := _TIMELINES.get(delta.timeline)) is not None:
                self.arrived.add((delta.model, items))

    def take_watermarks(self, record: WatermarkRecord) -> None:
        """Note which partitions are read."""
        for time in record.partitions:
            for items, is_read in (("labels", time.labels_read), ("feedback", time.feedback_read)):
                of = self.read.setdefault(items, set())
                (of.add if is_read else of.discard)(time.partition)

    def forget(self, model: str) -> None:
        """Forget a model."""
        for items in GROUPS:
            self.known.pop((model, items), None)

    def next_minute(self, minute: int) -> None:
        """Begin a minute of broker time."""
        self.minute, self.predicted, self.arrived, self.read = minute, set(), set(), {}
