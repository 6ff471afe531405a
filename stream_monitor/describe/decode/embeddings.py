"""Embeddings: features that are arrays of numbers of a declared length.

Describe measures an embedding by its norm and some projections, which are numeric measures like all others. The
directions of the projections are random. They follow from the feature's name and length alone and never change, so a
projection means the same in every event, worker and version. A drift that moves the mean of an embedding by d moves the
mean of a projection by about d / sqrt(length) (Johnson and Lindenstrauss 1984). Each event is computed by itself, so
that batches do not affect even the last digit.
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
    """The features that are embeddings; `lengths` by name.

    `sampled`: whether describe samples rows and so needs the vectors.
    """

    def __init__(self, lengths: Mapping[str, int], sampled: bool = False) -> None:
        self._directions = {name: directions(name, length) for name, length in lengths.items()}
        self.sampled = sampled

    def __contains__(self, feature: str) -> bool:
        return feature in self._directions

    def vector(self, feature: str, value: Any) -> F64 | None:
        """The numbers of an embedding, (length,); None if the value is no array of that many numbers."""
        length = self._directions[feature].shape[1]
        if not isinstance(value, list) or len(value) != length or not _NUMBERS.issuperset(map(type, value)):
            return None
        try:
            vector = np.array(value, np.float64)
        except OverflowError:
            return None
        return vector if (np.abs(vector) < LARGEST).all() else None

    def measured(self, feature: str, vector: F64) -> list[float]:
        """The norm, and then the projections."""
        along = (self._directions[feature] * vector).sum(axis=1)
        return [float(np.sqrt((vector * vector).sum())), *along.tolist()]


def has_gaps(value: Any) -> bool:
    """Whether a value is an array of numbers some of which are missing."""
    return isinstance(value, list) and None in value and all(type(each) in _NUMBERS or each is None for each in value)


def as_sent(vector: F64) -> F32:
    """The vector in single precision; larger numbers become the largest float32.

    Models compute embeddings in single precision, and it takes half the bytes.
    """
    return np.clip(vector, -_LARGEST_SENT, _LARGEST_SENT).astype(np.float32)


def directions(feature: str, length: int) -> F64:
    """(PROJECTIONS, length) unit vectors, rounded to six digits so that they are the same on all machines."""
    seed = xxhash.xxh32_intdigest(f"{feature}\x1f{length}".encode())
    drawn = np.random.RandomState(seed).standard_normal((PROJECTIONS, length))
    return np.asarray(np.round(drawn / np.sqrt((drawn * drawn).sum(axis=1, keepdims=True)), 6))
