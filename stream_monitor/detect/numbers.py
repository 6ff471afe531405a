"""Tables of numeric profiles, (groups × measures), that merge as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import msgspec
import numpy as np

from stream_monitor.describe.edges import BINS
from stream_monitor.types import F64, I64


class Numbers(msgspec.Struct):
    """n, mean, centred sum of squares, minimum, maximum (G, M) and bin counts (G, M, BINS)."""

    n: np.ndarray
    mean: np.ndarray
    m2: np.ndarray
    low: np.ndarray
    high: np.ndarray
    counts: np.ndarray

    @classmethod
    def empty(cls, groups: int, measures: int) -> Numbers:
        """A table of nothing."""
        shape = (groups, measures)
        return cls(
            np.zeros(shape, np.int64),
            np.zeros(shape),
            np.zeros(shape),
            np.full(shape, np.inf),
            np.full(shape, -np.inf),
            np.zeros((*shape, BINS), np.int64),
        )

    def grown(self, groups: int, measures: int) -> Numbers:
        """The same table with room for at least this many groups and measures."""
        if groups <= self.n.shape[0] and measures <= self.n.shape[1]:
            return self
        room = Numbers.empty(_room(groups, self.n.shape[0]), _room(measures, self.n.shape[1]))
        g, m = self.n.shape
        for name in self.__struct_fields__:
            getattr(room, name)[:g, :m] = getattr(self, name)
        return room

    def add(self, panes: Sequence[NumberRows]) -> None:
        """Merge the rows of panes into the table: one after another, in this order, as far as it shows."""
        # Panes of one layout share the very arrays that say which rows they have, so that these need not be compared.
        for _, run in groupby(panes, key=lambda rows: (id(rows.group), id(rows.measure))):
            self._add_moments([*run])
        if any([len(rows.bin_at) for rows in panes]):
            self._add_bins(panes)

    def _add_moments(self, panes: Sequence[NumberRows]) -> None:
        """Merge n, mean, spread and ends of panes that have the same rows."""
        places = panes[0].group * self.n.shape[1] + panes[0].measure
        if not len(places):
            return
        at = run_of(places)
        tables = [table.reshape(-1) for table in (self.n, self.mean, self.m2)]
        merged: Moments = (tables[0][at], tables[1][at], tables[2][at])
        for rows in panes:
            merged = merge_moments(merged, (rows.n, rows.mean, rows.m2))
        for table, column in zip(tables, merged, strict=True):
            table[at] = column
        low, high = self.low.reshape(-1), self.high.reshape(-1)
        low[at] = np.minimum.reduce([low[at], *[rows.low for rows in panes]])
        high[at] = np.maximum.reduce([high[at], *[rows.high for rows in panes]])

    def _add_bins(self, panes: Sequence[NumberRows]) -> None:
        """Merge bins; counts are exact in any order."""
        group, measure, at, n = (
            np.concatenate([getattr(rows, name) for rows in panes]) for name in ("group", "measure", "bin_at", "bin_n")
        )
        sizes = np.concatenate([rows.bin_ptr[1:] for rows in panes])
        sizes -= np.concatenate([rows.bin_ptr[:-1] for rows in panes])
        places = np.repeat((group * self.n.shape[1] + measure) * BINS, sizes) + at
        size = self.counts.size
        if len(places) * 4 < size:
            np.add.at(self.counts.reshape(-1), places, n)
        else:
            self.counts += np.bincount(places, n, size).astype(np.int64).reshape(self.counts.shape)


def run_of(places: I64) -> slice | I64:
    """Ascending distinct places as a slice, which is a view and no copy, when none is left out between them."""
    first, last = int(places[0]), int(places[-1])
    return slice(first, last + 1) if last - first + 1 == len(places) else places


def _room(wanted: int, have: int) -> int:
    return have if wanted <= have else max(wanted, 2 * have)


class NumberRows(msgspec.Struct):
    """Rows of a pane: measure `measure[r]` of group `group[r]`, distinct and ascending by both.

    Sparse bins as in `profiles`; counts and bins are of any integer type.
    """

    group: np.ndarray
    measure: np.ndarray
    n: np.ndarray
    mean: np.ndarray
    m2: np.ndarray
    low: np.ndarray
    high: np.ndarray
    bin_ptr: np.ndarray
    bin_at: np.ndarray
    bin_n: np.ndarray


Moments = tuple[Any, Any, Any]


def merge_moments(a: Moments, b: Moments) -> tuple[I64, F64, F64]:
    """(n, mean, m2) of two samples together; Chan, Golub and LeVeque (1979)."""
    n = a[0] + b[0]
    share = b[0] / np.maximum(n, 1)
    delta = b[1] - a[1]
    return n, a[1] + delta * share, a[2] + b[2] + delta * delta * (a[0] * share)


def quantile(counts: I64, borders: F64, share: float, low: float, high: float) -> float:
    """The value below or at which `share` of the values lie, by linear interpolation within its bin."""
    total = int(counts.sum())
    target = share * total
    cumulative = np.cumsum(counts[: len(borders) + 1])
    at = int(np.searchsorted(cumulative, target, side="left"))
    at = min(at, len(borders))
    left = max(float(borders[at - 1]) if at > 0 else low, low)
    right = min(float(borders[at]) if at < len(borders) else high, high)
    before = int(cumulative[at - 1]) if at > 0 else 0
    inside = int(counts[at]) or 1
    return left + (right - left) * min(max((target - before) / inside, 0.0), 1.0)


def share_above(counts: I64, borders: F64, value: float) -> float | None:
    """The exact share of values above `value` where that is a border, else None."""
    at = int(np.searchsorted(borders, value, side="left"))
    if at >= len(borders) or borders[at] != value:
        return None
    total = int(counts.sum())
    return float(counts[at + 1 :].sum()) / total if total else None
