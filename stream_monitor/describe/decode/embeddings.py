"""Embeddings: arrays of numbers of a declared length, as measures like all others: a norm and some projections.

The directions of the projections are random, made of the feature's name and length alone, and never change: a
projection means the same in every event, worker and version. What moves the mean of an embedding by d moves that of a
projection by about d / sqrt(length) (Johnson and Lindenstrauss 1984). Each event is computed by itself, so that not
even the last digit depends on a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xxhash

from stream_monitor.profiles.measures import LARGEST
from stream_monitor.types import F32, F64

PROJECTIONS = 4
_NUMBERS = {int, float}
_LARGEST_SENT = float(np.finfo(np.float32).max)


class Embeddings:
    """The features that are embeddings, by their length; `sampled`: their vectors are wanted for samples of rows."""

    def __init__(self, lengths: Mapping[str, int], sampled: bool = False) -> None:
        self._directions = {name: directions(name, length) for name, length in lengths.items()}
        self.sampled = sampled

    def __contains__(self, feature: str) -> bool:
        return feature in self._directions

    def vector(self, feature: str, value: Any) -> F64 | None:
        """The numbers of an embedding; None where the value is no array of as many numbers as the feature has."""
        length = self._directions[feature].shape[1]
        if not isinstance(value, list) or len(value) != length or not _NUMBERS.issuperset(map(type, value)):
            return None
        try:
            vector = np.array(value, np.float64)
        except OverflowError:
            return None
        return vector if (np.abs(vector) < LARGEST).all() else None

    def measured(self, feature: str, vector: F64) -> list[float]:
        """Norm and projections."""
        along = (self._directions[feature] * vector).sum(axis=1)
        return [float(np.sqrt((vector * vector).sum())), *along.tolist()]


def as_sent(vector: F64) -> F32:
    """Single precision, which is what embeddings have, and half the bytes; what is beyond it becomes its largest."""
    return np.clip(vector, -_LARGEST_SENT, _LARGEST_SENT).astype(np.float32)


def directions(feature: str, length: int) -> F64:
    """(PROJECTIONS, length): unit vectors, to six digits, so that they are the same on all machines."""
    seed = xxhash.xxh32_intdigest(f"{feature}\x1f{length}".encode())
    drawn = np.random.RandomState(seed).standard_normal((PROJECTIONS, length))
    return np.asarray(np.round(drawn / np.sqrt((drawn * drawn).sum(axis=1, keepdims=True)), 6))
