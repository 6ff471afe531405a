"""Counts that move to other borders, and which baseline judges when."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.baselines.baseline import Baseline, Baselines, rebin
from stream_monitor.profiles.bins import BINS, bin_values, make_edges
from tests.effort import examples

values = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200).map(np.array)


def counted(borders: np.ndarray, sample: np.ndarray) -> np.ndarray:
    return np.bincount(bin_values(borders, sample), minlength=BINS)


@examples(67)
@given(values, values)
def test_moved_counts_keep_their_total_and_stay_where_both_have_a_border(a: np.ndarray, b: np.ndarray) -> None:
    old, new = make_edges(a).edges, make_edges(b).edges
    counts = counted(old, a)
    moved = rebin(counts, old, new, (float(a.min()), float(a.max())))
    assert (moved >= 0).all() and moved.sum() == counts.sum()
    common, at, to = np.intersect1d(old, new, return_indices=True)
    inside = (common >= a.min()) & (common <= a.max())
    assert (np.cumsum(counts)[at][inside] == np.cumsum(moved)[to][inside]).all()


def test_moved_counts_are_near_those_of_the_values_themselves() -> None:
    rng = np.random.default_rng(1)
    sample, other = rng.normal(0, 1, 50_000), rng.normal(0.3, 1.2, 50_000)
    old, new = make_edges(sample).edges, make_edges(other).edges
    moved = rebin(counted(old, sample), old, new, (float(sample.min()), float(sample.max())))
    below = np.cumsum(counted(new, sample)) / len(sample)
    distance = np.abs(np.cumsum(moved) / len(sample) - below)
    assert distance.max() < 0.01  # the share of an old bin: in the tails values are not spread evenly over it
    assert distance[(below > 0.05) & (below < 0.95)].max() < 0.001


def baseline(name: str, since: int) -> Baseline:
    return Baseline(name, since, 10, {"numeric": 10})


def name_at(made: Baselines, version: str, start: int) -> str | None:
    found = made.active_at((version, "all"), "x", start)
    return found.name if found is not None else None


def test_a_window_is_judged_by_the_baseline_that_was_in_force_at_its_start() -> None:
    made = Baselines({("all", "x"): baseline("first", 100)})
    made.pin(None, "all", "x", baseline("june", 200))
    made.pin("2", "all", "x", baseline("two", 300))
    assert [name_at(made, "1", t) for t in (50, 150, 250, 350)] == [None, "first", "june", "june"]
    assert [name_at(made, "2", t) for t in (250, 350)] == ["june", "two"]
    made.pin(None, "all", "x", baseline("july", 400))
    assert [name_at(made, "1", t) for t in (350, 450)] == ["june", "july"]
    assert name_at(made, "2", 450) == "two"
