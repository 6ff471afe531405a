from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from stream_monitor.baselines.baseline import Baseline
from stream_monitor.detect.cusum.scores import scores_of, sums_of_panes
from stream_monitor.detect.sequential.registry import shift_of
from stream_monitor.profiles.bins import BINS, bin_values, make_edges
from stream_monitor.types import F64, I64


def binned(values: F64) -> I64:
    return np.bincount(bin_values(make_edges(values).edges, values), minlength=BINS)[None]


def test_scores_are_the_normal_quantiles_of_the_ranks_whatever_the_shape() -> None:
    values = np.random.default_rng(1).lognormal(sigma=2, size=20_000)
    borders = make_edges(values).edges
    scores = scores_of(binned(values)).of_bin[0][bin_values(borders, values)]
    expected = stats.norm.ppf(stats.rankdata(values) / (len(values) + 1))
    assert np.corrcoef(scores, expected)[0, 1] > 0.998
    assert scores.mean() == pytest.approx(0, abs=1e-9)
    assert scores.std() == pytest.approx(1, abs=1e-9)


def test_scores_never_fall_from_bin_to_bin_and_reach_further_than_the_baseline() -> None:
    values = np.random.default_rng(2).normal(size=5_000)
    counts, scores = binned(values), scores_of(binned(values)).of_bin[0]
    used = np.flatnonzero(counts[0])
    assert (np.diff(scores) >= 0).all()
    assert scores[0] <= scores[used[0]]
    assert scores[-1] > scores[used[-1]]
    assert np.abs(scores).max() < 5, "an outlier of any size counts for little"


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_scores_do_not_depend_on_the_scale(scale: float) -> None:
    values = np.random.default_rng(3).normal(size=2_000)
    np.testing.assert_array_equal(
        scores_of(binned(values)).of_bin[0, 0], scores_of(binned(values * scale)).of_bin[0, 0]
    )


@pytest.mark.parametrize("share", [0.02, 0.2, 0.5, 0.9])
def test_two_values_are_themselves_standardised(share: float) -> None:
    values = (np.arange(1_000) < 1_000 * share).astype(float)
    counts = binned(values)
    scores = scores_of(counts).of_bin[0][np.flatnonzero(counts[0])]
    spread = np.sqrt(share * (1 - share))
    np.testing.assert_allclose(scores, [-share / spread, (1 - share) / spread])


@pytest.mark.parametrize(("above", "below"), [(9, 0), (9, 4), (2, 8)])
def test_where_nearly_all_is_one_value_scores_are_two(above: int, below: int) -> None:
    counts = np.zeros((1, BINS), np.int64)
    counts[0, 60] = 1_000 - above - below
    counts[0, 61 : 61 + above] = counts[0, 60 - below : 60] = 1
    scores, usual = scores_of(counts).of_bin[0], np.arange(BINS) > 60 if above > below else np.arange(BINS) >= 60
    assert len(np.unique(scores)) == 2
    np.testing.assert_array_equal(scores > 0, usual if above > below else scores == scores.max())
    assert (scores[usual] == scores.max()).all()
    assert (counts[0] * scores).sum() == pytest.approx(0, abs=1e-9)
    assert (counts[0] * scores**2).sum() == pytest.approx(1_000)


def test_constant_and_empty_baselines_have_no_scores_and_say_so() -> None:
    some = binned(np.random.default_rng(4).normal(size=500))[0]
    scores = scores_of(np.stack([binned(np.full(500, 3.0))[0], some, np.zeros(BINS, np.int64)]))
    assert scores.varies.tolist() == [False, True, False]
    assert (scores.of_bin[[0, 2]] == 0).all()
    np.testing.assert_array_equal(scores.of_bin[1], scores_of(some[None]).of_bin[0])
    assert scores_of(np.zeros((0, BINS), np.int64)).of_bin.shape == (0, BINS)


def test_sums_of_sparse_panes_are_the_sums_of_their_values() -> None:
    rng = np.random.default_rng(5)
    of_bin, counts = rng.normal(size=(3, BINS)), rng.integers(0, 3, (3, BINS))
    row, at = np.nonzero(counts)
    sums = sums_of_panes(of_bin[row, at], row, counts[row, at], 3)
    for r in range(3):
        values = np.repeat(of_bin[r], counts[r])
        np.testing.assert_allclose([sums.n[r], sums.s[r], sums.ss[r]], [len(values), values.sum(), (values**2).sum()])


def test_the_shift_of_a_rare_number_is_that_of_the_mean_by_what_its_scores_count() -> None:
    """Not by the spread of all values, which the few far below make large and no score looks at."""
    values = np.repeat([0.0, 1.0, -1_000.0], [9_760, 140, 100])
    counts, borders = binned(values), make_edges(values).edges
    baseline = Baseline("first", 0, len(values), {}, len(values), 0.0, 0.0, -1_000.0, 1.0, counts=counts[0])
    score = scores_of(counts).of_bin[0]
    more = np.repeat([0.0, 1.0], [9_860, 140])
    before, after = (score[bin_values(borders, x)].mean() for x in (values, np.concatenate([more, np.ones(140)])))
    share = 280 / 10_140 - 0.014
    far = -1_000 * 100 / 9_860
    assert shift_of(float(after - before), baseline, borders) == pytest.approx(share * (1 - far), rel=0.01)
