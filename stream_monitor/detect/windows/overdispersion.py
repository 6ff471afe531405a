"""How much more windows differ from what they are held against than windows of independent values would.

The window tests take values as independent. Where values of a window share a cause (a day of weather is one draw for
all flights of the day) windows scatter more: by the factor f, the design effect (Kish 1965), by which the tests divide
the numbers of values (Rao and Scott 1981). f is measured on the windows themselves, by how far what is left of their
shares of values in ten groups, when those of the baseline are taken away, are apart (`scatter`). Windows 1, 2 and 4
apart are compared: dependence that outlasts a window makes distant ones differ more, and the baseline is farther away
than any.

A change does not become the measure of normal: two windows of which one was rejected are not compared, and no
comparison counts more than `CLIP` times the mean so far. f is a function of the windows before the one that is judged.
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
"""Comparisons of one distance whose mean is kept, exponentially weighted when there are more."""
CLIP = 4.0
SIGNIFICANT = 3.0
"""Standard errors by which the mean must exceed what is believed: 1, and then that of a shorter distance."""
DEGREES = 3.0
"""Groups rarely move independently: the error of a mean is taken as that of so many degrees of freedom."""
UNSURE = 6.0
"""f is raised by this over the number of comparisons: tests at small levels ask for the tail, and f is estimated."""
WHOLE = 32_767
ROWS = 128
"""Rows that learn in one pass: what stays in a processor's cache."""

Key = tuple[int, str, str]
"""(group, measure, test that has its own shares, or "" for the values)."""


class DispersionSample(NamedTuple):
    """What a window tells, of R rows."""

    base: F64 | I64
    """(R, BINS) counts of the baseline."""
    counts: F64 | I64
    """(R, BINS) counts of the window."""
    moving: Bool
    """(R,) whether the next window may be held against another baseline, which has an error of its own."""
    rejected: Bool
    """(R,) whether it was rejected."""


class Dispersion(msgspec.Struct):
    """Of R rows: the latest windows, and how far windows are apart by their distance; 1.2 kB a row."""

    rows: dict[Key, int] = {}
    left: np.ndarray = msgspec.field(default_factory=lambda: np.zeros((LAGS[-1], 0, BINS), np.int16))
    """(windows, R, BINS) shares of the latest windows less those of their baselines, in parts of `WHOLE`."""
    error: np.ndarray = msgspec.field(default_factory=lambda: np.zeros((LAGS[-1], 0)))
    """(windows, R) the variance of independent shares P, in P (1 - P); 0 where there was no window."""
    rejected: np.ndarray = msgspec.field(default_factory=lambda: np.zeros((LAGS[-1], 0), np.bool_))
    mean: np.ndarray = msgspec.field(default_factory=lambda: np.zeros((len(LAGS), 0)))
    n: np.ndarray = msgspec.field(default_factory=lambda: np.zeros((len(LAGS), 0), np.int64))
    """(LAGS, R) comparisons."""

    def factors(self, keys: Sequence[Key]) -> F64:
        """F of each of these rows, (R,), at least 1."""
        known = np.array([self.rows.get(key, -1) for key in keys], np.int64)
        found = np.ones(len(keys))
        there = np.flatnonzero(known >= 0)
        at = known[there]
        best, sure = np.ones(len(at)), np.ones(len(at))
        for mean, n in zip(self.mean[:, at], self.n[:, at], strict=True):
            error = np.sqrt(2 / (DEGREES * np.maximum(n, 1)))
            more = (n > 1) & (mean > best * (1 + SIGNIFICANT * error))
            best, sure = np.where(more, mean, best), np.where(more, n, sure)
        found[there] = np.where(best > 1, best * (1 + UNSURE / sure), 1.0)
        return found

    def begin(self, keys: Sequence[Key], base: I64, panes: PaneCounts, windows: tuple[int, int]) -> None:
        """Take in the whole windows of a baseline, counts `base` (BINS,), for each of these rows.

        `windows` are their size (ms), and the values that one must have.
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

    def add(self, keys: Sequence[Key], told: DispersionSample) -> None:
        """Take in a window of these distinct rows."""
        learn([DispersionUpdate(self, keys, told)])

    def forget(self, measure: str) -> None:
        """The bins of a measure have other borders from now on, or it has another normal."""
        gone = [row for (_, name, _), row in self.rows.items() if name == measure]
        for table in (self.left, self.error, self.rejected, self.mean, self.n):
            table[:, gone] = 0

    def _rows(self, keys: Sequence[Key]) -> I64:
        for key in keys:
            if key not in self.rows:
                self.rows[key] = len(self.rows)
        have, wanted = self.error.shape[1], len(self.rows)
        if wanted > have:
            more = max(wanted, 2 * have) - have
            for name in ("left", "error", "rejected", "mean", "n"):
                table = getattr(self, name)
                setattr(self, name, np.pad(table, [(0, 0), (0, more)] + [(0, 0)] * (table.ndim - 2)))
        return np.array([self.rows[key] for key in keys], np.int64)


class DispersionUpdate(NamedTuple):
    """A window of some distinct rows, for the dispersion that is to take it in."""

    dispersion: Dispersion
    keys: Sequence[Key]
    told: DispersionSample


def learn(lessons: Sequence[DispersionUpdate]) -> None:
    """Take in windows, each of another dispersion. A row learns by itself: which others come with it does not show."""
    chosen, rows = list[DispersionUpdate](), 0
    for scatter_update in lessons:
        chosen.append(scatter_update)
        rows += len(scatter_update.keys)
        if rows >= ROWS:
            _learn(chosen)
            chosen, rows = [], 0
    if rows:
        _learn(chosen)


def _learn(lessons: Sequence[DispersionUpdate]) -> None:
    places = [scatter_update.dispersion._rows(scatter_update.keys) for scatter_update in lessons]
    left, errors, hits, means, ns = (
        np.concatenate(
            [
                getattr(scatter_update.dispersion, name)[:, at]
                for scatter_update, at in zip(lessons, places, strict=True)
            ],
            1,
        )
        for name in ("left", "error", "rejected", "mean", "n")
    )
    base, counts, moving, rejected = (np.concatenate(column) for column in zip(*[x.told for x in lessons], strict=True))
    p, n = _shares(counts)
    q, m = _shares(base)
    groups = _places(groups_of(base, np.full(len(base), GROUPS)))
    error = np.where(n > 0, 1 / np.maximum(n, 1) + moving / np.maximum(m, 1), 0.0)
    kept = np.rint((p - q) * WHOLE)  # as it will be when the next windows come: two that are the same are not apart
    now, usual = _grouped(kept / WHOLE, groups), _grouped(q, groups)
    rounding = np.maximum((base > 0).sum(axis=1), 2) / (6 * WHOLE**2)
    for lag, distance in enumerate(LAGS):
        before, had = _grouped(left[distance - 1] / WHOLE, groups), errors[distance - 1]
        spread = 1 - ((usual + now) * (usual + before)).sum(axis=1)
        apart = estimate_overdispersion(now - before, error + had, spread, rounding)
        both = (had > 0) & (error > 0) & (hits[distance - 1] == rejected)
        count = ns[lag, both]
        mean = np.where(count > 0, means[lag, both], 1.0)
        came = np.minimum(apart[both], CLIP * np.maximum(mean, 1.0))
        means[lag, both] = mean + (came - mean) / (np.minimum(count, MEMORY - 1) + 1 + (count == 0))
        ns[lag, both] = np.minimum(count + 1, MEMORY)
    newest = {"left": kept, "error": error, "rejected": rejected}
    end = 0
    for (dispersion, *_), at in zip(lessons, places, strict=True):
        mine, end = slice(end, end + len(at)), end + len(at)
        dispersion.mean[:, at], dispersion.n[:, at] = means[:, mine], ns[:, mine]
        for (name, column), before in zip(newest.items(), (left, errors, hits), strict=True):
            table = getattr(dispersion, name)
            table[1:, at], table[0, at] = before[:-1, mine], column[mine]


def estimate_overdispersion(apart: F64, error: F64, spread: F64, rounding: F64) -> F64:
    """How far windows are apart, in what independent values would be; (R,).

    For shares p, q of G groups Σ (p - q)² is (1/n + 1/m) (1 - Σ P²) on average if values are independent with the
    shares P; `apart` (R, G) is p - q, `error` (R,) 1/n + 1/m, and `spread` (R,) 1 - Σ p q, whose mean is 1 - Σ P²
    whether values or whole windows are the draws: where all values of a window are one this is f times too. Of one
    hit in two windows it is 1 exactly, which is also the least spread that is taken for true, and where a share has
    moved from its baseline that does not show. `rounding` (R,) is the variance of how shares are kept.
    """
    return np.asarray((apart**2).sum(axis=1) / np.maximum(error * np.maximum(spread, error / 2) + rounding, 1e-12))


def _shares(counts: F64 | I64) -> tuple[F64, F64]:
    n = counts.sum(axis=1).astype(float)
    return counts / np.maximum(n, 1)[:, None], n


def _places(groups: I64) -> I64:
    """(R * BINS,) of each bin its place among the groups (R, GROUPS) of all rows."""
    return np.asarray((groups + np.arange(len(groups))[:, None] * GROUPS).ravel())


def _grouped(shares: F64, places: I64) -> F64:
    """(R, GROUPS) sums of shares (R, BINS)."""
    return np.asarray(np.bincount(places, shares.ravel(), len(shares) * GROUPS).reshape(-1, GROUPS))
