"""The sampled rows and embeddings of a delta."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from stream_monitor.types import F32, I64
from stream_monitor.wire.msgpack_arrays import Table


class SampleRows(Table, code=2):
    """Sampled rows of a delta, sorted by cell and hash.

    For R rows, row r has the value values[i * R + r] of feature numbers[i], NaN where it has none, and the category
    categories[codes[j * R + r]] of feature texts[j], code -1 where it has none. A cell has a row for each event, but at
    most `most` (one number).
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
    """Embeddings of sampled rows: counts[k] embeddings of names[k], with lengths[k] numbers each.

    `row` holds the indices of their rows, and `values` their numbers, one name after the other.
    """

    __slots__ = ("counts", "lengths", "names", "row", "values")
    names: list[str]
    lengths: list[int]
    counts: list[int]
    row: np.ndarray
    values: np.ndarray

    def each(self) -> Iterator[tuple[str, I64, F32]]:
        """Yield (name, indices of the rows, (rows, length) numbers)."""
        row = value = 0
        for name, length, count in zip(self.names, self.lengths, self.counts, strict=True):
            numbers = self.values[value : value + count * length].reshape(count, length)
            yield name, self.row[row : row + count].astype(np.int64), numbers
            row, value = row + count, value + count * length

    def pieces(self, most: int) -> Iterator[VectorRows]:
        """Yield the same in parts, each with at most `most` bytes of numbers or a single embedding."""
        for name, rows, numbers in self.each():
            step = max(most // (numbers.itemsize * numbers.shape[1]), 1)
            for first in range(0, len(rows), step):
                some, places = numbers[first : first + step], rows[first : first + step].astype(np.uint32)
                yield VectorRows(
                    names=[name], lengths=[some.shape[1]], counts=[len(some)], row=places, values=some.reshape(-1)
                )
