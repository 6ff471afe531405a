"""Display bins: the shapes of windows add up, and stay comparable."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.profiles.bins import BINS, bin_values, make_edges
from stream_monitor.profiles.display_bins import category_shape, display_edges, numeric_shape


@given(st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=300), st.lists(st.floats(-1e13, 1e13), max_size=200))
def test_a_shape_holds_every_value_and_its_ends_are_the_baselines(before: list[float], now: list[float]) -> None:
    edges = make_edges(np.array(before)).edges
    counts = np.bincount(bin_values(edges, np.array(now, float)), minlength=BINS)
    shape, ends = numeric_shape(counts, edges), display_edges(edges)
    assert sum(shape) == len(now) and len(shape) == len(ends) + 1 <= 16
    expected = np.bincount(np.searchsorted(ends, now, side="left"), minlength=len(shape))
    assert shape == expected.tolist()


def test_two_windows_add_up_to_the_shape_of_both() -> None:
    rng = np.random.default_rng(5)
    edges = make_edges(rng.normal(size=5_000)).edges
    parts = [np.bincount(bin_values(edges, rng.normal(size=300)), minlength=BINS) for _ in range(2)]
    added = [sum(pair) for pair in zip(*(numeric_shape(part, edges) for part in parts), strict=True)]
    assert added == numeric_shape(parts[0] + parts[1], edges)


def test_the_inner_bins_hold_about_as_many_values_each() -> None:
    values = np.random.default_rng(3).lognormal(size=20_000)
    edges = make_edges(values).edges
    shape = np.array(numeric_shape(np.bincount(bin_values(edges, values), minlength=BINS), edges))
    assert shape[0] <= 1 and shape[-1] == 0
    assert shape[1:-1] / len(values) == pytest.approx(1 / 14, abs=0.02)


def test_categories_beyond_the_most_frequent_are_others_and_unknown_ones_are_new() -> None:
    baseline = {f"c{i}": 100 - i for i in range(20)}
    shape = category_shape(baseline, {"c0": 5, "c12": 2, "c19": 1, "strange": 4}, 12)
    assert shape == [5, *[0] * 11, 3, 4]
