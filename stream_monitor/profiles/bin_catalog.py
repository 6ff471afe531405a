"""What describe has heard from the judge: edges and baseline categories, by model and lane.

Only speed depends on when it hears: without it a delta carries the values themselves.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np

from stream_monitor.profiles.bins import BinEdges
from stream_monitor.profiles.known_bins import KnownBins
from stream_monitor.profiles.measures import TimelineName
from stream_monitor.types import F64
from stream_monitor.wire.msgpack_arrays import pack, unpack


class EdgesRecord(msgspec.Struct, tag="edges"):
    """A record of the compacted `baselines` topic, keyed by model, lane and measure: how to count this measure.

    Edges of before have keys of their own, with their version: profiles that are retained lie on them. Version 0 says
    that the judge knows none.
    """

    model: str
    timeline: TimelineName = msgspec.field(name="lane")
    measure: str
    version: int
    borders: np.ndarray | None = None
    categories: list[str] | None = None
    until: int | None = None
    """From this pane (its start, epoch ms) on values are wanted, for other edges are to be made of them."""
    former: bool = False
    """Others are in force."""

    def key(self) -> bytes:
        """The record's key on the topic."""
        kind = "c" if self.categories is not None else f"n{self.version}" if self.former else "n"
        return "\x1f".join((self.model, self.timeline, self.measure, kind)).encode()


class BaselineRecord(msgspec.Struct, tag="baseline"):
    """A record of the same topic for people and programs: a baseline that came into force. Describe needs none."""

    model: str
    timeline: TimelineName = msgspec.field(name="lane")
    version: str | None
    segment: str
    measure: str
    payload: bytes
    """The packed `baselines.baseline.Baseline`; nothing when it was reset."""
    since: int | None = None
    """Of one that was reset: start of the pane (epoch ms) from which on it is made anew."""

    def key(self) -> bytes:
        """The record's key on the topic."""
        return "\x1f".join((self.model, self.timeline, self.measure, self.segment, self.version or "", "b")).encode()


class ProgressRecord(msgspec.Struct, tag="progress"):
    """A record of the same topic: how far the slowest source partition of the whole app had come, now and then.

    A worker that is far ahead of it waits, or the judges would hold all that lies between in open panes.
    """

    watermark: int
    """The least input watermark (epoch ms) of all partitions that are not idle."""
    partition: int = 0
    """The `profiles` partition whose judge says so."""
    wait: bool = False
    """It holds so much of open panes that workers must not run ahead of the slowest partition."""

    def key(self) -> bytes:
        """The record's key on the topic."""
        return f"\x1fprogress{self.partition or ''}".encode()


CatalogRecord = EdgesRecord | BaselineRecord | ProgressRecord


def read_notice(value: bytes) -> CatalogRecord:
    """Decode a record of the `baselines` topic."""
    notice: CatalogRecord = unpack(value, CatalogRecord)  # type: ignore[arg-type]
    return notice


class BinCatalog:
    """A table of the `baselines` topic."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], KnownBins] = {}
        self._former: dict[tuple[str, str], dict[str, dict[int, F64]]] = {}
        self.progress: int | None = None
        """The least input watermark of the app, as last told."""
        self._waits: set[int] = set()

    def apply(self, value: bytes) -> None:
        """Take in a record of the `baselines` topic."""
        notice = read_notice(value)
        if isinstance(notice, EdgesRecord):
            self.add(notice)
        elif isinstance(notice, ProgressRecord):
            self.progress = notice.watermark if self.progress is None else max(self.progress, notice.watermark)
            (self._waits.add if notice.wait else self._waits.discard)(notice.partition)

    @property
    def wait(self) -> bool:
        """Whether a judge holds too much of open panes: nobody runs ahead of the slowest partition then."""
        return bool(self._waits)

    def add(self, record: EdgesRecord) -> None:
        """Take in what the judge published."""
        at = record.model, record.timeline
        known = self._known.setdefault(at, KnownBins())
        if record.borders is not None and record.former:
            self._former.setdefault(at, {}).setdefault(record.measure, {})[record.version] = record.borders
        elif record.version == 0:
            known.drop_edges(record.measure)
        elif record.borders is not None:
            known.add_edges(record.measure, BinEdges(record.version, record.borders), record.until)
        if record.categories is not None:
            known.categories[record.measure] = frozenset(record.categories)

    def of(self, model: str, timeline: TimelineName) -> KnownBins:
        """What is known of a model's lane; empty for one never heard of."""
        return self._known.get((model, timeline)) or KnownBins()

    def former(self, model: str, timeline: TimelineName) -> Mapping[str, Mapping[int, F64]]:
        """Borders of edges that were in force, by measure and version."""
        return self._former.get((model, timeline), {})


def notice_output(record: CatalogRecord) -> tuple[bytes, bytes]:
    """(key, value) to publish."""
    return record.key(), pack(record)
