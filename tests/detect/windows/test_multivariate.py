"""Tests of rows: quiet where nothing changed, at any level; loud where features go together otherwise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from stream_monitor.baselines.sampled_rows import ALL_HASHES, Rows
from stream_monitor.detect.windows.binned import Compared
from stream_monitor.detect.windows.multivariate import TESTS, Matrix, domain_classifier, matrix_of, tail_of_weighted
from stream_monitor.detect.windows.tests import TESTS as OF_MEASURES
from stream_monitor.detect.windows.tests import TOLERANCE
from stream_monitor.types import F64

Draw = Callable[[np.random.Generator, int], F64]

NULLS = 400
"""Pairs of samples without drift a case: 3.1 standard errors above a level of .05 are .084, above .01 .0254."""


def rows(rng: np.random.Generator, x: F64, levels: int = 0) -> Rows:
    """Rows of numbers; with levels a category beside them that has so many."""
    n, features = x.shape
    codes = rng.integers(-1, levels, (1, n)) if levels else np.zeros((0, n), np.int64)
    hashes = np.sort(rng.integers(0, 2**63, n).astype(np.uint64))
    names = [f"f{i}" for i in range(features)]
    return Rows(hashes, ALL_HASHES, names, x.T, ["t"] if levels else [], codes, [f"c{i}" for i in range(levels)])


def matrix(seed: int, sizes: tuple[int, int], base: Draw, now: Draw, levels: int = 0) -> Matrix:
    rng = np.random.default_rng(seed)
    first, second = (rows(rng, draw(rng, n), levels) for draw, n in zip((base, now), sizes, strict=True))
    return matrix_of(first, second)


def normal(features: int, shift: float = 0.0) -> Draw:
    def draw(rng: np.random.Generator, n: int) -> F64:
        x = rng.normal(size=(n, features))
        x[:, 0] += shift
        return x

    return draw


def pair(rho: float, others: int = 0) -> Draw:
    """Two normal features with a correlation, and others without."""

    def draw(rng: np.random.Generator, n: int) -> F64:
        x = rng.normal(size=(n, 2 + others))
        x[:, 1] = rho * x[:, 0] + np.sqrt(1 - rho * rho) * x[:, 1]
        return x

    return draw


def odd(rng: np.random.Generator, n: int) -> F64:
    """Heavy tails, ties, gaps, and a constant."""
    x: F64 = rng.standard_cauchy((n, 4)) * np.array([1e300, 1.0, 1.0, 0.0])
    x[:, 1] = np.round(x[:, 1])
    x[rng.random((n, 4)) < 0.1] = np.nan
    return x


@pytest.mark.parametrize(("draw", "levels"), [(normal(3), 3), (pair(0.97, 2), 0), (odd, 3)])
@pytest.mark.parametrize("sizes", [(400, 200)])
def test_without_drift_no_test_rings_more_often_than_its_level(draw: Draw, levels: int, sizes: tuple[int, int]) -> None:
    found = {name: [] for name in TESTS}  # type: dict[str, list[float]]
    for seed in range(NULLS):
        data = matrix(seed, sizes, draw, draw, levels)
        for name, test in TESTS.items():
            found[name].append(test(data, 0.0).p)
    for name, p in found.items():
        assert np.mean(np.array(p) <= 0.05) <= 0.084, name
        assert np.mean(np.array(p) <= 0.01) <= 0.0254, name


def test_a_shift_that_is_tolerated_does_not_ring() -> None:
    """Two normals .25 σ apart have an AUC of .57: below .6."""
    p = [domain_classifier(matrix(seed, (800, 400), normal(3), normal(3, 0.25)), 0.1).p for seed in range(100)]
    assert np.mean(np.array(p) <= 0.05) <= 0.05


def test_a_correlation_that_flips_is_found_and_named_while_each_feature_by_itself_is_quiet() -> None:
    found, quiet = 0, 0
    for seed in range(20):
        data = matrix(seed, (1_000, 500), pair(0.7, 4), pair(-0.7, 4))
        seen = domain_classifier(data, TOLERANCE["domain_classifier"])
        found += seen.p <= 1e-5 and seen.worst[0].name == "f0 × f1" and seen.worst[0].part > 0.5
        quiet += min(_of_measures(data)) > 1e-3
    assert (found, quiet) == (20, 20)


def _of_measures(data: Matrix) -> list[float]:
    """The p-values of the tests of single measures, on a hundred bins of the baseline."""
    p: list[float] = []
    for column in data.x.T:
        base, now = column[~data.now], column[data.now]
        borders = np.quantile(base, np.arange(1, 100) / 100)
        counts = [np.bincount(np.searchsorted(borders, x), minlength=100)[None] for x in (base, now)]
        compared = Compared(counts[0], counts[1], np.zeros((1, 100)))
        p += [float(OF_MEASURES[name](compared, TOLERANCE[name]).p[0]) for name in ("psi", "ks")]
    return p


@pytest.mark.parametrize("name", sorted(TESTS))
def test_two_features_that_no_longer_go_together_are_found_by_every_test(name: str) -> None:
    """One component holds 95 % of what two features say whose correlation is .97."""
    found = [TESTS[name](matrix(s, (1_000, 500), pair(0.97), pair(0.0)), TOLERANCE[name]).p for s in range(10)]
    assert max(found) <= 1e-5


def test_a_category_that_goes_with_another_number_is_found() -> None:
    rng, found = np.random.default_rng(3), []
    for _ in range(10):
        samples = []
        for way in (1, -1):
            sample = rows(rng, rng.normal(size=(800, 2)), 2)
            sample.values[0] += way * np.where(sample.codes[0] == 1, 1.0, -1.0)
            samples.append(sample)
        seen = domain_classifier(matrix_of(*samples), 0.1)
        found.append(seen.p <= 1e-5 and "f0 × t=c" in seen.worst[0].name)
    assert all(found)


def test_the_tail_of_a_weighted_sum_is_that_of_chi_squares_where_weights_are_equal() -> None:
    for degrees in (1, 5, 200):
        for p in (0.9, 0.5, 1e-2, 1e-5, 1e-9):
            x = 0.3 * float(stats.chi2.isf(p, degrees))
            assert tail_of_weighted(np.full(degrees, 0.3), x) == pytest.approx(p, rel=0.15)


def test_the_tail_of_a_weighted_sum_is_that_of_draws() -> None:
    weights: F64 = 0.5 ** np.arange(12.0)
    drawn = (np.random.default_rng(1).chisquare(1, (200_000, 12)) * weights).sum(axis=1)
    for x in (1.0, 3.0, 8.0):
        assert tail_of_weighted(weights, x) == pytest.approx(float(np.mean(drawn >= x)), rel=0.05)


def test_what_the_baseline_does_not_know_and_what_never_varies_is_no_column() -> None:
    rng = np.random.default_rng(1)
    base, now = rows(rng, np.ones((100, 2))), rows(rng, rng.normal(size=(100, 3)))
    assert matrix_of(base, now).names == ["f0", "f1"]
    assert matrix_of(base, rows(rng, np.ones((50, 2)))).names == []


def test_the_same_rows_say_the_same() -> None:
    data, again = (matrix(5, (300, 200), pair(0.5, 3), pair(0.4, 3), 3) for _ in range(2))
    assert [test(data, 0.01) for test in TESTS.values()] == [test(again, 0.01) for test in TESTS.values()]
