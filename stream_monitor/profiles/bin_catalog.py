"""The catalog: what describe knows from the judge, namely edges and baseline categories by model and timeline.

The moment at which describe learns of them affects only speed: without edges a delta contains the values themselves.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np

from stream_monitor.profiles.bins import BinEdges
from stream_monitor.profiles.known_bins import KnownBins
from stream_monitor.profiles.measures import TimelineName
from stream_monitor.profiles.tails import NO_TAIL
from stream_monitor.types import F64
from stream_monitor.wire.msgpack_arrays import pack, unpack


class EdgesRecord(msgspec.Struct, tag="edges"):
    """A record of the compacted topic `baselines`, keyed by model, timeline and measure: how to count this measure.

    Former edges have keys of their own, with their version, because retained profiles count on them. Version 0 means
    that the judge has no edges.
    """

    model: str
    timeline: TimelineName = msgspec.field(name="lane")
    measure: str
    version: int
    borders: np.ndarray | None = None
    categories: list[str] | None = None
    until: int | None = None
    """From this pane (its start, epoch ms) on the judge wants values, because it makes new edges from them."""
    tail: float = NO_TAIL
    """The start of the measure's tail; former edges are told without theirs."""
    former: bool = False
    """Whether these are former edges, which other edges have replaced."""

    def key(self) -> bytes:
        """The record's key on the topic."""
        kind = "c" if self.categories is not None else f"n{self.version}" if self.former else "n"
        return "\x1f".join((self.model, self.timeline, self.measure, kind)).encode()


class BaselineRecord(msgspec.Struct, tag="baseline"):
    """A record of the same topic for people and programs: a baseline that became active. Describe ignores it."""

    model: str
    timeline: TimelineName = msgspec.field(name="lane")
    version: str | None
    segment: str
    measure: str
    payload: bytes
    """The packed `baselines.baseline.Baseline`; empty if it was reset."""
    since: int | None = None
    """Only of a reset baseline: start of the pane (epoch ms) from which on the judge builds a new one."""

    def key(self) -> bytes:
        """The record's key on the topic."""
        return "\x1f".join((self.model, self.timeline, self.measure, self.segment, self.version or "", "b")).encode()


class ProgressRecord(msgspec.Struct, tag="progress"):
    """A record of the same topic, published from time to time: the watermark of the slowest partition of the app.

    A worker that is far ahead of it waits. Otherwise the judges would hold everything between in open panes.
    """

    watermark: int
    """The least input watermark (epoch ms) of all partitions that are not idle."""
    partition: int = 0
    """The `profiles` partition whose judge published the record."""
    wait: bool = False
    """Whether that judge holds so many open panes that workers must not run ahead of the slowest partition."""

    def key(self) -> bytes:
        """The record's key on the topic."""
        return f"\x1fprogress{self.partition or ''}".encode()


CatalogRecord = EdgesRecord | BaselineRecord | ProgressRecord


def read_notice(value: bytes) -> CatalogRecord:
    """Decode a record of topic `baselines`."""
    notice: CatalogRecord = unpack(value, CatalogRecord)  # type: ignore[arg-type]
    return notice


class BinCatalog:
    """The catalog of a worker, read from topic `baselines`."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], KnownBins] = {}
        self._former: dict[tuple[str, str], dict[str, dict[int, F64]]] = {}
        self.progress: int | None = None
        """The highest published progress: the least input watermark of the app. None before the first record."""
        self._waits: set[int] = set()

    def apply(self, value: bytes) -> None:
        """Take in a record of topic `baselines`."""
        notice = read_notice(value)
        if isinstance(notice, EdgesRecord):
            self.add(notice)
        elif isinstance(notice, ProgressRecord):
            self.progress = notice.watermark if self.progress is None else max(self.progress, notice.watermark)
            (self._waits.add if notice.wait else self._waits.discard)(notice.partition)

    @property
    def wait(self) -> bool:
        """Whether a judge holds too many open panes; no worker may then run ahead of the slowest partition."""
        return bool(self._waits)

    def add(self, record: EdgesRecord) -> None:
        """Take in edges or categories that the judge published."""
        key = record.model, record.timeline
        known = self._known.setdefault(key, KnownBins())
        if record.borders is not None and record.former:
            self._former.setdefault(key, {}).setdefault(record.measure, {})[record.version] = record.borders
        elif record.version == 0:
            known.drop_edges(record.measure)
        elif record.borders is not None:
            known.add_edges(record.measure, BinEdges(record.version, record.borders, record.tail), record.until)
        if record.categories is not None:
            known.categories[record.measure] = frozenset(record.categories)

    def of(self, model: str, timeline: TimelineName) -> KnownBins:
        """The edges and categories of a model's timeline; empty if the judge has published none."""
        return self._known.get((model, timeline)) or KnownBins()

    def former(self, model: str, timeline: TimelineName) -> Mapping[str, Mapping[int, F64]]:
        """Former edges, by measure and version."""
        return self._former.get((model, timeline), {})


def notice_output(record: CatalogRecord) -> tuple[bytes, bytes]:
    """The record as (key, value) to publish."""
    return record.key(), pack(record)
