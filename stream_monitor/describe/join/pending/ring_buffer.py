"""The columns of the pending rows: rings that grow one at a time, addressed by row sequence numbers.

A row's sequence number never changes; where the row lies is the column's own business. Each column has its
own capacity, and the capacities are staggered on one geometric ladder, so the columns do not grow in the same
call: a growth copies 80 MB at 10 M rows, not 600 MB. In steady state nothing is ever copied.
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
    "bits": np.uint16, "flags": np.uint8, "distance": np.uint32,
}  # fmt: skip
"""60 bytes a row. `distance` is the index's: how many rows before this one its chain goes on, 0 = nowhere."""

HAS_LABEL, CATEGORICAL = 1, 2
"""Flags of a row; CATEGORICAL says that the label (of a LABEL row: the value) is a category code."""

GROWTH = 1.25
"""A column reserves at most this many times what the most rows it ever held needed."""

_SMALLEST = 1024
FIRST_SEQUENCE = 1
"""So that 0 is never a row."""


class RingColumn:
    """One column. A row lies at `sequence - lap` modulo the capacity; `lap` is the row at place 0."""

    def __init__(self, dtype: npt.DTypeLike, stagger: float) -> None:
        self._smallest = _SMALLEST * GROWTH**stagger
        self._data: npt.NDArray[Any] = np.empty(int(self._smallest), dtype)
        self._lap = FIRST_SEQUENCE

    @property
    def nbytes(self) -> int:
        """Bytes that the column has reserved."""
        return self._data.nbytes

    def take(self, rows: I64) -> npt.NDArray[Any]:
        """The values of rows, a copy."""
        return np.take(self._data, rows - self._lap, mode="wrap")

    def put(self, rows: I64, values: Any) -> None:
        """Change the values of rows."""
        np.put(self._data, rows - self._lap, values, mode="wrap")

    def span(self, start: int, stop: int) -> npt.NDArray[Any]:
        """The values of the rows from `start` to before `stop`; a view where they lie in one piece."""
        capacity = len(self._data)
        at, count = (start - self._lap) % capacity, stop - start
        if at + count <= capacity:
            return self._data[at : at + count]
        return np.concatenate([self._data[at:], self._data[: at + count - capacity]])

    def append(self, head: int, count: int, values: Any) -> None:
        """Write rows from `head` on; there is room for them."""
        capacity = len(self._data)
        values = np.broadcast_to(values, count)
        at = head - self._lap
        first = min(count, capacity - at)
        self._data[at : at + first] = values[:first]
        self._data[: count - first] = values[first:]
        if at + count >= capacity:
            self._lap += capacity

    def fit(self, tail: int, head: int, count: int) -> None:
        """Make room for `count` rows after `head`, and give back far too much; keeps [tail, head)."""
        needed, size = head + count - tail, self._smallest
        if not needed <= len(self._data) <= 4 * max(needed, size):
            while size < needed:
                size *= GROWTH
            grown = np.empty(int(size) + 1, self._data.dtype)
            grown[: head - tail] = self.span(tail, head)
            self._data, self._lap = grown, tail

    def restart(self, sequence: int) -> None:
        """Hold nothing; the next row is `sequence`."""
        self._lap = sequence


class Ring:
    """All columns, and which rows they hold: those in [tail, head)."""

    def __init__(self) -> None:
        share = 1 / len(COLUMNS)
        self.columns = {name: RingColumn(dtype, i * share) for i, (name, dtype) in enumerate(COLUMNS.items())}
        self.tail = self.head = FIRST_SEQUENCE

    def __len__(self) -> int:
        return self.head - self.tail

    @property
    def nbytes(self) -> int:
        """Bytes that the columns have reserved."""
        return sum(column.nbytes for column in self.columns.values())

    def take(self, name: str, rows: I64) -> npt.NDArray[Any]:
        """A column at rows given by sequence number."""
        return self.columns[name].take(rows)

    def append(self, count: int, values: Mapping[str, Any]) -> I64:
        """Insert rows (columns that are not given are zero); their sequence numbers."""
        for name, column in self.columns.items():
            column.fit(self.tail, self.head, count)
            column.append(self.head, count, values.get(name, 0))
        self.head += count
        return np.arange(self.head - count, self.head)

    def fit(self) -> None:
        """Give back memory that a past peak left behind."""
        for column in self.columns.values():
            column.fit(self.tail, self.head, 0)

    def skip_to(self, sequence: int) -> None:
        """Let an empty ring go on at a sequence number; rows before it were dropped by whoever wrote them."""
        self.tail = self.head = sequence
        for column in self.columns.values():
            column.restart(sequence)
