"""Embeddings of the input timeline: the centroid of the baseline, and the distances of later vectors from it.

The vectors are those of the sampled rows. A centroid is the mean of the first vectors, over all versions. From the next
pane on, each vector has a distance from the centroid. The distance is a value of the measure `distance(...)` and is
treated like values that describe sends for a measure without edges: it gets a baseline and edges of its own. Vectors
are summed in the order of panes, groups and hashes, so that the order of their arrival does not affect even the last
digit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from stream_monitor.baselines.sampled_rows import ENOUGH, Embedded, Rows
from stream_monitor.describe.aggregate.summarise import ProfileCells, summarise
from stream_monitor.judge.panes.pane import IndexedPart, Pane, PanePart
from stream_monitor.profiles.delta import Delta
from stream_monitor.profiles.known_bins import KnownBins
from stream_monitor.profiles.measures import distance_of
from stream_monitor.profiles.names import ALL_SEGMENTS, NEVER
from stream_monitor.profiles.records import ResetRecord
from stream_monitor.types import F64, I64


class Centroid(msgspec.Struct):
    """The centroid of a measure's embeddings, complete or being built."""

    total: np.ndarray
    """(length,) sum of the vectors."""
    n: int = 0
    events: int = 0
    """The events of the panes that it was built from."""
    since: int = NEVER
    """Start of the first pane (epoch ms) after it was complete; NEVER while it is being built."""


def collect_embeddings(parts: Sequence[IndexedPart], rows: Mapping[int, Rows]) -> list[Embedded]:
    """The embeddings of a pane's merged samples.

    During a change of settings workers may send different lengths; then only the longest embeddings count.
    """
    vectors_by_length: dict[tuple[str, int], dict[int, list[tuple[I64, F64]]]] = defaultdict(lambda: defaultdict(list))
    for placed in parts:
        part, groups = placed.part, placed.row_index.groups
        sample, embeddings = part.delta.sample, part.delta.vectors
        if sample is None or embeddings is None:
            continue
        for name, row_index, numbers in embeddings.each():
            cell = sample.cell[row_index].astype(np.int64) - part.first
            inside = (cell >= 0) & (cell < len(groups))
            group = np.full(len(row_index), -1, np.int64)
            group[inside] = groups[cell[inside]]
            for number in np.unique(group[group >= 0]).tolist():
                of_group = group == number
                if number in rows:
                    place, kept = _places(rows[number], sample.hash[row_index[of_group]])
                    vectors_by_length[name, number][numbers.shape[1]].append(
                        (place, numbers[of_group][kept].astype(np.float64))
                    )
    return [
        Embedded(name, number, vectors)
        for (name, number), by_length in sorted(vectors_by_length.items())
        if len(vectors := _in_order(by_length[max(by_length)]))
    ]


def _places(rows: Rows, hashes: np.ndarray) -> tuple[I64, np.ndarray]:
    """Look up hashes among the rows: (index of each one found, mask of those found)."""
    place = np.minimum(np.searchsorted(rows.hash, hashes), max(len(rows) - 1, 0))
    kept = rows.hash[place] == hashes if len(rows) else np.zeros(len(hashes), np.bool_)
    return place[kept], kept


def _in_order(parts: Sequence[tuple[I64, F64]]) -> F64:
    """The vectors in the order of their rows, each event once."""
    _, first = np.unique(np.concatenate([place for place, _ in parts]), return_index=True)
    return np.asarray(np.concatenate([vectors for _, vectors in parts])[first])


class Centroids:
    """Builds, pins and applies the centroids of embeddings, by measure. It does nothing without embeddings."""

    def __init__(self, state: dict[str, Centroid], pinned: dict[str, np.ndarray], first: int) -> None:
        self.state, self.pinned, self.first = state, pinned, first

    def distances(
        self, start: int, embeddings: Sequence[Embedded], groups: Sequence[tuple[str, str]]
    ) -> PanePart | None:
        """Euclidean distances of a pane's embeddings from the active centroids, as a part of a delta."""
        columns: dict[str, dict[int, F64]] = defaultdict(dict)
        for embedded in embeddings:
            centroid = self._of(embedded.measure)
            if centroid is None or centroid.shape != embedded.vectors.shape[1:]:
                continue
            difference = embedded.vectors - centroid
            columns[distance_of(embedded.measure)][embedded.group] = np.sqrt((difference * difference).sum(axis=1))
        return _part(start, columns, groups) if columns else None

    def _of(self, name: str) -> F64 | None:
        """The active centroid of a measure; None while there is none."""
        if name in self.pinned:
            return self.pinned[name]
        known = self.state.get(name)
        return None if known is None or known.since == NEVER else np.asarray(known.total / known.n)

    def takes(self, name: str, centroid: F64) -> bool:
        """Whether this centroid can be pinned: its length must be that of the embeddings so far."""
        known = self.state.get(name)
        return known is None or known.total.shape == centroid.shape

    def pin(self, name: str, centroid: F64) -> None:
        """Activate a centroid from the first open pane on."""
        self.pinned[name] = centroid

    def fill(self, pane: Pane, end: int) -> None:
        """Add a pane that ends at `end` to the centroids that are being built; activate those that are full."""
        changed: set[str] = set()
        for name, group, vectors in pane.vectors:
            centroid = self.state.get(name)
            if centroid is None:
                centroid = self.state[name] = Centroid(np.zeros(vectors.shape[1]))
            if centroid.since == NEVER and centroid.total.shape == vectors.shape[1:]:
                centroid.total = centroid.total + vectors.sum(axis=0)
                centroid.n += len(vectors)
                centroid.events += pane.accepted.get(group, 0)
                changed.add(name)
        for name in changed:
            centroid = self.state[name]
            if centroid.events >= self.first and centroid.n >= min(self.first, ENOUGH):
                centroid.since = end

    def forget(self, reset: ResetRecord) -> None:
        """Drop the centroids that a reset covers for all versions and events."""
        for name in {*self.state, *self.pinned}:
            if reset.version is None and reset.covers(None, ALL_SEGMENTS, distance_of(name)):
                self.state.pop(name, None)
                self.pinned.pop(name, None)


def _part(start: int, columns: Mapping[str, Mapping[int, F64]], groups: Sequence[tuple[str, str]]) -> PanePart:
    """A part with values by measure and group, in the form that describe uses for measures without edges."""
    numbers = sorted({group for values in columns.values() for group in values})
    most = [max(len(values.get(group, ())) for values in columns.values()) for group in numbers]
    ends = np.cumsum([0, *most]).tolist()
    numeric = {name: np.full(ends[-1], np.nan) for name in sorted(columns)}
    for name, column in numeric.items():
        for place, group in enumerate(numbers):
            values = columns[name].get(group, np.zeros(0))
            column[ends[place] : ends[place] + len(values)] = values
    counts = np.zeros((len(numbers), 3), np.int64)
    pane = np.full(len(numbers), start, np.int64)
    version, segment = ([groups[group][i] for group in numbers] for i in (0, 1))
    cell = np.repeat(np.arange(len(numbers)), most)
    cells = ProfileCells(np.zeros(len(numbers), np.int64), version, segment, pane, counts, np.arange(ends[-1]), cell)
    [(rows, categories, _)] = summarise(cells, numeric, {}, [KnownBins()])
    return PanePart(Delta("", "input", version, segment, pane, counts, rows, categories), 0, len(numbers))
