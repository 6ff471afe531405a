"""A sample of rows: of each pane the events of smallest id hash, with their features side by side.

The k smallest hashes of a union are among the k smallest of each part that holds them (k minimum values, Beyer et al.
2007): samples merge exactly, whatever came in which delta, and whether an event is in one does not depend on what it
says. A row holds at most `MOST_FEATURES` features, the first by name; those of a union are among those of each row.
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
"""Features of a row, the first by name."""


class SampleSpec(NamedTuple):
    """What to sample by: a hash of the id of each event, and how many rows a cell has at most."""

    hashes: U64
    most: int


class SampleIndex(NamedTuple):
    """Events that are in the sample, sorted by cell and hash."""

    row: I64
    cell: I64
    hash: U64

    def part(self, first: int, last: int) -> SampleIndex:
        """Those of the cells [first, last), which are numbered from 0 then."""
        at = slice(*np.searchsorted(self.cell, (first, last)).tolist())
        return SampleIndex(self.row[at], self.cell[at] - first, self.hash[at])


def sample_rows(row: I64, cell: I64, sampling: SampleSpec) -> SampleIndex:
    """The events of smallest hash of each cell; `row` and `cell` pair events with cells."""
    hashes = sampling.hashes[row]
    order = np.lexsort((hashes, cell))
    row, cell, hashes = row[order], cell[order], hashes[order]
    starts = np.flatnonzero(np.diff(cell, prepend=-1))
    rank = np.arange(len(cell)) - np.repeat(starts, np.diff(np.append(starts, len(cell))))
    kept = rank < sampling.most
    return SampleIndex(row[kept], cell[kept], hashes[kept])


def is_feature(measure: str) -> bool:
    """Whether a measure of the input lane is a feature or a projection of one, and neither a length nor a kind."""
    told = base_of(measure) is None or measure.startswith("projection_")
    return told and group_of("input", measure) == "input"


def rows_of(drawn: SampleIndex, numeric: Mapping[str, F64], categorical: Mapping[str, Coded], most: int) -> SampleRows:
    """The rows that were drawn, with those of their features that any of them has."""
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
    """The embeddings of the rows that were drawn, `rows` as `vectors` count them; None where there are none."""
    names, lengths, counts, places, values = [], [], [], list[int](), list[F32]()
    for name in sorted(vectors):
        there = [(place, vectors[name][row]) for place, row in enumerate(rows.tolist()) if row in vectors[name]]
        if there:
            names.append(name)
            lengths.append(len(there[0][1]))
            counts.append(len(there))
            places += [place for place, _ in there]
            values += [vector for _, vector in there]
    if not names:
        return None
    return VectorRows(
        names=names, lengths=lengths, counts=counts, row=np.array(places, np.uint32), values=np.concatenate(values)
    )


def _leave_out(numbers: dict[str, F64], texts: dict[str, Coded]) -> None:
    """Take from each row what is beyond its first features by name."""
    names = sorted([*((name, 0) for name in numbers), *((name, 1) for name in texts)])
    there = np.array([texts[name].codes >= 0 if kind else ~np.isnan(numbers[name]) for name, kind in names])
    beyond = np.cumsum(there, axis=0) > MOST_FEATURES
    for (name, kind), gone in zip(names, beyond, strict=True):
        if kind:
            texts[name] = Coded(np.where(gone, -1, texts[name].codes), texts[name].names)
        else:
            numbers[name] = np.where(gone, np.nan, numbers[name])
