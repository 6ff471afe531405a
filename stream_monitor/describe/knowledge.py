"""What describe has heard from the judge: edges and baseline categories, by model and lane.

Only speed depends on when it hears: without it a delta carries the values themselves.
"""

from __future__ import annotations

import msgspec
import numpy as np

from stream_monitor.describe.edges import Edges
from stream_monitor.describe.measures import Lane
from stream_monitor.describe.profiles import Known
from stream_monitor.events.arrays import pack, unpack


class EdgesRecord(msgspec.Struct, tag="edges"):
    """A record of the compacted `baselines` topic, keyed by model, lane and measure: how to count this measure."""

    model: str
    lane: Lane
    measure: str
    version: int
    borders: np.ndarray | None = None
    categories: list[str] | None = None

    def key(self) -> bytes:
        """The record's key on the topic."""
        return "\x1f".join((self.model, self.lane, self.measure, "n" if self.categories is None else "c")).encode()


class BaselineRecord(msgspec.Struct, tag="baseline"):
    """A record of the same topic for people and programs: a baseline that came into force. Describe needs none."""

    model: str
    lane: Lane
    version: str | None
    segment: str
    measure: str
    payload: bytes
    """The packed `detect.baselines.Baseline`."""

    def key(self) -> bytes:
        """The record's key on the topic."""
        return "\x1f".join((self.model, self.lane, self.measure, self.segment, self.version or "", "b")).encode()


class ProgressRecord(msgspec.Struct, tag="progress"):
    """A record of the same topic: how far the slowest source partition of the whole app had come, now and then.

    A worker that is far ahead of it waits, or the judges would hold all that lies between in open panes.
    """

    watermark: int
    """The least input watermark (epoch ms) of all partitions that are not idle."""

    def key(self) -> bytes:
        """The record's key on the topic."""
        return b"\x1fprogress"


Notice = EdgesRecord | BaselineRecord | ProgressRecord


def read_notice(value: bytes) -> Notice:
    """Decode a record of the `baselines` topic."""
    notice: Notice = unpack(value, Notice)  # type: ignore[arg-type]
    return notice


class Knowledge:
    """A table of the `baselines` topic."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Known] = {}
        self.progress: int | None = None
        """The least input watermark of the app, as last told."""

    def learn(self, value: bytes) -> None:
        """Take in a record of the `baselines` topic."""
        notice = read_notice(value)
        if isinstance(notice, EdgesRecord):
            self.add(notice)
        elif isinstance(notice, ProgressRecord):
            self.progress = notice.watermark

    def add(self, record: EdgesRecord) -> None:
        """Take in what the judge published."""
        known = self._known.setdefault((record.model, record.lane), Known())
        if record.borders is not None:
            known.add_edges(record.measure, Edges(record.version, record.borders))
        if record.categories is not None:
            known.categories[record.measure] = frozenset(record.categories)

    def of(self, model: str, lane: Lane) -> Known:
        """What is known of a model's lane; empty for one never heard of."""
        return self._known.get((model, lane)) or Known()


def notice_output(record: Notice) -> tuple[bytes, bytes]:
    """(key, value) to publish."""
    return record.key(), pack(record)
