"""The columns of the pending rows: ring buffers that grow one at a time, addressed by sequence numbers of rows.

A row's sequence number never changes; only the column knows where the row lies. Each column has its own capacity. The
capacities are staggered on one geometric ladder, so the columns do not grow in the same call: growth copies 80 MB at
10 M rows, not 600 MB. In steady state nothing is copied.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from stream_monitor.types import I64

COLUMNS: dict[str, npt.DTypeLike] = {
    "hash": np.uint64, "check": np.uint32, "ts": np.int64, "kind": np.uint8, "key": np.uint32,
    "answer": np.uint32, "value": np.float64, "score": np.float32, "label": np.float64, "labeler": np.uint32,
    "bits": np.uint16, "flags": np.uint8, "fingerprint": np.uint32, "distance": np.uint32,
}  # fmt: skip
"""64 bytes a row. `fingerprint` is that of a label; a prediction has that of its first label. The index uses
`distance`: the next row of the chain is so many rows earlier; 0 ends the chain."""

HAS_LABEL, CATEGORICAL, JOINED = 1, 2, 4
"""Flags of a row. CATEGORICAL: the label (of a LABEL row: the value) is a category code. JOINED: a label or signal has
joined a prediction."""

GROWTH = 1.25
"""Factor by which a column grows; it reserves at most so many times the space for the most rows that it has held."""

_SMALLEST = 1024
FIRST_SEQUENCE = 1
"""1, so that no row has the sequence number 0."""


class RingColumn:
    """One column. A row lies at `sequence - lap` modulo the capacity; `lap` is the row at place 0."""

    def __init__(self, dtype: npt.DTypeLike, stagger: float) -> None:
        self._smallest = _SMALLEST * GROWTH**stagger
        self._data: npt.NDArray[Any] = np.empty(int(self._smallest), dtype)
        self._lap = FIRST_SEQUENCE

    @property
    def nbytes(self) -> int:
        """Bytes that the column reserves."""
        return self._data.nbytes

    def take(self, rows: I64) -> npt.NDArray[Any]:
        """A copy of the values of rows."""
        return np.take(self._data, rows - self._lap, mode="wrap")

    def put(self, rows: I64, values: Any) -> None:
        """Set the values of rows."""
        np.put(self._data, rows - self._lap, values, mode="wrap")

    def span(self, start: int, stop: int) -> npt.NDArray[Any]:
        """The values of the rows [start, stop); a view if they are contiguous."""
        capacity = len(self._data)
        place, count = (start - self._lap) % capacity, stop - start
        if place + count <= capacity:
            return self._data[place : place + count]
        return np.concatenate([self._data[place:], self._data[: place + count - capacity]])

    def append(self, head: int, count: int, values: Any) -> None:
        """Write rows from `head` on; the caller has made room for them."""
        capacity = len(self._data)
        values = np.broadcast_to(values, count)
        place = head - self._lap
        first = min(count, capacity - place)
        self._data[place : place + first] = values[:first]
        self._data[: count - first] = values[first:]
        if place + count >= capacity:
            self._lap += capacity

    def fit(self, tail: int, head: int, count: int) -> None:
        """Make room for `count` rows after `head`, or shrink a far too large column; keep the rows [tail, head)."""
        needed, size = head + count - tail, self._smallest
        if not needed <= len(self._data) <= 4 * max(needed, size):
            while size < needed:
                size *= GROWTH
            grown = np.empty(int(size) + 1, self._data.dtype)
            grown[: head - tail] = self.span(tail, head)
            self._data, self._lap = grown, tail

    def restart(self, sequence: int) -> None:
        """Empty the column; the next row has the sequence number `sequence`."""
        self._lap = sequence


class Ring:
    """All columns; they hold the rows [tail, head)."""

    def __init__(self) -> None:
        share = 1 / len(COLUMNS)
        self.columns = {name: RingColumn(dtype, i * share) for i, (name, dtype) in enumerate(COLUMNS.items())}
        self.tail = self.head = FIRST_SEQUENCE

    def __len__(self) -> int:
        return self.head - self.tail

    @property
    def nbytes(self) -> int:
        """Bytes that the columns reserve."""
        return sum(column.nbytes for column in self.columns.values())

    def take(self, name: str, rows: I64) -> npt.NDArray[Any]:
        """The values of a column for rows given by sequence number."""
        return self.columns[name].take(rows)

    def append(self, count: int, values: Mapping[str, Any]) -> I64:
        """Append rows and return their sequence numbers; columns that are not in `values` are zero."""
        for name, column in self.columns.items():
            column.fit(self.tail, self.head, count)
            column.append(self.head, count, values.get(name, 0))
        self.head += count
        return np.arange(self.head - count, self.head)

    def fit(self) -> None:
        """Free the memory of a past peak."""
        for column in self.columns.values():
            column.fit(self.tail, self.head, 0)

    def skip_to(self, sequence: int) -> None:
        """Let an empty ring continue at a sequence number; the former owner dropped the rows before it."""
        self.tail = self.head = sequence
        for column in self.columns.values():
            column.restart(sequence)
