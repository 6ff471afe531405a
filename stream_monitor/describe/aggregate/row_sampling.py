"""A sample of rows: of each cell the events with the smallest id hashes, with their features side by side.

The k smallest hashes of a union are among the k smallest of each part that holds them (k minimum values, Beyer et al.
2007). So samples merge exactly, and the split of events into deltas does not affect the result. The content of an event
does not affect whether it is sampled. A row holds at most `MOST_FEATURES` features, the first by name; the features
kept of a union are among those kept of each row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from stream_monitor.describe.decode.columns import Coded, Vectors
from stream_monitor.profiles.measures import base_of, group_of
from stream_monitor.profiles.samples import SampleRows, VectorRows
from stream_monitor.types import F32, F64, I64, U64

MOST_FEATURES = 100
"""Most features of a row; the first by name are kept."""


class SampleSpec(NamedTuple):
    """How to sample: a hash of each event's id, and the most rows of a cell."""

    hashes: U64
    most: int


class SampleIndex(NamedTuple):
    """The events in the sample, sorted by cell and hash."""

    row: I64
    cell: I64
    hash: U64

    def part(self, first: int, last: int) -> SampleIndex:
        """The events of the cells [first, last); these cells are then numbered from 0."""
        part = slice(*np.searchsorted(self.cell, (first, last)).tolist())
        return SampleIndex(self.row[part], self.cell[part] - first, self.hash[part])


def sample_rows(row: I64, cell: I64, sampling: SampleSpec) -> SampleIndex:
    """The events with the smallest hashes of each cell; `row` and `cell` pair events with cells."""
    hashes = sampling.hashes[row]
    order = np.lexsort((hashes, cell))
    row, cell, hashes = row[order], cell[order], hashes[order]
    starts = np.flatnonzero(np.diff(cell, prepend=-1))
    rank = np.arange(len(cell)) - np.repeat(starts, np.diff(np.append(starts, len(cell))))
    kept = rank < sampling.most
    return SampleIndex(row[kept], cell[kept], hashes[kept])


def is_feature(measure: str) -> bool:
    """Whether a measure of the input timeline is a feature or a projection of one, but no length, norm or kind."""
    itself = base_of(measure) is None or measure.startswith("projection_")
    return itself and group_of("input", measure) == "input"


def rows_of(drawn: SampleIndex, numeric: Mapping[str, F64], categorical: Mapping[str, Coded], most: int) -> SampleRows:
    """The sampled rows, with the features that at least one of them has."""
    size = len(drawn.row)
    numbers = {name: numeric[name][drawn.row] + 0.0 for name in sorted(numeric) if is_feature(name)}
    texts = {name: categorical[name][drawn.row].dense() for name in sorted(categorical) if is_feature(name)}
    if len(numbers) + len(texts) > MOST_FEATURES:
        _leave_out(numbers, texts)
    numbers = {name: column for name, column in numbers.items() if not np.isnan(column).all()}
    texts = {name: column for name, column in texts.items() if (column.codes >= 0).any()}
    together = Coded.chain(list(texts.values())).dense() if texts else Coded.absent(0)
    return SampleRows(
        numbers=list(numbers),
        texts=list(texts),
        categories=together.names,
        most=[most],
        cell=drawn.cell.astype(np.uint32),
        hash=drawn.hash,
        values=np.concatenate(list(numbers.values())) if numbers else np.zeros(0),
        codes=together.codes.astype(np.int32) if size else np.zeros(0, np.int32),
    )


def vectors_of(rows: I64, vectors: Vectors) -> VectorRows | None:
    """The embeddings of the sampled rows, by their row numbers in `vectors`; None if no row has one."""
    names, lengths, counts, places, values = [], [], [], list[int](), list[F32]()
    for name in sorted(vectors):
        sampled = [(place, vectors[name][row]) for place, row in enumerate(rows.tolist()) if row in vectors[name]]
        if sampled:
            names.append(name)
            lengths.append(len(sampled[0][1]))
            counts.append(len(sampled))
            places += [place for place, _ in sampled]
            values += [vector for _, vector in sampled]
    if not names:
        return None
    return VectorRows(
        names=names, lengths=lengths, counts=counts, row=np.array(places, np.uint32), values=np.concatenate(values)
    )


def _leave_out(numbers: dict[str, F64], texts: dict[str, Coded]) -> None:
    """Remove from each row the features beyond its first `MOST_FEATURES` by name."""
    names = sorted([*((name, 0) for name in numbers), *((name, 1) for name in texts)])
    present = np.array([texts[name].codes >= 0 if kind else ~np.isnan(numbers[name]) for name, kind in names])
    beyond = np.cumsum(present, axis=0) > MOST_FEATURES
    for (name, kind), gone in zip(names, beyond, strict=True):
        if kind:
            texts[name] = Coded(np.where(gone, -1, texts[name].codes), texts[name].names)
        else:
            numbers[name] = np.where(gone, np.nan, numbers[name])
