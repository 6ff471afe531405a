"""Tables of numeric profiles, (groups × measures), which merge as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from stream_monitor.errors import FormatError
from stream_monitor.kernels.numba_backend import compiled, inlined
from stream_monitor.profiles.bins import BINS
from stream_monitor.profiles.quantiles import Extent
from stream_monitor.types import F64, I64


class NumericTable(msgspec.Struct):
    """n, mean, centred sum of squares, minimum, maximum (G, M) and bin counts (G, M, BINS)."""

    n: np.ndarray
    mean: np.ndarray
    m2: np.ndarray
    low: np.ndarray
    high: np.ndarray
    counts: np.ndarray

    @classmethod
    def empty(cls, groups: int, measures: int) -> NumericTable:
        """A table without values."""
        shape = (groups, measures)
        return cls(
            np.zeros(shape, np.int64),
            np.zeros(shape),
            np.zeros(shape),
            np.full(shape, np.inf),
            np.full(shape, -np.inf),
            np.zeros((*shape, BINS), np.int64),
        )

    def grown(self, groups: int, measures: int) -> NumericTable:
        """The same table with room for at least this many groups and measures."""
        if groups <= self.n.shape[0] and measures <= self.n.shape[1]:
            return self
        room = NumericTable.empty(_room(groups, self.n.shape[0]), _room(measures, self.n.shape[1]))
        g, m = self.n.shape
        for name in self.__struct_fields__:
            getattr(room, name)[:g, :m] = getattr(self, name)
        return room

    def extent(self, group: int, measure: int) -> Extent:
        """The ends and moments of a measure of a group."""
        key = group, measure
        return Extent(float(self.low[key]), float(self.high[key]), float(self.mean[key]), float(self.m2[key]))

    def add(self, stacked: RowBatch) -> None:
        """Merge rows into the table, one after another; the split of rows into calls does not affect the result."""
        self._require_room(int(stacked.group.max(initial=-1)), int(stacked.measure.max(initial=-1)))
        _add_rows((stacked.group, stacked.measure, *stacked.moments), self._columns())
        _add_bins(stacked.bins, self.counts)

    def merge(self, other: NumericTable) -> None:
        """Merge another table, which has no more groups and measures and is not changed."""
        other._require_room(-1, -1)
        self._require_room(other.n.shape[0] - 1, other.n.shape[1] - 1)
        _add_table(other._columns(), other.counts, self._columns(), self.counts)

    def _require_room(self, group: int, measure: int) -> None:
        """Raise FormatError unless all arrays contain that group and measure.

        A table may come from a record, and compiled code does not check bounds.
        """
        shapes = {column.shape for column in self._columns()} | {self.counts.shape[:2]}
        fits = len(shapes) == 1 and self.counts.shape[2:] == (BINS,)
        if not fits or group >= self.n.shape[0] or measure >= self.n.shape[1]:
            raise FormatError("the arrays of a table of numbers do not fit together")

    def _columns(self) -> tuple[np.ndarray, ...]:
        return self.n, self.mean, self.m2, self.low, self.high


@dataclass(frozen=True, slots=True)
class RowBatch:
    """R rows of many panes in the order of their merge; all arrays have 64-bit numbers."""

    group: I64
    """(R,); below 0 for a row to leave out."""
    measure: I64
    moments: tuple[I64, F64, F64, F64, F64]
    """n, mean, centred sum of squares, least and largest value of each row, (R,) each."""
    bins: tuple[I64, I64, I64, I64, I64, I64]
    """(S,) group, measure, first and last of S rows; (N,) bin and count of their entries.

    Row s has the entries [first[s], last[s]). The S rows are the R rows, or parts of them.
    """

    @classmethod
    def of(cls, rows: tuple[I64, I64, I64], moments: tuple[I64, F64, F64, F64, F64], bins: SparseBins) -> RowBatch:
        """The batch of rows (pane, group, measure); rows of the same pane, group and measure become one.

        Raises:
            FormatError: the bins of a row lie outside the arrays.
        """
        pane, group, measure = rows
        first, last, place, counts = bins
        inside = (measure >= 0) & (first >= 0) & (last >= first) & (last <= len(place))
        if not inside.all() or len(counts) != len(place) or (len(place) and not 0 <= place.min() <= place.max() < BINS):
            raise FormatError("the bins of a delta do not fit its rows")
        key = (pane * (int(group.max(initial=0)) + 1) + group) * (int(measure.max(initial=0)) + 1) + measure
        key[group < 0] = -1
        if (key[1:] > key[:-1]).all():
            return cls(group, measure, moments, (group, measure, *bins))
        keys, chosen, row, times = np.unique(key, return_index=True, return_inverse=True, return_counts=True)
        pooled = pool_moments(row, len(keys), moments)
        several = times > 1  # the other rows must not affect even the last digit of a single row
        n, mean, m2, low, high = (
            np.where(several, ours, own[chosen]) for ours, own in zip(pooled, moments, strict=True)
        )  # fmt: skip
        return cls(group[chosen], measure[chosen], (n, mean, m2, low, high), (group, measure, *bins))


SparseBins = tuple[I64, I64, I64, I64]
"""(first, last, bin, count): row r has the entries [first[r], last[r]) of `bin` and `count`."""


def pool_moments(row: I64, rows: int, columns: Sequence[np.ndarray]) -> tuple[I64, F64, F64, F64, F64]:
    """Pool the moments of samples by row, sample i into row[i] of `rows`; those of a constant stay exact."""
    n, mean, m2, low, high = columns
    total = np.bincount(row, n, rows)
    pooled = np.bincount(row, n * mean, rows) / total
    spread = np.bincount(row, m2 + n * (mean - pooled[row]) ** 2, rows)
    least: F64 = np.full(rows, np.inf)
    most: F64 = np.full(rows, -np.inf)
    np.minimum.at(least, row, low)
    np.maximum.at(most, row, high)
    constant = least == most
    means: F64 = np.where(constant, least, pooled)
    around: F64 = np.where(constant, 0.0, spread)
    return total.astype(np.int64), means, around, least, most


@inlined
def _merge_row(table: Any, at: Any, n: int, mean: float, m2: float, low: float, high: float) -> None:
    """Chan, Golub and LeVeque (1979), as `merge_moments`."""
    ns, means, m2s, lows, highs = table
    total = ns[at] + n
    share = n / max(total, 1)
    delta = mean - means[at]
    m2s[at] = m2s[at] + m2 + delta * delta * (ns[at] * share)
    means[at] += delta * share
    ns[at] = total
    lows[at], highs[at] = min(lows[at], low), max(highs[at], high)


@compiled
def _add_rows(rows: Any, table: Any) -> None:
    groups, measures, ns, means, m2s, lows, highs = rows
    for row in range(len(groups)):
        if groups[row] >= 0:
            at = groups[row], measures[row]
            _merge_row(table, at, ns[row], means[row], m2s[row], lows[row], highs[row])


@compiled
def _add_bins(bins: Any, counts: Any) -> None:
    groups, measures, first, last, bin_at, bin_n = bins
    for row in range(len(groups)):
        if groups[row] >= 0:
            for place in range(first[row], last[row]):
                counts[groups[row], measures[row], bin_at[place]] += bin_n[place]


@compiled
def _add_table(other: Any, other_counts: Any, table: Any, counts: Any) -> None:
    ns, means, m2s, lows, highs = other
    for group in range(ns.shape[0]):
        for measure in range(ns.shape[1]):
            at = group, measure
            if ns[at]:
                _merge_row(table, at, ns[at], means[at], m2s[at], lows[at], highs[at])
                for place in range(counts.shape[2]):
                    counts[group, measure, place] += other_counts[group, measure, place]


def _room(wanted: int, have: int) -> int:
    return have if wanted <= have else max(wanted, 2 * have)


class PaneRows(msgspec.Struct):
    """The rows of a pane: measure `measure[r]` of group `group[r]`, distinct and ascending by both.

    Sparse bins are laid out as in `profiles.delta`; counts and bins have any integer type.
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


@dataclass(frozen=True, slots=True)
class UnsortedRows:
    """Rows in any order; several may have the same group and measure."""

    group: I64
    """(R,); below 0 for a row to leave out."""
    measure: I64
    moments: F64
    """(5, R): n, mean, centred sum of squares, least and largest value."""
    first: I64
    """(R,) index in `bin_at` and `bin_n` at which the bins of each row begin."""
    last: I64
    bin_at: I64
    bin_n: I64

    @classmethod
    def of(cls, parts: Sequence[UnsortedRows]) -> UnsortedRows:
        """Concatenate the rows of several parts."""
        bases = np.cumsum([0, *(len(part.bin_at) for part in parts[:-1])])
        first, last = (
            np.concatenate([getattr(part, name) + base for part, base in zip(parts, bases, strict=True)])
            for name in ("first", "last")
        )
        group, measure, at, n = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("group", "measure", "bin_at", "bin_n")
        )
        return cls(group, measure, np.concatenate([part.moments for part in parts], axis=1), first, last, at, n)

    def merged(self, measures: int) -> PaneRows:
        """Merge the rows of the same group and measure, in order; `measures` is the number of measures.

        Raises:
            FormatError: the bins of a row lie outside the arrays. Compiled code does not check bounds.
        """
        place, size = self.bin_at, len(self.group)
        if self.moments.shape != (5, size) or not len(self.measure) == len(self.first) == len(self.last) == size:
            raise FormatError("the columns of a delta do not fit together")
        inside = (self.first >= 0) & (self.last >= self.first) & (self.last <= len(place))
        if (
            not inside.all()
            or len(self.bin_n) != len(place)
            or (len(place) and not 0 <= place.min() <= place.max() < BINS)
        ):
            raise FormatError("the bins of a delta do not fit its rows")
        key = np.where(self.group < 0, -1, self.group * measures + self.measure)
        order = np.argsort(key, kind="stable")
        chosen, ptr = np.empty(len(key), np.int64), np.zeros(len(key) + 1, np.int64)
        moments, bins = np.empty_like(self.moments), np.empty((2, len(place)), np.int64)
        source = self.moments, self.first, self.last, place, self.bin_n
        count = _pool_rows((order, key[order]), source, (chosen, moments, ptr, bins), np.zeros(BINS, np.int64))
        chosen, (n, mean, m2, low, high), bins = chosen[:count], moments[:, :count], bins[:, : ptr[count]]
        rows = self.group[chosen], self.measure[chosen], n.astype(np.int64), mean, m2, low, high
        return PaneRows(*rows, ptr[: count + 1], *bins)


@compiled
def _pool_rows(sorted_rows: Any, source: Any, into: Any, counts: Any) -> int:
    """Fill `into` with one row for each key, and return their number. `counts` (BINS,) are 0 before and after."""
    (order, key), (moments, first, last, bin_at, bin_n), (chosen, pooled, ptr, bins) = sorted_rows, source, into
    rows, made, used, place = len(order), 0, 0, 0
    while place < rows and key[place] < 0:
        place += 1
    while place < rows:
        end = place + 1
        while end < rows and key[end] == key[place]:
            end += 1
        chosen[made] = order[place]
        _pool_into(pooled, made, moments, order[place:end])
        for at in range(place, end):
            for b in range(first[order[at]], last[order[at]]):
                counts[bin_at[b]] += bin_n[b]
        for at in range(len(counts)):
            if counts[at]:
                bins[0, used], bins[1, used] = at, counts[at]
                used += 1
                counts[at] = 0
        made, place = made + 1, end
        ptr[made] = used
    return made


@inlined
def _pool_into(pooled: Any, at: int, moments: Any, rows: Any) -> None:
    """Pool rows as `pool_moments` does; a single row stays unchanged."""
    for line in range(5):
        pooled[line, at] = moments[line, rows[0]]
    if len(rows) > 1:
        total, mean, m2, low, high = 0.0, 0.0, 0.0, np.inf, -np.inf
        for row in rows:
            total += moments[0, row]
            mean += moments[0, row] * moments[1, row]
            low, high = min(low, moments[3, row]), max(high, moments[4, row])
        mean /= total
        for row in rows:
            m2 += moments[2, row] + moments[0, row] * (moments[1, row] - mean) ** 2
        if low == high:
            mean, m2 = low, 0.0
        pooled[0, at], pooled[1, at], pooled[2, at], pooled[3, at], pooled[4, at] = total, mean, m2, low, high


Moments = tuple[Any, Any, Any]


def merge_moments(a: Moments, b: Moments) -> tuple[I64, F64, F64]:
    """Merge the (n, mean, m2) of two samples; Chan, Golub and LeVeque (1979)."""
    n = a[0] + b[0]
    share = b[0] / np.maximum(n, 1)
    delta = b[1] - a[1]
    return n, a[1] + delta * share, a[2] + b[2] + delta * delta * (a[0] * share)
