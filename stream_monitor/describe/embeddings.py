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

from stream_monitor.types import F64

PROJECTIONS = 4
LARGEST = 1e100
"""No number of an embedding is as large; with one that is it counts as something else."""
_NUMBERS = {int, float}


class Embeddings:
    """The features that are embeddings, by their length."""

    def __init__(self, lengths: Mapping[str, int]) -> None:
        self._directions = {name: directions(name, length) for name, length in lengths.items()}

    def __contains__(self, feature: str) -> bool:
        return feature in self._directions

    def measured(self, feature: str, value: Any) -> list[float] | None:
        """Norm and projections; None where the value is no array of as many numbers as the feature has."""
        along = self._directions[feature]
        if not isinstance(value, list) or len(value) != along.shape[1] or not _NUMBERS.issuperset(map(type, value)):
            return None
        try:
            vector = np.array(value, np.float64)
        except OverflowError:
            return None
        if not (np.abs(vector) < LARGEST).all():
            return None
        return [float(np.sqrt((vector * vector).sum())), *(along * vector).sum(axis=1).tolist()]


def directions(feature: str, length: int) -> F64:
    """(PROJECTIONS, length): unit vectors, to six digits, so that they are the same on all machines."""
    seed = xxhash.xxh32_intdigest(f"{feature}\x1f{length}".encode())
    drawn = np.random.RandomState(seed).standard_normal((PROJECTIONS, length))
    return np.asarray(np.round(drawn / np.sqrt((drawn * drawn).sum(axis=1, keepdims=True)), 6))
