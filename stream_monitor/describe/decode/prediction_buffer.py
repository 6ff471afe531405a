"""The predictions of a commit, as columns by model.

The scanner reads the events that it can; the decoder reads the others one by one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter, methodcaller
from typing import Any

import numpy as np
import numpy.typing as npt

from stream_monitor.describe.clock_jumps import Arrivals
from stream_monitor.describe.decode import columns as build
from stream_monitor.describe.decode.columns import Columns, merge
from stream_monitor.describe.decode.scanned_columns import PredictionScanner, ScannedRows
from stream_monitor.events.contracts import Prediction
from stream_monitor.events.decode import EARLIEST, Event
from stream_monitor.formats.contract import Format
from stream_monitor.kernels.id_hash import hash_all, hash_ids
from stream_monitor.kernels.json_scanner import PADDING
from stream_monitor.stages.contract import Message
from stream_monitor.types import I64, Bool

SLICE = 2_000
"""Events of one scan. The scanner learns names from decoded events, so that the next slice is scanned."""

_value, _partition, _timestamp = methodcaller("value"), methodcaller("partition"), methodcaller("timestamp")
_stamp = itemgetter(1)

Admit = Callable[[Arrivals], I64]
"""From events in log order to the largest earlier ts of each event's partition."""
Generic = Callable[[Message], Event | None]
"""Decodes one event; returns None when the event became a dead letter."""


LOG_APPEND_TIME = 2
"""The type of a record's timestamp that the broker has set."""


def stamped(messages: Sequence[Message]) -> Bool:
    """Which records have a time that the broker has set."""
    kinds = (message.timestamp()[0] == LOG_APPEND_TIME for message in messages)
    return np.fromiter(kinds, np.bool_, len(messages))


@dataclass(slots=True)
class PredictionBuffer:
    """All predictions since the last commit; their row numbers count from 0."""

    scanner: PredictionScanner
    form: Format
    max_skew: int
    partition: list[I64] = field(default_factory=list)
    ts: list[I64] = field(default_factory=list)
    before: list[I64] = field(default_factory=list)
    ids: list[npt.NDArray[np.uint64]] = field(default_factory=list)
    scanned: list[Columns] = field(default_factory=list)
    decoded: dict[str, list[Columns]] = field(default_factory=lambda: defaultdict(list))
    """By model: the predictions that were decoded one by one."""
    size: int = 0
    bytes: int = 0

    def __post_init__(self) -> None:
        self.scanner.rows = 0

    def take(self, messages: Sequence[Message], admit: Admit, generic: Generic) -> None:
        """Decode messages in log order."""
        for start in range(0, len(messages), SLICE):
            self._take(messages[start : start + SLICE], admit, generic)

    def _take(self, messages: Sequence[Message], admit: Admit, generic: Generic) -> None:
        values = list(map(_value, messages))
        if None in values:
            values = [value or b"" for value in values]
        texts = self.form.texts(messages, values) if self.form.texts else [b""] * len(values)
        joined = b"".join([*texts, bytes(PADDING)])
        ends = np.zeros(len(texts) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)), out=ends[1:])
        self.bytes += int(ends[-1]) if texts is values else sum(map(len, values))
        buffer = np.frombuffer(joined, np.uint8)
        done = 0
        while done < len(messages):
            upto, rows = self.scanner.scan(buffer, ends, done)
            self._place(messages[done:upto], rows, buffer, admit, generic)
            if upto < len(messages):
                self.scanned += self.scanner.columns()
                self.scanner.strings.forget()
            done = upto

    def _place(
        self, messages: Sequence[Message], rows: ScannedRows, buffer: Any, admit: Admit, generic: Generic
    ) -> None:
        """Number the rows. The decoder gets those that the scanner left out, and those whose time is out of range."""
        count, ts = len(messages), rows.ts
        arrived = np.fromiter(map(_stamp, map(_timestamp, messages)), np.int64, count)
        fast = rows.fast & (ts >= EARLIEST) & (ts <= arrived + self.max_skew)
        slow = self._decode(messages, np.flatnonzero(~fast), generic)
        kept = fast.copy()
        for index, event in slow.items():
            kept[index], ts[index] = True, event.ts
        numbers = self.size - 1 + np.cumsum(kept)
        self.scanner.place(rows, np.where(fast, numbers, -1))
        partition = np.fromiter(map(_partition, messages), np.int64, count)
        if kept.any():
            ids = _hashes(rows, buffer, kept, slow)
            self.ids.append(ids)
            self._note(Arrivals(partition[kept], ts[kept], lambda: ids[:, 0], lambda: stamped(messages)[kept]), admit)
        self._build({int(numbers[index]): event for index, event in slow.items()})
        self.size += int(kept.sum())

    @staticmethod
    def _decode(messages: Sequence[Message], which: I64, generic: Generic) -> dict[int, Prediction]:
        decoded = {index: generic(messages[index]) for index in which.tolist()}
        return {index: event for index, event in decoded.items() if isinstance(event, Prediction)}

    def _build(self, events: dict[int, Prediction]) -> None:
        """Build the columns of events that were decoded one by one; the scanner learns their names."""
        by_model: dict[str, list[int]] = defaultdict(list)
        for row, event in events.items():
            by_model[event.model].append(row)
        for model, rows in by_model.items():
            chosen = [events[row] for row in rows]
            self.decoded[model].append(build.of_predictions(model, rows, chosen, self.scanner.reading))
        self.scanner.learn(list(events.values()))

    def _note(self, arrivals: Arrivals, admit: Admit) -> None:
        self.partition.append(arrivals.partition)
        self.ts.append(arrivals.ts)
        self.before.append(admit(arrivals))

    def clocks(self) -> tuple[I64, I64, I64]:
        """(partition, ts, largest earlier ts of the partition), by row."""
        return np.concatenate(self.partition), np.concatenate(self.ts), np.concatenate(self.before)

    def hashes(self) -> npt.NDArray[np.uint64]:
        """128-bit hashes of the ids, (n, 2)."""
        return np.concatenate(self.ids)

    def columns(self) -> list[Columns]:
        """The columns of all predictions; each prediction is in exactly one of them."""
        self.scanned += self.scanner.columns()
        return [*self.scanned, *(merge(self.decoded[model]) for model in sorted(self.decoded))]


def _hashes(rows: ScannedRows, buffer: Any, kept: Any, slow: dict[int, Prediction]) -> npt.NDArray[np.uint64]:
    hashes = np.empty((len(kept), 2), np.uint64)
    hash_all(buffer, rows.id_start, rows.id_start + rows.id_length, hashes)
    if slow:
        hashes[list(slow)] = hash_ids([event.id for event in slow.values()])
    return hashes if kept.all() else hashes[kept]
