"""Edges: an atom has a bin of its own, and the quantiles of atoms are atoms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.baselines.baseline import rebin
from stream_monitor.describe.aggregate.column_sums import add_up
from stream_monitor.profiles.bins import BINS, BinEdges, bin_values, just_below, make_edges, point_bins
from stream_monitor.profiles.known_bins import EdgeTable
from stream_monitor.profiles.quantiles import Extent, quantiles
from stream_monitor.types import F64, I64
from tests.effort import examples

RNG = np.random.default_rng(5)
ATOMS = {
    "constant": np.full(500, 100.0),
    "zero": np.zeros(500),
    "flag": (RNG.random(2_000) < 0.3).astype(float),
    "shops": RNG.choice([10.0, 20.0, 30.0, 40.0, 50.0], 2_000),
    "prices": RNG.choice([0.99, 4.99, 9.99, 19.99], 2_000),
    "ratings": RNG.integers(1, 6, 2_000).astype(float),
    "counts": RNG.poisson(1.0, 2_000).astype(float),
    "negative": -RNG.poisson(2.0, 2_000).astype(float),
    "sentinel": np.where(RNG.random(2_000) < 0.1, -999.0, RNG.normal(50, 10, 2_000)),
    "tiny": RNG.choice([0.0, 5e-324, -5e-324, 1e-300], 500),
    "huge": RNG.choice([1.7e308, -1.7e308], 500),
}


def counted(values: F64, borders: F64) -> I64:
    return np.bincount(bin_values(borders, values), minlength=BINS)


def before_atoms(values: F64) -> F64:
    """The edges that a former version made of these values."""
    body = np.unique(np.sort(values)[np.linspace(0, len(values) - 1, 100).astype(np.int64)])
    step = (body[-1] - body[0]) / 4 or max(abs(body[-1]), 1.0) * 0.25
    beyond = step * (2.0 ** np.arange(16) - 0.5)
    return np.unique(np.concatenate([body[0] - beyond, body, body[-1] + beyond]))


@pytest.mark.parametrize("name", sorted(ATOMS.keys() - {"tiny", "huge"}))
def test_a_value_that_takes_two_quantiles_has_a_bin_of_its_own(name: str) -> None:
    values = ATOMS[name]
    borders = make_edges(values).edges
    counts, points = counted(values, borders), point_bins(borders)
    several, times = np.unique(values, return_counts=True)
    for value, n in zip(several.tolist(), times.tolist(), strict=True):
        if n > 0.021 * len(values):
            place = int(bin_values(borders, np.array([value]))[0])
            assert points[place] and counts[place] == n


@pytest.mark.parametrize("limits", [(), tuple(range(20))])
@pytest.mark.parametrize("name", ATOMS)
def test_edges_ascend_and_fit_and_compiled_code_counts_on_them(name: str, limits: tuple[float, ...]) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        edges = make_edges(ATOMS[name], limits)
    assert len(edges.edges) < BINS and np.isfinite(edges.edges).all() and (edges.edges[1:] > edges.edges[:-1]).all()
    near = np.concatenate([edges.edges, just_below(edges.edges), np.nextafter(edges.edges, np.inf), ATOMS[name]])
    near = near[np.isfinite(near)]
    sums = add_up(near[None], np.array([0, len(near)]), EdgeTable.of([edges]))
    counts = np.zeros(BINS, np.int64)
    counts[sums.bin_at] = sums.bin_n
    np.testing.assert_array_equal(counts, counted(near, edges.edges))


def test_values_without_atoms_have_the_edges_that_they_always_had() -> None:
    for n in (100, 150, 2_000):
        values = RNG.normal(size=n)
        np.testing.assert_array_equal(make_edges(values).edges, before_atoms(values))


@examples(67)
@given(st.data())
def test_quantiles_of_atoms_are_the_ones_that_sorting_finds(data: st.DataObject) -> None:
    atoms = np.array(
        data.draw(st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=1, max_size=30, unique=True))
    )
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    base = rng.permutation(np.repeat(atoms, 20))
    now = rng.choice(atoms, data.draw(st.integers(1, 200)))
    borders, shares = make_edges(base).edges, (0.05, 0.5, 0.95, 0.99)
    found = quantiles(counted(now, borders), borders, shares, Extent(now.min(), now.max()))
    assert found == np.quantile(now, shares, method="inverted_cdf").tolist()


@pytest.mark.parametrize("new", [25.0, 7.123, 1e-3, 60.0, -4.0])
def test_a_single_new_value_among_atoms_is_found_by_the_moments(new: float) -> None:
    borders = make_edges(ATOMS["shops"]).edges
    now = np.where(ATOMS["shops"] == 30.0, new, ATOMS["shops"])[:700]
    extent = Extent(now.min(), now.max(), now.mean(), ((now - now.mean()) ** 2).sum())
    shares = tuple(np.linspace(0.01, 0.99, 99).tolist())
    found = quantiles(counted(now, borders), borders, shares, extent)
    np.testing.assert_array_equal(found, np.quantile(now, shares, method="inverted_cdf"))
    two = np.where(np.arange(700) % 2 == 0, now, np.where(now == new, new + 1.5, now))
    extent = Extent(two.min(), two.max(), two.mean(), ((two - two.mean()) ** 2).sum())
    spread = quantiles(counted(two, borders), borders, shares, extent)
    assert np.abs(np.array(spread) - np.quantile(two, shares, method="inverted_cdf")).max() < 10, "two: spread evenly"


@pytest.mark.parametrize("name", sorted(ATOMS.keys() - {"tiny", "huge"}))
def test_counts_on_edges_of_a_former_version_move_onto_the_atoms_and_back(name: str) -> None:
    values = ATOMS[name]
    old, new = before_atoms(values), make_edges(values).edges
    ends = float(values.min()), float(values.max())
    moved = rebin(counted(values, old), old, new, ends)
    gap = np.abs(np.cumsum(moved) - np.cumsum(counted(values, new))).max() / len(values)
    assert moved.sum() == len(values) and gap < 0.011
    back = rebin(counted(values, new), new, old, ends)
    assert back.sum() == len(values)
    assert np.abs(np.cumsum(back) - np.cumsum(counted(values, old))).max() / len(values) < 0.011


def test_edges_of_atoms_have_another_version_than_those_of_a_former_one() -> None:
    values = ATOMS["shops"]
    assert make_edges(values).version != BinEdges.of(before_atoms(values)).version
