"""Window tests: the share of windows with any false rejection, after the control over features, and power.

Counts are drawn directly: numbers as standard normals on a hundred quantiles, categories with a long tail, shares as
binomials; the baseline of 10,000 values is drawn anew for every window and feature. The same p-values stand for many
windows of one feature, fewer of 20 and fewest of 200, so these cells are not independent of each other.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from stream_monitor.config.detection import WINDOW_TESTS
from stream_monitor.detect.windows.binned import Compared
from stream_monitor.detect.windows.shares import share
from stream_monitor.detect.windows.tests import TESTS, TOLERANCE, discoveries
from stream_monitor.evaluate.streams import Rng, seeded
from stream_monitor.types import F64, I64

Row = dict[str, Any]
P = dict[str, F64]
"""p-values of many rows, by test."""
SIZES = (50, 100, 1_000, 10_000, 100_000, 1_000_000)
FEATURES = (1, 20, 200)
LEVELS = (0.05, 0.01)
BASELINE = 10_000
BLOCK = 20_000
DEFAULT = ("psi", "ks")
"""The tests of numbers by default; a feature's p is the smaller one, twice."""
BOTH = "psi + ks"
MIDDLE = stats.norm.ppf(np.linspace(0, 1, 101)[1:-1])
WIDTHS = np.concatenate([[0.0], np.diff(MIDDLE), [0.0]])
TAIL = np.array([0.6, 0.2, 0.1, 0.05, 0.03, 0.01, 0.007, 0.003])
MOVED = np.array([-1.0, 1.0, 0, 0, 0, 0, 0, 0])
NUMERIC, CATEGORICAL = (
    tuple(name for name, test in WINDOW_TESTS.items() if kind in test.kinds) for kind in ("numeric", "categorical")
)
"""The tests that the settings accept for numbers, and for categories."""
MISSING, NEW = 0.05, 1e-4
"""Rates of missing values, and of values that a baseline may or may not have seen."""
SEGMENTS, SEGMENT_FEATURES, SEGMENT_N = 10, 20, 1_000


class Cell(NamedTuple):
    """What a row of results is about."""

    data: str
    n: int
    tolerance: str
    """none: the classical test without an effect; edge: the default tolerance, and an effect of just that."""


def windows(count: int, seed: int) -> list[Callable[[], list[Row]]]:
    """Tasks of all rows; `count` windows of 200 features, and as many values for other cells."""
    rows = count * max(FEATURES)
    kinds = ("numbers", _numbers), ("categories", _categories), ("shares", _shares)
    plain = [(Cell(data, n, "none"), draw, rows) for n in SIZES for data, draw in kinds]
    edge = [(Cell("edge", n, "edge"), _at_the_edge, max(rows // 10, max(FEATURES))) for n in SIZES]
    return [
        *(partial(_false, seed, *task) for task in (*plain, *edge)),
        partial(_nested, seed, count),
        partial(_power, seed, rows // 10),
    ]


def _in_blocks(draw: Callable[[Rng, int, int], P], rng: Rng, n: int, rows: int) -> P:
    sizes = [min(BLOCK, rows - start) for start in range(0, rows, BLOCK)]
    parts = [draw(rng, n, size) for size in sizes]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _false(seed: int, cell: Cell, draw: Callable[[Rng, int, int], P], rows: int) -> list[Row]:
    """Share of windows with any rejection."""
    found = []
    for name, values in _in_blocks(draw, seeded(seed, *cell), cell.n, rows).items():
        for features in FEATURES:
            by_window = values[: len(values) // features * features].reshape(-1, features)
            found += [_row(name, cell, (features, 0), level, by_window) for level in LEVELS]
    return found


def _row(test: str, cell: Cell, of: tuple[int, int], level: float, p: F64) -> Row:
    """One cell: p-values (windows, features × segments)."""
    hits = sum(bool(discoveries(window, level).any()) for window in p[p.min(axis=1) <= level])
    low, high = stats.binomtest(hits, len(p)).proportion_ci()
    return {
        "test": test, "data": cell.data, "n": cell.n, "features": of[0], "segments": of[1], "shift": 0.0,
        "tolerance": cell.tolerance, "level": level, "share": hits / len(p), "lower": float(low),
        "upper": float(high), "windows": len(p), "ok": bool(low <= level),
    }  # fmt: skip


# --- p-values of rows ---


def _shares_of_bins(shift: float) -> F64:
    """Of normals whose mean has moved by so many standard deviations, on the hundred quantiles."""
    return np.asarray(np.diff(stats.norm.cdf(np.concatenate([[-np.inf], MIDDLE - shift, [np.inf]]))))


def _tested(base: I64, now: I64, names: tuple[str, ...], widths: F64 | None = None) -> P:
    data = Compared(base, now, np.zeros(base.shape) if widths is None else np.broadcast_to(widths, base.shape))
    return {name: TESTS[name](data, 0.0).p for name in names}


def _with_both(p: P) -> P:
    p[BOTH] = np.minimum(1.0, 2 * np.minimum(*(p[name] for name in DEFAULT)))
    return p


def _numbers(rng: Rng, n: int, rows: int, shift: float = 0.0) -> P:
    base = rng.multinomial(BASELINE, _shares_of_bins(0.0), rows)
    return _with_both(_tested(base, rng.multinomial(n, _shares_of_bins(shift), rows), NUMERIC, WIDTHS))


def _categories(rng: Rng, n: int, rows: int) -> P:
    return _tested(rng.multinomial(BASELINE, TAIL, rows), rng.multinomial(n, TAIL, rows), CATEGORICAL)


def _shares(rng: Rng, n: int, rows: int) -> P:
    found: P = {}
    for name, rate in (("missing", MISSING), ("new_categories", NEW)):
        found[name] = _share(rng, n, rows, (rate, rate, 0.0))
    return found


def _share(rng: Rng, n: int, rows: int, rates: tuple[float, float, float]) -> F64:
    """Rate of the baseline, of the window, and the tolerance."""
    of = np.full(rows, BASELINE), np.full(rows, n)
    return share((rng.binomial(BASELINE, rates[0], rows), of[0]), (rng.binomial(n, rates[1], rows), of[1]), rates[2]).p


def _at_the_edge(rng: Rng, n: int, rows: int) -> P:
    """Each test with its default tolerance, on an effect of exactly that: `l_infinity` on categories, else numbers."""
    found: P = {}
    for name, test in TESTS.items():
        before, after, widths = TAIL, TAIL + TOLERANCE[name] * MOVED, np.zeros(len(TAIL))
        if name != "l_infinity":
            before, after, widths = _shares_of_bins(0.0), _shares_of_bins(_edge(name, n)), WIDTHS
        base, now = rng.multinomial(BASELINE, before, rows), rng.multinomial(n, after, rows)
        found[name] = test(Compared(base, now, np.broadcast_to(widths, base.shape)), TOLERANCE[name]).p
    for name, rate in (("missing", MISSING), ("new_categories", 0.0)):
        found[name] = _share(rng, n, rows, (rate, rate + TOLERANCE[name], TOLERANCE[name]))
    return found


@cache
def _edge(name: str, n: int) -> float:
    """The shift, in standard deviations, whose true effect is the tolerance; by bisection.

    For n values beside the baseline's, for Cohen's w is by the mean share of both together.
    """
    base, widths = np.rint(1e8 * BASELINE * _shares_of_bins(0.0)).astype(np.int64)[None], WIDTHS[None]
    low, high = 0.0, 2.0
    for _ in range(40):
        middle = (low + high) / 2
        now = np.rint(1e8 * n * _shares_of_bins(middle)).astype(np.int64)[None]
        small = TESTS[name](Compared(base, now, widths), 0.0).score[0] < TOLERANCE[name]
        low, high = (middle, high) if small else (low, middle)
    return low


# --- segments, and power ---


def _nested(seed: int, count: int) -> list[Row]:
    """Twenty features in ten segments and in all of them together, which has the same events.

    Of the baseline of all, a tenth of the values are the first of each segment's.
    """
    rng, shape, still = seeded(seed, "nested"), (count * SEGMENT_FEATURES, SEGMENTS), _shares_of_bins(0.0)
    first = rng.multinomial(BASELINE // SEGMENTS, still, shape)
    base = first + rng.multinomial(BASELINE - BASELINE // SEGMENTS, still, shape)
    now = rng.multinomial(SEGMENT_N, still, shape)
    bases = np.concatenate([base, first.sum(axis=1, keepdims=True)], axis=1).reshape(-1, len(still))
    nows = np.concatenate([now, now.sum(axis=1, keepdims=True)], axis=1).reshape(-1, len(still))
    cell = Cell("nested segments", SEGMENT_N, "none")
    return [
        _row(name, cell, (SEGMENT_FEATURES, SEGMENTS), level, p.reshape(count, -1))
        for name, p in _with_both(_tested(bases, nows, NUMERIC, WIDTHS)).items()
        for level in LEVELS
    ]


def _power(seed: int, rows: int) -> list[Row]:
    """Share of windows in which .1 σ is found with 5,000 values at a level of .01; ok where that may be .9."""
    found = _numbers(seeded(seed, "power"), 5_000, rows, 0.1).items()
    judged = [_row(name, Cell("numbers", 5_000, "none"), (1, 0), 0.01, p[:, None]) for name, p in found]
    return [row | {"shift": 0.1, "ok": row["upper"] >= 0.9} for row in judged]
