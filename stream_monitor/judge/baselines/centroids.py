"""Embeddings of the input lane: the centroid of the baseline's, and how far from it the vectors of later panes are.

The vectors are those of the sampled rows. A centroid is the mean of the first ones, of all versions; from the next
pane on each vector has a distance to it. That is a value of the measure `distance(...)`, as any that describe sends of
a measure without edges: it makes a baseline of its own, and edges. Vectors are added up in the order of panes, groups
and hashes, so that not even the last digit depends on how they came.
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
    """The centroid of a measure's embeddings, or what it is being made of."""

    total: np.ndarray
    """(length,) sum of the vectors."""
    n: int = 0
    events: int = 0
    """Of the panes that came in while it filled."""
    since: int = NEVER
    """Start of the first pane (epoch ms) after it; NEVER while it fills."""


def collect_embeddings(parts: Sequence[IndexedPart], rows: Mapping[int, Rows]) -> list[Embedded]:
    """The embeddings of a pane's merged samples.

    Where workers disagree on the length, in the midst of a change of settings, the longer ones count.
    """
    found: dict[tuple[str, int], dict[int, list[tuple[I64, F64]]]] = defaultdict(lambda: defaultdict(list))
    for placed in parts:
        part, groups = placed.part, placed.row_index.groups
        sample, sent = part.delta.sample, part.delta.vectors
        if sample is None or sent is None:
            continue
        for name, at, numbers in sent.each():
            cell = sample.cell[at].astype(np.int64) - part.first
            mine = (cell >= 0) & (cell < len(groups))
            group = np.full(len(at), -1, np.int64)
            group[mine] = groups[cell[mine]]
            for number in np.unique(group[group >= 0]).tolist():
                chosen = group == number
                if number in rows:
                    place, kept = _places(rows[number], sample.hash[at[chosen]])
                    found[name, number][numbers.shape[1]].append((place, numbers[chosen][kept].astype(np.float64)))
    return [
        Embedded(name, number, vectors)
        for (name, number), by_length in sorted(found.items())
        if len(vectors := _in_order(by_length[max(by_length)]))
    ]


def _places(rows: Rows, hashes: np.ndarray) -> tuple[I64, np.ndarray]:
    """(places among the rows of those that are there, which these are)."""
    place = np.minimum(np.searchsorted(rows.hash, hashes), max(len(rows) - 1, 0))
    kept = rows.hash[place] == hashes if len(rows) else np.zeros(len(hashes), np.bool_)
    return place[kept], kept


def _in_order(parts: Sequence[tuple[I64, F64]]) -> F64:
    """By place, an event once."""
    _, first = np.unique(np.concatenate([place for place, _ in parts]), return_index=True)
    return np.asarray(np.concatenate([vectors for _, vectors in parts])[first])


class Centroids:
    """Behaviour around centroids by measure; it does nothing where no embeddings come."""

    def __init__(self, state: dict[str, Centroid], pinned: dict[str, np.ndarray], first: int) -> None:
        self.state, self.pinned, self.first = state, pinned, first

    def distances(self, start: int, found: Sequence[Embedded], groups: Sequence[tuple[str, str]]) -> PanePart | None:
        """Euclidean distances of a pane's embeddings to the centroids in force, as a part of a delta."""
        columns: dict[str, dict[int, F64]] = defaultdict(dict)
        for one in found:
            centroid = self._of(one.measure)
            if centroid is None or centroid.shape != one.vectors.shape[1:]:
                continue
            apart = one.vectors - centroid
            columns[distance_of(one.measure)][one.group] = np.sqrt((apart * apart).sum(axis=1))
        return _part(start, columns, groups) if columns else None

    def _of(self, name: str) -> F64 | None:
        """The centroid in force, None while there is none."""
        if name in self.pinned:
            return self.pinned[name]
        known = self.state.get(name)
        return None if known is None or known.since == NEVER else np.asarray(known.total / known.n)

    def takes(self, name: str, centroid: F64) -> bool:
        """Whether one can be pinned: not of another length than the embeddings that came."""
        known = self.state.get(name)
        return known is None or known.total.shape == centroid.shape

    def pin(self, name: str, centroid: F64) -> None:
        """Put a centroid in force from the first pane not yet closed."""
        self.pinned[name] = centroid

    def fill(self, pane: Pane, end: int) -> None:
        """Let centroids in the making take in a pane that ends at `end`."""
        came: set[str] = set()
        for name, group, vectors in pane.vectors:
            known = self.state.get(name)
            if known is None:
                known = self.state[name] = Centroid(np.zeros(vectors.shape[1]))
            if known.since == NEVER and known.total.shape == vectors.shape[1:]:
                known.total = known.total + vectors.sum(axis=0)
                known.n += len(vectors)
                known.events += pane.accepted.get(group, 0)
                came.add(name)
        for name in came:
            known = self.state[name]
            if known.events >= self.first and known.n >= min(self.first, ENOUGH):
                known.since = end

    def forget(self, reset: ResetRecord) -> None:
        """Learn anew what a reset covers for all versions and events."""
        for name in {*self.state, *self.pinned}:
            if reset.version is None and reset.covers(None, ALL_SEGMENTS, distance_of(name)):
                self.state.pop(name, None)
                self.pinned.pop(name, None)


def _part(start: int, columns: Mapping[str, Mapping[int, F64]], groups: Sequence[tuple[str, str]]) -> PanePart:
    """Values by measure and group as describe would send them of measures whose edges it does not know."""
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
    [(rows, categories)] = summarise(cells, numeric, {}, [KnownBins()])
    return PanePart(Delta("", "input", version, segment, pane, counts, rows, categories), 0, len(numbers))
