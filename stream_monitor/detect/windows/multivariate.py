"""Tests of a window's rows against the baseline's rows: they detect features that change only jointly.

Both samples become one matrix. A number is replaced by the normal quantile of its mid-rank among all rows of both
samples. So neither scale nor heavy tails affect the tests, and without drift baseline and window are treated alike.
Categories and missing values are indicators. As in `tests`, a p-value answers "is the true effect above its
tolerance?".

Only the rows affect the results: rows are sorted by hash, a row's fold is a remainder of its hash, and the random
frequencies come from a generator whose stream never changes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import special

from stream_monitor.baselines.sampled_rows import Rows
from stream_monitor.types import F64, I64, Bool

FOLDS = 5
MOST_FEATURES = 100
"""Most features that a test uses; the first by name of the baseline."""
INDICATORS = 100
"""Most columns for categories and missing values; those that best divide the rows are kept."""
LEAST_ROWS = 10
"""Fewest rows with a category, and without it, for the category to get a column."""
PRODUCTS = 32
"""Most products of two columns that the classifier uses; those whose mean moved most in its training rows."""
FREQUENCIES = 32
MEDIAN_ROWS = 200
"""Most rows of the baseline whose distances determine the kernel's width."""
KEPT_VARIANCE = 0.95
NAMED = 5
"""Most columns that the classifier names."""
TOGETHER = 2.0
"""Factor by which the variance over the folds exceeds that of independent folds; see `_cross_fitted`."""


class FeatureContribution(NamedTuple):
    """A column, or a product of two ("a × b"): its part in the difference that the classifier finds, and its AUC."""

    name: str
    part: float
    auc: float


class RowTestResult(NamedTuple):
    """Score in the test's unit, p-value of "the effect is at most the tolerance", and columns with the largest part."""

    score: float
    p: float
    worst: tuple[FeatureContribution, ...] = ()


@dataclass(slots=True)
class Matrix:
    """The rows of the baseline, followed by those of the window."""

    x: F64
    """(rows, columns), centred."""
    names: list[str]
    numbers: int
    """The number of columns that are numbers; they come first, and the others are indicators."""
    now: Bool
    """(rows,) whether a row belongs to the window."""
    fold: I64


def matrix_of(base: Rows, now: Rows) -> Matrix:
    """The matrix of both samples, on the columns of the baseline."""
    features = sorted([*((name, 0) for name in base.numbers), *((name, 1) for name in base.texts)])[:MOST_FEATURES]
    categories = sorted({*base.categories, *now.categories})
    index = {category: i for i, category in enumerate(categories)}
    places = [np.array([*map(index.__getitem__, rows.categories), -1], np.int64) for rows in (base, now)]
    columns: list[tuple[str, F64]] = []
    marks: list[tuple[str, Bool]] = []
    for name, kind in features:
        if kind:
            code = np.concatenate([place[rows.text(name)] for place, rows in zip(places, (base, now), strict=True)])
            marks += _indicators(name, code, categories)
            continue
        values = np.concatenate([base.number(name), now.number(name)])
        absent = np.isnan(values)
        marks.append((f"{name} missing", absent))
        scores = np.zeros(len(values))
        scores[~absent] = normal_scores(values[~absent])
        if scores.any():
            columns.append((name, scores))
    numbers = len(columns)
    columns += _most_telling(marks)
    x = np.column_stack([column for _, column in columns]) if columns else np.zeros((len(base) + len(now), 0))
    fold = (np.concatenate([base.hash, now.hash]) % np.uint64(FOLDS)).astype(np.int64)
    return Matrix(x, [name for name, _ in columns], numbers, np.arange(len(x)) >= len(base), fold)


def _indicators(name: str, code: I64, categories: list[str]) -> list[tuple[str, Bool]]:
    """The indicators of a feature: whether a row has no category (-1), and whether it has each frequent one."""
    codes, counts = np.unique(code[code >= 0], return_counts=True)
    frequent = codes[counts >= LEAST_ROWS].tolist()
    return [(f"{name} missing", code < 0), *((f"{name}={categories[i]}", code == i) for i in frequent)]


def _most_telling(marks: list[tuple[str, Bool]]) -> list[tuple[str, F64]]:
    counts = np.array([int(mark.sum()) for _, mark in marks], np.int64)
    rest = np.array([len(mark) for _, mark in marks], np.int64) - counts
    order = [i for i in np.argsort(-counts * rest, kind="stable").tolist() if min(counts[i], rest[i]) >= LEAST_ROWS]
    return [(name, mark - mark.mean()) for name, mark in (marks[i] for i in sorted(order[:INDICATORS]))]


def midranks(values: F64) -> F64:
    """Ranks from 1, the mean rank for ties."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[place.reshape(-1)])


def normal_scores(values: F64) -> F64:
    """Normal quantiles of mid-ranks (van der Waerden 1952); zeros for a constant."""
    return np.asarray(special.ndtri((midranks(values) - 0.5) / max(len(values), 1)))


# --- the domain classifier ---


def domain_classifier(data: Matrix, tolerance: float) -> RowTestResult:
    """AUC - 1/2 of a linear discriminant that separates window and baseline (Lopez-Paz and Oquab 2017).

    It uses columns and products of columns, so it detects correlations that change. A column's part is its share in the
    squared distance of the two means: its weight times its difference.
    """
    parts: dict[tuple[int, int], float] = {}

    def scores(train: Bool, test: Bool) -> F64:
        pairs = _products(data, train)
        x = np.column_stack([data.x, data.x[:, pairs[0]] * data.x[:, pairs[1]]])
        weights, gap = _discriminant(x[train], data.now[train])
        keys = [*((i, -1) for i in range(len(data.names))), *map(tuple, pairs.T.tolist())]
        for key, part in zip(keys, (weights * gap).tolist(), strict=True):
            parts[key] = parts.get(key, 0.0) + part
        return np.asarray(x[test] @ weights)

    score, p = _cross_fitted(data, scores, tolerance)
    return RowTestResult(score, p, _worst(data, parts))


def _worst(data: Matrix, parts: dict[tuple[int, int], float]) -> tuple[FeatureContribution, ...]:
    total = max(sum(abs(part) for part in parts.values()), 1e-300)
    contributions = []
    for i, j in sorted(parts, key=lambda key: (-round(parts[key] / total, 9), key))[:NAMED]:
        column = data.x[:, i] if j < 0 else data.x[:, i] * data.x[:, j]
        name = data.names[i] if j < 0 else f"{data.names[i]} × {data.names[j]}"
        contributions.append(
            FeatureContribution(name, parts[i, j] / total, area(column[~data.now], column[data.now])[0])
        )
    return tuple(contributions)


def _products(data: Matrix, train: Bool) -> I64:
    """(2, pairs): products of columns whose mean differs most between window and baseline, in standard errors."""
    base, now = data.x[train & ~data.now], data.x[train & data.now]
    squares = (base * base).T @ (base * base) + (now * now).T @ (now * now)
    moved = np.abs(now.T @ now / len(now) - base.T @ base / len(base))
    moved /= np.sqrt(np.maximum(squares / (len(base) + len(now)), 1e-12))
    pairs = np.array(np.triu_indices(len(moved)))
    pairs = pairs[:, (pairs[0] < pairs[1]) | (pairs[0] < data.numbers)]  # the square of an indicator adds nothing
    return np.asarray(pairs[:, np.argsort(-np.round(moved[pairs[0], pairs[1]], 9), kind="stable")[:PRODUCTS]])


def _discriminant(x: F64, now: Bool) -> tuple[F64, F64]:
    """The weights of Fisher's discriminant, and the difference of the means; more columns, more shrinkage."""
    first, second = x[~now], x[now]
    gap = second.mean(axis=0) - first.mean(axis=0)
    inner = np.concatenate([first - first.mean(axis=0), second - second.mean(axis=0)])
    spread = inner.T @ inner / len(x)
    share = x.shape[1] / (x.shape[1] + len(x))
    own = np.diag(spread)
    spread = (1 - share) * spread + np.diag(share * own + 1e-9 + 1e-6 * own.mean())
    return np.linalg.solve(spread, gap), gap


def _cross_fitted(data: Matrix, scores: Callable[[Bool, Bool], F64], tolerance: float) -> tuple[float, float]:
    """(AUC - 1/2, p) of the scores that each fold gets from a model of the other folds.

    The variance is the sum of DeLong's (1988) over the folds, doubled, because the folds' results are not independent.
    Without drift a linear model rates fold j by its similarity to fold k, and fold k by its similarity to fold j. So
    each pair of folds counts twice, and the sum has twice the variance, for any number of folds.
    """
    aucs, errors, weights = [], [], []
    for fold in range(FOLDS):
        test = data.fold == fold
        base, now = test & ~data.now, test & data.now
        if min(base.sum(), now.sum(), (~test & ~data.now).sum(), (~test & data.now).sum()) < 2:
            continue
        auc, error = area(*np.split(scores(~test, base | now), [int(base.sum())]))
        aucs.append(auc)
        errors.append(error)
        weights.append(int(base.sum()) * int(now.sum()))
    if not weights:
        return 0.0, 1.0
    share = np.array(weights) / sum(weights)
    score = round(float(share @ np.array(aucs)) - 0.5, 9) + 0.0  # never -0
    error = float(np.sqrt(TOGETHER * (share * share) @ np.array(errors)))
    return score, float(special.ndtr(-(score - tolerance) / error))


def area(base: F64, now: F64) -> tuple[float, float]:
    """(AUC, its variance): how often a score of the window exceeds one of the baseline (DeLong et al. 1988)."""
    both = np.concatenate([base, now])
    ranks = midranks(
        np.round(both / max(float(np.abs(both).max()), 1e-300), 9)
    )  # so that rounding errors do not separate ties
    first, second = ranks[: len(base)], ranks[len(base) :]
    above = (second - midranks(second)) / len(base)
    below = (first - midranks(first)) / len(now)
    variance = above.var(ddof=1) / len(now) + below.var(ddof=1) / len(base)
    return float(above.mean()), float(variance) + 0.25 / (len(base) * len(now))


# --- other tests ---


def pca_error(data: Matrix, tolerance: float) -> RowTestResult:
    """AUC - 1/2 of the distance from the baseline's principal components that hold 95 % of its variance.

    A row is scored by components of other baseline rows. Above 0 the window's rows lie farther away.
    """

    def scores(train: Bool, test: Bool) -> F64:
        base = data.x[train & ~data.now]
        middle = base.mean(axis=0)
        values, vectors = np.linalg.eigh((base - middle).T @ (base - middle) / len(base))
        total = max(float(values.sum()), 1e-300)
        left = np.cumsum(values) <= (1 - KEPT_VARIANCE) * total
        rest = (data.x[test] - middle) @ vectors[:, left]
        return np.asarray(np.round((rest * rest).sum(axis=1) / total, 12))

    return RowTestResult(*_cross_fitted(data, scores, tolerance))


def mmd(data: Matrix, tolerance: float) -> RowTestResult:
    """Maximum mean discrepancy of a Gaussian kernel (Gretton et al. 2012), 0 to √2, less its expected chance part.

    The kernel is approximated by 32 random frequencies (Rahimi and Recht 2007). So the discrepancy is the distance of
    two means of 64 bounded numbers. By the triangle inequality chance must account for at least the part above the
    tolerance. Under chance the squared distance is a weighted sum of χ², with the eigenvalues of the covariance as
    weights.
    """
    wave = data.x @ np.random.RandomState(0).standard_normal((data.x.shape[1], FREQUENCIES)) / _width(data)
    phi = np.hstack([np.cos(wave), np.sin(wave)]) / np.sqrt(FREQUENCIES)
    base, now = phi[~data.now], phi[data.now]
    distance = float(np.linalg.norm(now.mean(axis=0) - base.mean(axis=0)))
    inner = np.concatenate([base - base.mean(axis=0), now - now.mean(axis=0)])
    weights = np.maximum(np.linalg.eigvalsh(inner.T @ inner / max(len(phi) - 2, 1)), 0) * (1 / len(base) + 1 / len(now))
    score = round(float(np.sqrt(max(distance**2 - float(weights.sum()), 0.0))), 6)
    return RowTestResult(score, tail_of_weighted(weights, max(distance - tolerance, 0.0) ** 2))


def _width(data: Matrix) -> float:
    """The width of the kernel: the median distance of two rows of the baseline."""
    some = data.x[~data.now][:MEDIAN_ROWS]
    squares = (some * some).sum(axis=1)
    apart = squares[:, None] + squares[None, :] - 2 * some @ some.T
    middle = float(np.median(apart[np.triu_indices(len(some), 1)])) if len(some) > 1 else 0.0
    return float(np.sqrt(middle)) if middle > 1e-9 else 1.0


def tail_of_weighted(weights: F64, x: float) -> float:
    """P(Σ weights χ²(1) >= x), by the saddlepoint (Lugannani and Rice 1980, Kuonen 1999), never below 1e-300.

    The relative error is some percent, both at 1e-7 and at 1e-2.
    """
    weights = weights[weights > 1e-12 * max(float(weights.max(initial=0.0)), 1e-300)]
    if not len(weights) or x <= 0:
        return 1.0
    low, high = -len(weights) / (2 * x), (1 - 1e-12) / (2 * float(weights.max()))
    for _ in range(100):
        t = (low + high) / 2
        low, high = (t, high) if float((weights / (1 - 2 * t * weights)).sum()) < x else (low, t)
    left = 1 - 2 * t * weights
    w = float(np.sign(t) * np.sqrt(2 * max(t * x + float(np.log(left).sum()) / 2, 0.0)))
    spread = 2 * float((weights**2 / left**2).sum())
    if abs(w) < 1e-3:
        return float(0.5 - 8 * (weights**3).sum() / (6 * np.sqrt(2 * np.pi) * spread**1.5))
    density = np.exp(-w * w / 2) / np.sqrt(2 * np.pi)
    return float(np.clip(special.ndtr(-w) + density * (1 / (t * np.sqrt(spread)) - 1 / w), 1e-300, 1.0))


TESTS: dict[str, Callable[[Matrix, float], RowTestResult]] = {
    "domain_classifier": domain_classifier,
    "mmd": mmd,
    "pca_error": pca_error,
}
"""A new test is one function here, one name in `DetectionSettings`, one page in docs/detection."""
