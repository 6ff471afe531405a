"""The p-value of the earth mover's distance where a single value may lie far out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from stream_monitor.detect.windows import wasserstein
from stream_monitor.detect.windows.binned import Compared
from stream_monitor.detect.windows.tests import TESTS
from stream_monitor.profiles.bins import BINS, bin_values, make_edges

TAILS = {
    "t(2)": lambda rng, n: rng.standard_t(2, n),
    "t(3)": lambda rng, n: rng.standard_t(3, n),
    "lognormal(2)": lambda rng, n: rng.lognormal(0, 2, n),
    "Pareto(1)": lambda rng, n: rng.pareto(1, n),
    "Pareto(.3)": lambda rng, n: rng.pareto(0.3, n),
}


@pytest.mark.parametrize("name", sorted(TAILS))
@pytest.mark.parametrize(("n", "tolerance", "level"), [(600, 0.1, 1e-4), (5_000, 0.0, 0.05)])
def test_the_p_value_of_wasserstein_is_a_bound_in_heavy_tails_too(
    name: str, n: int, tolerance: float, level: float
) -> None:
    """By the tail of a normal 1 to 4 of 100 windows were rejected at 1e-4, and 1 to 26 of 100 at .05."""
    rng, windows, rejected = np.random.default_rng([20, n]), 200, 0
    for _ in range(windows):
        values = TAILS[name](rng, 10_000)
        borders = make_edges(values).edges
        base, now = (np.bincount(bin_values(borders, x), minlength=BINS)[None] for x in (values, TAILS[name](rng, n)))
        widths = np.zeros((1, BINS))
        widths[0, 1 : len(borders)] = np.diff(borders) / values.std()
        rejected += int(TESTS["wasserstein"](Compared(base, now, widths), tolerance).p[0] <= level)
    assert rejected <= stats.binom.isf(0.001, windows, level)


def test_the_variance_of_both_samples_is_that_of_their_values() -> None:
    values = np.random.default_rng(21).random(20_000)
    borders = make_edges(values).edges
    counts, widths = np.bincount(bin_values(borders, values), minlength=BINS)[None], np.zeros((1, BINS))
    widths[0, 1 : len(borders)] = np.diff(borders)
    found = wasserstein._spread(Compared(counts // 2, counts - counts // 2, widths))
    assert found[0] == pytest.approx(values.var(), rel=0.01)
