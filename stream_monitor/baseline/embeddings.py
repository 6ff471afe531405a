"""Embeddings of a file: the centroid of a sample of them, and how far from it they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import xxhash

from stream_monitor.baselines.baseline import BaselineBuilder
from stream_monitor.baselines.pinned import PinnedMeasure
from stream_monitor.baselines.sampled_rows import BASELINE_ROWS, ENOUGH, Rows
from stream_monitor.profiles.bins import make_edges
from stream_monitor.profiles.delta import Delta
from stream_monitor.profiles.measures import distance_of
from stream_monitor.profiles.names import ALL_SEGMENTS
from stream_monitor.types import F32, F64

Sample = tuple[np.ndarray, F32]
"""Hashes of events, and beside them their embeddings (events, length)."""


class Embeddings:
    """Of each embedding of a model those of smallest hash: enough of them for a baseline's rows, and no more."""

    def __init__(self) -> None:
        self._kept: dict[str, Sample] = {}
        self._waiting: dict[str, list[Sample]] = {}

    def take(self, delta: Delta) -> None:
        """Take in the embeddings that travel with a delta's sample."""
        if delta.sample is None or delta.vectors is None:
            return
        for name, rows, numbers in delta.vectors.each():
            waiting = self._waiting.setdefault(name, [])
            waiting.append((delta.sample.hash[rows], numbers.copy()))  # not the whole record
            if sum(len(hashes) for hashes, _ in waiting) > BASELINE_ROWS:
                self._settle(name)

    def measures(self, rows: Rows, name: str, limits: Mapping[str, tuple[float, ...]]) -> Iterator[PinnedMeasure]:
        """Baselines of this name: distances of those among the baseline's rows; `limits` as edges need them.

        A vector that the centroid was made of is nearer to it than another: distances are to the mean of the others.
        """
        for feature in sorted({*self._kept, *self._waiting}):
            self._settle(feature)
            hashes, numbers = self._kept[feature]
            vectors = numbers[np.isin(hashes, rows.hash)].astype(np.float64)
            n = len(vectors)
            if n >= ENOUGH:
                centroid, measure = vectors.mean(axis=0), distance_of(feature)
                apart: F64 = np.linalg.norm(vectors - centroid, axis=1) * n / (n - 1)
                edges, filling = make_edges(apart, limits.get(measure, ())), BaselineBuilder(events=len(apart))
                filling.add_only_values(0, [apart], len(apart))
                baseline = filling.finish(name, 0, edges)
                made = PinnedMeasure("input", ALL_SEGMENTS, measure, baseline, edges.edges, tail=edges.tail)
                made.centroid = centroid
                yield made

    def _settle(self, name: str) -> None:
        parts = [*self._waiting.pop(name, ())]
        if name in self._kept:
            parts.append(self._kept[name])
        hashes, numbers = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        ties = [xxhash.xxh3_64_intdigest(vector.tobytes()) for vector in numbers]
        order = np.lexsort((np.array(ties, np.uint64), hashes))  # of an id that came twice the same one in any order
        kept, first = np.unique(hashes[order], return_index=True)
        self._kept[name] = kept[:BASELINE_ROWS], numbers[order[first[:BASELINE_ROWS]]]
