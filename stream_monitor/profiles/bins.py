"""The edges of a measure, and the one function that bins values by them.

Describe and the judge both call `bin_values`, so the moment at which a worker learns of new edges cannot affect a
result.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import xxhash

from stream_monitor.profiles.tails import NO_TAIL, START, TINY, tail_start
from stream_monitor.types import F64, I64, Bool

QUANTILES = 100
DOUBLINGS = 16
BINS = 160
"""Most bins of a measure. Its edges are quantiles, doubling steps at both ends, and the values of static limits."""


DIGEST = 2**40
"""A version is an ordinal times this, plus a hash of the edges that is less than this."""


class BinEdges(msgspec.Struct, frozen=True):
    """Edges b_0 < … < b_k-1: bin i contains b_i-1 < x <= b_i, and the last bin all values above b_k-1.

    `version` identifies the edges; later edges of a measure have a larger version. In a delta, 0 means that there are
    no edges yet and that the delta contains the values themselves.
    """

    version: int
    edges: np.ndarray = msgspec.field(name="borders")
    tail: float = NO_TAIL
    """One of the edges: the start of the measure's tail; see `profiles.tails`. Edges of former versions have none."""

    @classmethod
    def of(cls, borders: F64, ordinal: int = 1, tail: float = NO_TAIL) -> BinEdges:
        """The first, second, … edges of their measure.

        A model that was forgotten and comes back counts from 1 again. The hash distinguishes its new edges from the
        former ones, on which a worker may still count.
        """
        hashed = np.append(borders, tail) if tail != NO_TAIL else np.ascontiguousarray(borders)
        return cls(ordinal * DIGEST + xxhash.xxh3_64_intdigest(hashed.tobytes()) % DIGEST, borders, tail)

    @property
    def ordinal(self) -> int:
        """The ordinal of these edges among those of their measure, from 1; older records have it as their version."""
        return self.version // DIGEST or self.version


def bin_values(borders: F64, values: F64) -> I64:
    """The bin of each value; the caller must mask NaN, which falls into bin len(borders)."""
    return np.searchsorted(borders, values, side="left")


def just_below(values: F64) -> F64:
    """The largest double below each value, at normal precision.

    Subnormal numbers are left out: a process whose processor flushes them to zero must bin as all others do.
    """
    below = np.nextafter(values, -np.inf)
    return np.asarray(np.where(np.abs(below) < TINY, np.where(values > 0, 0.0, -TINY), below))


def point_bins(borders: F64) -> Bool:
    """(len(borders) + 1,) whether a bin contains a single value: its upper edge, an atom of the baseline.

    >>> point_bins(make_edges(np.array([1.0] * 50 + [2.0] * 50)).edges).nonzero()[0].tolist()
    [17, 19]
    """
    points = np.zeros(len(borders) + 1, np.bool_)
    points[1:-1] = just_below(borders[1:]) == borders[:-1]
    return points


def make_edges(values: F64, limits: Sequence[float] = (), ordinal: int = 1) -> BinEdges:
    """Compute edges from a baseline's values (finite, in any order, at least one).

    About a hundred quantiles resolve the body. An atom is a value that takes two or more of them, such as a code, a
    flag or a price. It gets a bin of its own: an edge just below it, in place of its second quantile. Sixteen steps
    that double beyond either end keep values measurable that move far away (kilometres instead of miles, seconds
    instead of milliseconds). The values of static limits are edges, too, so that `p99 > 250` is exact, by the share
    above 250. From about the p93 on a tail of finer bins lies beside them.
    """
    ordered = np.sort(values)
    ranks = np.linspace(0, len(ordered) - 1, QUANTILES).astype(np.int64)
    body, taken = np.unique(ordered[np.unique(ranks)], return_counts=True)
    tail = tail_start(ordered, float(ordered[ranks[START]]))
    low, high = body[0], body[-1]
    step = (high - low) / 4 or max(abs(high), 1.0) * 0.25
    beyond = step * (2.0 ** np.arange(DOUBLINGS) - 0.5)
    atoms = just_below(body[taken > 1])
    others = np.asarray([*limits[: BINS - 140], *([tail] if tail != NO_TAIL else [])], float)
    borders = np.unique(np.concatenate([low - beyond, atoms, body, high + beyond, others]))
    return BinEdges.of(borders[np.isfinite(borders)], ordinal, tail)
