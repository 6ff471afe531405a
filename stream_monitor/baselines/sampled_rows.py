"""Sampled rows and their merge: the rows with the smallest hashes of several parts.

A part that had more events than rows is complete only up to its largest hash (`upto`). A merge leaves out the rows
beyond the smallest `upto` of the parts, because there the rows stand only for some of the events. It keeps every event
whose hash is at most `upto`: a sample in which every event had the same chance (theta sketches, Dasgupta et al. 2016).
Merging is exact in any order and grouping.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from stream_monitor.profiles.samples import SampleRows
from stream_monitor.types import F64, I64, Bool

ALL_HASHES = 2**64 - 1
WINDOW_ROWS = 1_000
"""Most rows of a window; those with the smallest hashes are kept."""
BASELINE_ROWS = 2_000
"""Most rows of a baseline; those with the smallest hashes are kept."""
ENOUGH = 500
"""Fewest rows of a baseline; `baseline.first` rows if that is less."""
LATER = 16
"""Most parts that wait to be merged."""


class Rows(msgspec.Struct):
    """Rows sorted by hash; they contain every event of the sampled set whose hash is at most `upto`."""

    hash: np.ndarray
    upto: int
    numbers: list[str]
    """Names of the numeric columns, sorted."""
    values: np.ndarray
    """(numbers, rows), NaN where a row has none."""
    texts: list[str]
    """Names of the categorical columns, sorted."""
    codes: np.ndarray
    """(texts, rows) indices into `categories`, -1 where a row has none."""
    categories: list[str]
    """Sorted."""

    def __len__(self) -> int:
        return len(self.hash)

    @property
    def sound(self) -> bool:
        """Whether hashes ascend and each column has a value for each row; to check rows from a file."""
        size = len(self.hash)
        shapes = self.values.shape == (len(self.numbers), size) and self.codes.shape == (len(self.texts), size)
        kinds = (self.hash.dtype.kind, self.values.dtype.kind, self.codes.dtype.kind) == ("u", "f", "i")
        return shapes and kinds and self.hash.ndim == 1 and self._ordered()

    def _ordered(self) -> bool:
        codes = (self.codes >= -1) & (self.codes < len(self.categories))
        return bool((self.hash[1:] > self.hash[:-1]).all() and codes.all() and not np.isinf(self.values).any())

    def number(self, name: str) -> F64:
        """A numeric column; all NaN if there is no such column."""
        if name not in self.numbers:
            return np.full(len(self), np.nan)
        return np.asarray(self.values[self.numbers.index(name)])

    def text(self, name: str) -> I64:
        """The codes of a categorical column; all -1 if there is no such column."""
        if name not in self.texts:
            return np.full(len(self), -1, np.int64)
        return np.asarray(self.codes[self.texts.index(name)], np.int64)

    def kept(self, rows: Bool, upto: int) -> Rows:
        """Some of the rows, with only the columns and categories that they use."""
        values, codes = self.values[:, rows], self.codes[:, rows]
        some, few = (~np.isnan(values)).sum(axis=1) > 0, (codes >= 0).sum(axis=1) > 0
        codes = codes[few].astype(np.int64)
        used = np.unique(codes[codes >= 0])
        place = np.full(len(self.categories) + 1, -1, np.int64)
        place[used] = np.arange(len(used))
        return Rows(
            hash=self.hash[rows],
            upto=upto,
            numbers=_chosen(self.numbers, some),
            values=values[some],
            texts=_chosen(self.texts, few),
            codes=place[codes],
            categories=[self.categories[code] for code in used.tolist()],
        )

    def of(self, admitted: Container[str]) -> Rows:
        """The same rows without the columns of features that are not in `admitted`."""
        if all(name in admitted for name in (*self.numbers, *self.texts)):
            return self
        some, few = (np.array([name in admitted for name in names], np.bool_) for names in (self.numbers, self.texts))
        numbers, texts = _chosen(self.numbers, some), _chosen(self.texts, few)
        less = Rows(self.hash, self.upto, numbers, self.values[some], texts, self.codes[few], self.categories)
        return less.kept(np.ones(len(self.hash), np.bool_), self.upto)


class Embedded(NamedTuple):
    """The sampled embeddings of a measure in a group, sorted by the hash of their events."""

    measure: str
    group: int
    vectors: F64
    """(events, length)."""


def _chosen(names: Sequence[str], chosen: Bool) -> list[str]:
    return [name for name, there in zip(names, chosen.tolist(), strict=True) if there]


def of_cell(sample: SampleRows, cell: int, events: int) -> Rows:
    """The sampled rows of one cell of a delta; `events` is the number of its accepted events."""
    own = slice(*np.searchsorted(sample.cell, (cell, cell + 1)).tolist())
    size, hashes = len(sample.cell), sample.hash[own]
    order = sorted(range(len(sample.categories)), key=sample.categories.__getitem__)
    place = np.full(len(order) + 1, -1, np.int64)
    place[order] = np.arange(len(order))
    rows = Rows(
        hash=hashes,
        upto=int(hashes[-1]) if len(hashes) and events > len(hashes) else ALL_HASHES,
        numbers=sample.numbers,
        values=sample.values.reshape(len(sample.numbers), size)[:, own],
        texts=sample.texts,
        codes=place[sample.codes.reshape(len(sample.texts), size)[:, own]],
        categories=[sample.categories[i] for i in order],
    )
    return rows.kept(np.ones(len(hashes), np.bool_), rows.upto)


def merge(parts: Sequence[Rows], most: int) -> Rows:
    """Merge parts to at most `most` rows with the smallest hashes.

    The result goes up to the hash up to which all parts are complete. If an id occurs several times, the first row
    counts.
    """
    categories = sorted({name for part in parts for name in part.categories})
    numbers = sorted({name for part in parts for name in part.numbers})
    texts = sorted({name for part in parts for name in part.texts})
    hashes, first = np.unique(np.concatenate([part.hash for part in parts]), return_index=True)
    upto = min(part.upto for part in parts)
    kept = int(np.searchsorted(hashes, np.uint64(upto), "right"))
    if kept > most:
        kept, upto = most, int(hashes[most - 1])
    ends = np.cumsum([0, *map(len, parts)]).tolist()
    values, codes = np.full((len(numbers), ends[-1]), np.nan), np.full((len(texts), ends[-1]), -1, np.int64)
    for part, start, end in zip(parts, ends, ends[1:], strict=False):
        values[_places(part.numbers, numbers), start:end] = part.values
        place = np.append(_places(part.categories, categories), -1)
        codes[_places(part.texts, texts), start:end] = place[part.codes]
    whole = Rows(hashes, upto, numbers, values[:, first], texts, codes[:, first], categories)
    return whole.kept(np.arange(len(hashes)) < kept, upto)


def collect(into: list[Rows], rows: Rows, most: int) -> None:
    """Add a part to those that wait to be merged; merge them when there are many."""
    into.append(rows)
    if len(into) > LATER or sum(map(len, into)) > 2 * most:
        into[:] = [merge(into, most)]


def _places(some: Sequence[str], names: Sequence[str]) -> I64:
    """The index of each of `some` in `names`; numpy's search would ignore a NUL at the end of a name."""
    index = {name: i for i, name in enumerate(names)}
    return np.array([index[name] for name in some], np.int64)
