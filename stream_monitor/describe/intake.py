"""Predictions of a commit: decoded in slices, by the typed way where it fits, and kept as columns by model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter, methodcaller
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from stream_monitor.describe import columns as build
from stream_monitor.describe.columns import Columns, Spec
from stream_monitor.describe.deltas import merge
from stream_monitor.describe.typed_columns import of_typed
from stream_monitor.events.contracts import Prediction
from stream_monitor.events.decode import EARLIEST, Event, Reject
from stream_monitor.events.typed import Shape, TypedDecoder
from stream_monitor.stages import Message
from stream_monitor.types import I64

SLICE = 500
"""Events decoded together: with more, the objects leave the processor's cache before they become columns."""

BUCKET = 256
"""Typed events of one model that are made columns together, at the latest at the commit."""

_value, _partition, _timestamp = methodcaller("value"), methodcaller("partition"), methodcaller("timestamp")
_ts, _id, _encode = attrgetter("ts"), attrgetter("id"), str.encode

Admit = Callable[[I64, I64], I64]
"""(partition, ts) in log order to the largest earlier ts of each event's partition."""
Admissible = Callable[[str, Message], Event | Reject]


@dataclass(slots=True)
class Intake:
    """Everything of the predictions topic since the last commit; `row` numbers run through it."""

    specs: Sequence[Spec]
    decoder: TypedDecoder
    max_skew: int
    partition: list[I64] = field(default_factory=list)
    ts: list[I64] = field(default_factory=list)
    before: list[I64] = field(default_factory=list)
    ids: list[bytes] = field(default_factory=list)
    columns: dict[str, list[Columns]] = field(default_factory=lambda: defaultdict(list))
    buckets: dict[Shape, tuple[list[int], list[Any]]] = field(default_factory=dict)
    size: int = 0

    def take(self, messages: Sequence[Message], admit: Admit, generic: Callable[[Message], Event | None]) -> None:
        """Decode messages in log order; `generic` decodes one, or says None when it became a dead letter."""
        for start in range(0, len(messages), SLICE):
            some = messages[start : start + SLICE]
            if not self._take_typed(some, admit):
                self._take_generic(some, admit, generic)

    def _take_typed(self, messages: Sequence[Message], admit: Admit) -> bool:
        events = self.decoder.decode(list(map(_value, messages)))
        if events is None:
            return False
        ts = np.array(list(map(_ts, events)), np.int64)
        arrived = np.array([stamp for _, stamp in map(_timestamp, messages)], np.int64)
        if (ts < EARLIEST).any() or (ts > arrived + self.max_skew).any():
            return False
        partition = np.array(list(map(_partition, messages)), np.int64)
        self._note(partition, ts, admit, list(map(_id, events)))
        self._sort(events)
        self.size += len(events)
        return True

    def _sort(self, events: Sequence[Any]) -> None:
        kinds: set[Any] = set(map(type, events))
        if len(kinds) == 1:
            rows, bucket = self._bucket(type(events[0]))
            rows.extend(range(self.size, self.size + len(events)))
            bucket.extend(events)
        else:
            for row, event in enumerate(events, self.size):
                rows, bucket = self._bucket(type(event))
                rows.append(row)
                bucket.append(event)
        for kind in kinds:
            if len(self.buckets[kind.shape][0]) >= BUCKET:
                self._empty(kind.shape)

    def _bucket(self, kind: Any) -> tuple[list[int], list[Any]]:
        bucket = self.buckets.get(kind.shape)
        if bucket is None:
            bucket = self.buckets[kind.shape] = ([], [])
        elif bucket[1] and type(bucket[1][0]) is not kind:  # the shape was compiled anew meanwhile
            self._empty(kind.shape)
            bucket = self.buckets[kind.shape] = ([], [])
        return bucket

    def _empty(self, shape: Shape) -> None:
        rows, events = self.buckets.pop(shape)
        if rows:
            self.columns[shape.model].append(of_typed(rows, events, self.specs))

    def _take_generic(
        self, messages: Sequence[Message], admit: Admit, generic: Callable[[Message], Event | None]
    ) -> None:
        kept: list[Prediction] = []
        partition: list[int] = []
        for message in messages:
            event = generic(message)
            if isinstance(event, Prediction):
                kept.append(event)
                partition.append(message.partition())
        if not kept:
            return
        ts = np.array([event.ts for event in kept], np.int64)
        self._note(np.array(partition, np.int64), ts, admit, [event.id for event in kept])
        by_model: dict[str, list[int]] = defaultdict(list)
        for at, event in enumerate(kept):
            by_model[event.model].append(at)
        for model, at_rows in by_model.items():
            rows = [self.size + at for at in at_rows]
            self.columns[model].append(build.of_predictions(model, rows, [kept[at] for at in at_rows], self.specs))
        self.size += len(kept)
        self.decoder.learn(kept)

    def _note(self, partition: I64, ts: I64, admit: Admit, ids: list[str]) -> None:
        self.partition.append(partition)
        self.ts.append(ts)
        self.before.append(admit(partition, ts))
        self.ids.append(b"".join(map(xxhash.xxh3_128_digest, map(_encode, ids))))

    def clocks(self) -> tuple[I64, I64, I64]:
        """(partition, ts, largest earlier ts of the partition), by row."""
        return np.concatenate(self.partition), np.concatenate(self.ts), np.concatenate(self.before)

    def hashes(self) -> npt.NDArray[np.uint64]:
        """128-bit hashes of the ids, (n, 2)."""
        return np.frombuffer(b"".join(self.ids), "<u8").reshape(-1, 2)

    def by_model(self) -> list[Columns]:
        """One set of columns a model, models in order of name."""
        for shape in list(self.buckets):
            self._empty(shape)
        return [merge(self.columns[model]) for model in sorted(self.columns)]
