"""The bin borders of a measure, and the one function that bins values with them.

Describe and judge both call `bin_values`, so the moment at which a worker hears of new edges cannot show in a result.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import xxhash

from stream_monitor.types import F64, I64

QUANTILES = 100
DOUBLINGS = 16
BINS = 160
"""Upper bound of bins a measure: quantiles, doubling steps on both ends, and the values of static limits."""


DIGEST = 2**40
"""A version is an ordinal times this, and a hash of the borders below it."""


class BinEdges(msgspec.Struct, frozen=True):
    """Borders b_0 < … < b_k-1: bin i holds b_i-1 < x <= b_i, the last bin everything above b_k-1.

    `version` names the borders; later ones of a measure have a larger one. 0 in a delta means "no edges yet, here are
    the values themselves".
    """

    version: int
    edges: np.ndarray = msgspec.field(name="borders")

    @classmethod
    def of(cls, borders: F64, ordinal: int = 1) -> BinEdges:
        """Borders that are the first, second, … of their measure.

        A model that is forgotten and comes again counts from 1 again. The hash keeps its new edges from being taken for
        the former ones, on which a worker may still count.
        """
        return cls(
            ordinal * DIGEST + xxhash.xxh3_64_intdigest(np.ascontiguousarray(borders).tobytes()) % DIGEST, borders
        )

    @property
    def ordinal(self) -> int:
        """Which edges of their measure these are, from 1; in older snapshots and profiles a version is just that."""
        return self.version // DIGEST or self.version


def bin_values(borders: F64, values: F64) -> I64:
    """The bin of each value; NaN falls into bin len(borders) and must be masked by the caller."""
    return np.searchsorted(borders, values, side="left")


def make_edges(values: F64, limits: Sequence[float] = (), ordinal: int = 1) -> BinEdges:
    """Edges from a baseline's values (finite, any order, at least one).

    About a hundred quantiles resolve the body; sixteen steps that double beyond either end keep a value that moves
    far away (kilometres for miles, seconds for milliseconds) measurable; the values of static limits make
    `p99 > 250` exact, by the share above 250.
    """
    ordered = np.sort(values)
    at = np.linspace(0, len(ordered) - 1, QUANTILES).astype(np.int64)
    body = np.unique(ordered[at])
    low, high = body[0], body[-1]
    step = (high - low) / 4 or max(abs(high), 1.0) * 0.25
    beyond = step * (2.0 ** np.arange(DOUBLINGS) - 0.5)
    borders = np.concatenate([low - beyond, body, high + beyond, np.asarray(limits[: BINS - 140], float)])
    borders = np.unique(borders)
    return BinEdges.of(borders[np.isfinite(borders)], ordinal)
