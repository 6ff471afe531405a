"""Overdispersion f: by how much the counts of windows vary more than independent values would.

The window tests assume independent values. Values of a window may share a cause: a day of weather is one draw for all
flights of the day. Windows then scatter more, by the factor f, the design effect (Kish 1965). The judge divides the
numbers of values by f before it tests (Rao and Scott 1981).

We estimate f from the windows: subtract the baseline's shares in ten groups of bins from each window's, and measure how
far the residuals of two windows differ (`estimate_overdispersion`). We compare windows 1, 2 and 4 apart. Dependence
that outlasts a window makes distant windows differ more, and the baseline is farther away than any of them.

A change must not raise f. So we do not compare two windows if exactly one of them was rejected. A window next to a
rejected one may hold half of the change, too little to be rejected: it is left out, and since that is known only when
the next window was judged, a window counts from then on. No comparison counts more than `CLIP` times the mean so far. f
depends only on the windows before the one that is judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from stream_monitor.baselines.baseline import PaneCounts
from stream_monitor.detect.windows.binned import GROUPS, groups_of
from stream_monitor.profiles.bins import BINS
from stream_monitor.types import F64, I64, Bool

LAGS = (1, 2, 4)
MEMORY = 32
"""Comparisons in the mean of one distance; beyond so many the mean is exponentially weighted."""
CLIP = 4.0
SIGNIFICANT = 3.0
"""Standard errors by which a mean must exceed the f believed so far: 1, or the mean of a shorter distance."""
DEGREES = 3.0
"""Degrees of freedom by which we compute the error of a mean; few, because groups rarely move independently."""
ENOUGH_PAIRS = 8
"""From so many pairs of adjacent windows on, f of a size is that of its own windows."""
UNSURE = 6.0
"""We raise f by the factor 1 + UNSURE / comparisons: f is an estimate, and tests at small levels need its tail."""
WHOLE = 32_767
"""The integer that stands for a share of 1."""
ROWS = 128
"""Rows updated in one pass, few enough for a processor's cache."""

Key = tuple[int, str, str]
"""(group, measure, name of the test if it compares shares of its own, else "")."""


class DispersionSample(NamedTuple):
    """One window of R rows."""

    base: F64 | I64
    """(R, BINS) counts of the baseline."""
    counts: F64 | I64
    """(R, BINS) counts of the window."""
    moving: Bool
    """(R,) whether the baseline moves, so that the next window's baseline has an error of its own."""
    rejected: Bool
    """(R,) whether the test rejected the window."""
    order: I64 | None = None
    """(R, BINS) the bins in the order in which neighbours are merged to groups; None: as they are."""


_TABLES = ("left", "error", "rejected", "mean", "n", "next_mean", "next_n")


class Dispersion(msgspec.Struct):
    """The state of R rows: their latest windows, and the mean comparison of each distance; 1.2 kB a row."""

    rows: dict[Key, int] = {}
    left: np.ndarray = msgspec.field(default_factory=lambda: np.zeros((LAGS[-1], 0, BINS), np.int16))
    """(windows, R, BINS) residuals: shares of the latest windows minus those of their baselines, times `WHOLE`."""
    error: np.ndarray = msgspec.field(default_factory=lambda: np.zeros((LAGS[-1], 0)))
    """(windows, R) e such that a share P of independent values has the variance e P (1 - P); 0 for no window."""
    rejected: np.ndarray = msgspec.field(default_factory=lambda: np.zeros((LAGS[-1], 0), np.bool_))
    mean: np.ndarray = msgspec.field(default_factory=lambda: np.zeros((len(LAGS), 0)))
    n: np.ndarray = msgspec.field(default_factory=lambda: np.zeros((len(LAGS), 0), np.int64))
    """(LAGS, R) comparisons in `mean`, at most `MEMORY`."""
    next_mean: np.ndarray = msgspec.field(default_factory=lambda: np.zeros((len(LAGS), 0)))
    """(LAGS, R) `mean` with the comparisons of the latest window, which count unless the next one is rejected."""
    next_n: np.ndarray = msgspec.field(default_factory=lambda: np.zeros((len(LAGS), 0), np.int64))

    def __post_init__(self) -> None:
        if self.next_mean.shape != self.mean.shape:  # a snapshot of a former version
            self.next_mean, self.next_n = self.mean.copy(), self.n.copy()

    def factors(self, keys: Sequence[Key]) -> F64:
        """The overdispersion f of each of these rows, (R,), at least 1."""
        known = np.array([self.rows.get(key, -1) for key in keys], np.int64)
        factors = np.ones(len(keys))
        present = np.flatnonzero(known >= 0)
        rows = known[present]
        best, sure = np.ones(len(rows)), np.ones(len(rows))
        for mean, n in zip(self.mean[:, rows], self.n[:, rows], strict=True):
            error = np.sqrt(2 / (DEGREES * np.maximum(n, 1)))
            more = (n > 1) & (mean > best * (1 + SIGNIFICANT * error))
            best, sure = np.where(more, mean, best), np.where(more, n, sure)
        factors[present] = np.where(best > 1, best * (1 + UNSURE / sure), 1.0)
        return factors

    def pairs(self, keys: Sequence[Key]) -> I64:
        """The number of adjacent windows of each of these rows that were compared, (R,), at most `MEMORY`."""
        known = np.array([self.rows.get(key, -1) for key in keys], np.int64)
        return np.where(known >= 0, self.n[0, known], 0) if len(self.rows) else np.zeros(len(keys), np.int64)

    def begin(self, keys: Sequence[Key], base: I64, panes: PaneCounts, windows: tuple[int, int]) -> None:
        """Take in the whole windows of a baseline for each of these rows.

        Args:
            keys: the rows.
            base: (BINS,) counts of the baseline.
            panes: the panes of the baseline.
            windows: (size in ms, fewest values of a window); windows with fewer values are left out.
        """
        size, least = windows
        number = panes.starts // size
        if not len(number) or not keys:
            return
        first, last = int(number[0]) + int(panes.starts[0] % size > 0), int(number[-1])
        first = max(first, last - MEMORY)
        flat = (number[panes.pane] - first) * BINS + panes.at
        inside = (flat >= 0) & (flat < (last - first) * BINS)
        table = np.bincount(flat[inside], panes.n[inside], max(last - first, 0) * BINS).reshape(-1, BINS)
        usual, no = np.broadcast_to(base, (len(keys), BINS)), np.zeros(len(keys), np.bool_)
        for counts in table[table.sum(axis=1) >= max(least, 1)]:
            self.add(keys, DispersionSample(usual, np.broadcast_to(counts, usual.shape), no, no))
        rows = self._rows(keys)  # a baseline holds no change: its last window counts at once
        self.mean[:, rows], self.n[:, rows] = self.next_mean[:, rows], self.next_n[:, rows]

    def add(self, keys: Sequence[Key], sample: DispersionSample) -> None:
        """Take in a window of these distinct rows."""
        learn([DispersionUpdate(self, keys, sample)])

    def forget(self, measure: str) -> None:
        """Clear the rows of a measure, because it has new edges or a new baseline."""
        cleared = [row for (_, name, _), row in self.rows.items() if name == measure]
        for name in _TABLES:
            getattr(self, name)[:, cleared] = 0

    def _rows(self, keys: Sequence[Key]) -> I64:
        for key in keys:
            if key not in self.rows:
                self.rows[key] = len(self.rows)
        size, wanted = self.error.shape[1], len(self.rows)
        if wanted > size:
            more = max(wanted, 2 * size) - size
            for name in _TABLES:
                table = getattr(self, name)
                setattr(self, name, np.pad(table, [(0, 0), (0, more)] + [(0, 0)] * (table.ndim - 2)))
        return np.array([self.rows[key] for key in keys], np.int64)


def believed_factors(sizes: Sequence[tuple[int, Dispersion]], keys: Sequence[Key]) -> F64:
    """The overdispersion f of each of these rows in windows of the last one of some ascending sizes (ms), (R,).

    Until `ENOUGH_PAIRS` windows of a size were compared, f is at least that of the next smaller size times the ratio of
    the sizes, where the smaller windows show dependence at all: dependence may outlast them.
    """
    factors, smaller = np.ones(len(keys)), 0
    for size, dispersion in sizes:
        own = dispersion.factors(keys)
        if smaller:
            assumed = np.where(factors > 1, factors * (size / smaller), 1.0)
            own = np.where(dispersion.pairs(keys) >= ENOUGH_PAIRS, own, np.maximum(own, assumed))
        factors, smaller = own, size
    return factors


class DispersionUpdate(NamedTuple):
    """A window of some distinct rows, and the `Dispersion` that takes it in."""

    dispersion: Dispersion
    keys: Sequence[Key]
    sample: DispersionSample


def learn(updates: Sequence[DispersionUpdate]) -> None:
    """Take in windows, each for a different `Dispersion`. The other rows of a call do not affect a row's result."""
    chosen, rows = list[DispersionUpdate](), 0
    for update in updates:
        chosen.append(update)
        rows += len(update.keys)
        if rows >= ROWS:
            _learn(chosen)
            chosen, rows = [], 0
    if rows:
        _learn(chosen)


def _learn(updates: Sequence[DispersionUpdate]) -> None:
    places = [update.dispersion._rows(update.keys) for update in updates]
    left, errors, hits, old_means, old_ns, means, ns = (
        np.concatenate(
            [getattr(update.dispersion, name)[:, rows] for update, rows in zip(updates, places, strict=True)],
            1,
        )
        for name in _TABLES
    )
    samples = [update.sample for update in updates]
    base, counts, moving, rejected = (
        np.concatenate([getattr(sample, name) for sample in samples])
        for name in ("base", "counts", "moving", "rejected")
    )
    order = np.concatenate([_order_of(sample) for sample in samples])
    p, n = _shares(counts)
    q, m = _shares(base)
    groups = _places(groups_of(base, np.full(len(base), GROUPS), order))
    error = np.where(n > 0, 1 / np.maximum(n, 1) + moving / np.maximum(m, 1), 0.0)
    apart = (errors[0] > 0) & (hits[0] != rejected)
    half = apart & rejected  # the window before held half of a change
    means, ns = np.where(half, old_means, means), np.where(half, old_ns, ns)
    errors[0], error = np.where(half, 0.0, errors[0]), np.where(apart & ~rejected, 0.0, error)
    sure = means.copy(), ns.copy()
    kept = np.rint((p - q) * WHOLE)  # rounded as the kept windows are, so that two equal windows differ by 0
    now, usual = _grouped(kept / WHOLE, groups), _grouped(q, groups)
    rounding = np.maximum((base > 0).sum(axis=1), 2) / (6 * WHOLE**2)
    for lag, distance in enumerate(LAGS):
        before, earlier_error = _grouped(left[distance - 1] / WHOLE, groups), errors[distance - 1]
        spread = 1 - ((usual + now) * (usual + before)).sum(axis=1)
        ratio = estimate_overdispersion(now - before, error + earlier_error, spread, rounding)
        both = (earlier_error > 0) & (error > 0) & (hits[distance - 1] == rejected)
        count = ns[lag, both]
        mean = np.where(count > 0, means[lag, both], 1.0)
        clipped = np.minimum(ratio[both], CLIP * np.maximum(mean, 1.0))
        means[lag, both] = mean + (clipped - mean) / (np.minimum(count, MEMORY - 1) + 1 + (count == 0))
        ns[lag, both] = np.minimum(count + 1, MEMORY)
    newest = {"left": kept, "error": error, "rejected": rejected}
    end = 0
    for (dispersion, *_), rows in zip(updates, places, strict=True):
        part, end = slice(end, end + len(rows)), end + len(rows)
        dispersion.mean[:, rows], dispersion.n[:, rows] = sure[0][:, part], sure[1][:, part]
        dispersion.next_mean[:, rows], dispersion.next_n[:, rows] = means[:, part], ns[:, part]
        for (name, column), before in zip(newest.items(), (left, errors, hits), strict=True):
            table = getattr(dispersion, name)
            table[1:, rows], table[0, rows] = before[:-1, part], column[part]


def estimate_overdispersion(apart: F64, error: F64, spread: F64, rounding: F64) -> F64:
    """The squared difference of two windows, as a multiple of that of independent values; (R,).

    Let p and q be the shares of two windows of n and m values in G groups. If values are independent and have the
    shares P, the mean of Σ (p - q)² is (1/n + 1/m) (1 - Σ P²). The mean of 1 - Σ p q is 1 - Σ P², whether single values
    or whole windows are the draws. So the ratio is about f even if all values of a window are equal. A share that has
    moved away from its baseline in both windows does not affect the ratio.

    The spread is at least `error` / 2. With that the ratio is exactly 1 for one hit in two windows.

    Args:
        apart: (R, G) p - q.
        error: (R,) 1/n + 1/m.
        spread: (R,) 1 - Σ p q.
        rounding: (R,) variance that comes from keeping shares as integers.
    """
    return np.asarray((apart**2).sum(axis=1) / np.maximum(error * np.maximum(spread, error / 2) + rounding, 1e-12))


def _shares(counts: F64 | I64) -> tuple[F64, F64]:
    n = counts.sum(axis=1).astype(float)
    return counts / np.maximum(n, 1)[:, None], n


def _order_of(sample: DispersionSample) -> I64:
    return np.tile(np.arange(BINS), (len(sample.base), 1)) if sample.order is None else sample.order


def _places(groups: I64) -> I64:
    """(R * BINS,) index of each bin's group among the flattened groups (R, GROUPS) of all rows."""
    return np.asarray((groups + np.arange(len(groups))[:, None] * GROUPS).ravel())


def _grouped(shares: F64, places: I64) -> F64:
    """(R, GROUPS) sums of the shares (R, BINS) by group; `places` as `_places` returns them."""
    return np.asarray(np.bincount(places, shares.ravel(), len(shares) * GROUPS).reshape(-1, GROUPS))
