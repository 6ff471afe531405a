"""Rows of features and vectors that a delta carries as they were sent."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from stream_monitor.types import F32, I64
from stream_monitor.wire.msgpack_arrays import Table


class SampleRows(Table, code=2):
    """Rows of a delta, sorted by cell and hash.

    Row r has values[i * rows + r] of numbers[i], NaN where it has none, and categories[codes[j * rows + r]] of
    texts[j], -1 where it has none. A cell has as many rows as events, or as `most` (one number) says.
    """

    __slots__ = ("categories", "cell", "codes", "hash", "most", "numbers", "texts", "values")
    numbers: list[str]
    texts: list[str]
    categories: list[str]
    most: list[int]
    cell: np.ndarray
    hash: np.ndarray
    values: np.ndarray
    codes: np.ndarray


class VectorRows(Table, code=3):
    """Embeddings of the rows of a sample: names[k] has counts[k] of them, of lengths[k] numbers each.

    `row` are their places among the rows, `values` their numbers, name after name.
    """

    __slots__ = ("counts", "lengths", "names", "row", "values")
    names: list[str]
    lengths: list[int]
    counts: list[int]
    row: np.ndarray
    values: np.ndarray

    def each(self) -> Iterator[tuple[str, I64, F32]]:
        """(name, places, (places, length) numbers)."""
        row = value = 0
        for name, length, count in zip(self.names, self.lengths, self.counts, strict=True):
            numbers = self.values[value : value + count * length].reshape(count, length)
            yield name, self.row[row : row + count].astype(np.int64), numbers
            row, value = row + count, value + count * length

    def pieces(self, most: int) -> Iterator[VectorRows]:
        """The same in parts whose numbers have at most `most` bytes, or are those of one embedding."""
        for name, rows, numbers in self.each():
            step = max(most // (numbers.itemsize * numbers.shape[1]), 1)
            for at in range(0, len(rows), step):
                some, places = numbers[at : at + step], rows[at : at + step].astype(np.uint32)
                yield VectorRows(
                    names=[name], lengths=[some.shape[1]], counts=[len(some)], row=places, values=some.reshape(-1)
                )
