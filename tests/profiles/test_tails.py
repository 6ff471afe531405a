"""The tail: p95 to p99.9 of laws as sorting finds them, in health and after a drift."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from stream_monitor.describe.aggregate.column_sums import add_up
from stream_monitor.profiles.bins import BINS, BinEdges, bin_values, make_edges
from stream_monitor.profiles.integers import are_whole, whole
from stream_monitor.profiles.known_bins import EdgeTable
from stream_monitor.profiles.quantiles import Extent, Quantiles
from stream_monitor.profiles.tails import NO_TAIL, TAIL_BINS, Tail, TailTable, keyed, tail_counts, tail_edges
from stream_monitor.types import F64

Rng = np.random.Generator
SHARES = (0.95, 0.99, 0.999)
LAWS: dict[str, Callable[[Rng, int], F64]] = {
    "normal": lambda rng, n: rng.normal(100, 15, n),
    "around 0": lambda rng, n: rng.normal(0, 1, n),
    "exponential": lambda rng, n: rng.exponential(40, n),
    "lognormal": lambda rng, n: rng.lognormal(3, 1, n),
    "wide lognormal": lambda rng, n: rng.lognormal(0, 2.5, n),
    "pareto": lambda rng, n: rng.pareto(1.2, n) + 1,
    "mixture": lambda rng, n: np.where(rng.random(n) < 0.9, rng.normal(10, 1, n), rng.normal(1_000, 50, n)),
    "mixture at p95": lambda rng, n: np.where(rng.random(n) < 0.95, rng.normal(10, 1, n), rng.normal(1_000, 50, n)),
    "rare and large": lambda rng, n: np.where(rng.random(n) < 0.97, 0.0, rng.lognormal(4, 1, n)),
    "poisson": lambda rng, n: rng.poisson(3, n).astype(float),
    "large counts": lambda rng, n: rng.negative_binomial(2, 0.01, n).astype(float),
    "prices": lambda rng, n: rng.choice([0.99, 4.99, 9.99, 19.99, 99.99], n, p=[0.5, 0.3, 0.15, 0.04, 0.01]),
    "flag": lambda rng, n: (rng.random(n) < 0.02).astype(float),
}


def reader_of(edges: BinEdges, values: F64) -> Quantiles:
    counts = np.bincount(bin_values(edges.edges, values), minlength=BINS)
    tail = None if edges.tail == NO_TAIL else Tail(edges.tail, tail_counts(edges.tail, values))
    extent = Extent(values.min(), values.max(), values.mean(), ((values - values.mean()) ** 2).sum(), tail)
    return Quantiles(counts, edges.edges, extent)


@pytest.mark.parametrize("drift", [1.0, 3.0])
@pytest.mark.parametrize("n", [1_000, 20_000])
@pytest.mark.parametrize("law", LAWS)
def test_quantiles_are_within_two_per_cent_or_one_value_of_those_of_sorting(law: str, n: int, drift: float) -> None:
    for seed in range(5):
        rng = np.random.default_rng([seed, n])
        edges = make_edges(LAWS[law](rng, 10_000))
        now = np.sort(drift * LAWS[law](rng, n))
        reader = reader_of(edges, now)
        for share in SHARES:
            found, rank, rounding = reader.at(share), share * (n - 1), 0.0
            if are_whole(edges.edges, (now[0], now[-1])):
                found, rounding = whole(found, edges.tail), 0.5
            low, high = (now[min(max(int(rank) + step, 0), n - 1)] for step in (-1, 2))
            assert 0.98 * low - rounding <= found <= 1.02 * high + rounding, (share, found, low, high)
            assert share < 0.95 or not reader.is_coarse(share)


@pytest.mark.parametrize("law", LAWS)
def test_compiled_code_counts_the_tail_as_the_judge_does(law: str) -> None:
    rng = np.random.default_rng(1)
    edges, values = make_edges(LAWS[law](rng, 2_000)), 10 * LAWS[law](rng, 5_000)
    borders = tail_edges(edges.tail)
    near = np.concatenate([values, borders, np.nextafter(borders, 0), np.nextafter(borders, np.inf), [np.nan, 1e300]])
    sums = add_up(near[None], np.array([0, len(near)]), EdgeTable.of([edges]))
    counts = np.zeros(TAIL_BINS, np.int64)
    counts[sums.tail_at] = sums.tail_n
    np.testing.assert_array_equal(counts, tail_counts(edges.tail, near))
    assert counts.sum() == (near > edges.tail).sum() and sums.tail_ptr.tolist() == [0, len(sums.tail_at)]
    assert edges.tail in edges.edges, "so that it can be seen whether a tail is whole"


@pytest.mark.parametrize("values", [np.full(200, -3.0), -np.random.default_rng(0).lognormal(0, 1, 500), np.zeros(100)])
def test_a_measure_without_positive_values_has_no_tail(values: F64) -> None:
    edges = make_edges(values)
    assert edges.tail == NO_TAIL
    assert np.isfinite(reader_of(edges, values).at(0.999))


def test_values_at_the_ends_of_doubles_have_no_tail_or_a_finite_one() -> None:
    for value in (5e-324, 1e-300, 1e300, 1.7e308):
        with np.errstate(over="ignore"):
            edges = make_edges(np.linspace(0.5, 1, 100) * value)
        assert edges.tail == NO_TAIL or np.isfinite(tail_edges(edges.tail)).all()


def test_a_tail_that_lacks_values_is_not_read() -> None:
    rng = np.random.default_rng(2)
    edges, now = make_edges(rng.lognormal(3, 1, 5_000)), 3 * rng.lognormal(3, 1, 1_000)
    counts, part = np.bincount(bin_values(edges.edges, now), minlength=BINS), tail_counts(edges.tail, now[:500])
    whole_tail, none = (
        Quantiles(counts, edges.edges, Extent(now.min(), now.max(), tail=Tail(edges.tail, tail)))
        for tail in (tail_counts(edges.tail, now), part)
    )
    assert not whole_tail.is_coarse(0.99) and none.is_coarse(0.99)
    assert whole_tail.at(0.99) == pytest.approx(np.quantile(now, 0.99, method="inverted_cdf"), rel=0.02)
    assert none.at(0.99) == Quantiles(counts, edges.edges, Extent(now.min(), now.max())).at(0.99)


def test_tables_of_tails_merge_in_any_order_and_forget_a_measure() -> None:
    rng = np.random.default_rng(3)
    parts = [
        keyed(int(rng.integers(3)), int(rng.integers(3)), rng.poisson(0.1, TAIL_BINS).astype(np.int64))
        for _ in range(20)
    ]
    one, other = TailTable(), TailTable()
    for key, n in parts:
        one.add(key, n)
    for key, n in reversed(parts):
        other.add(key, n)
    np.testing.assert_array_equal(one.key, other.key)
    np.testing.assert_array_equal(one.n, other.n)
    total = sum(int(n.sum()) for _, n in parts)
    assert sum(int(one.of(group, measure).sum()) for group in range(3) for measure in range(3)) == total
    one.drop(1)
    assert not one.of(0, 1).any() and one.of(1, 2).tolist() == other.of(1, 2).tolist()
