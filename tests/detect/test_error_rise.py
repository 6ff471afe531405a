"""What is said of a rise of the error, at the looks of a watch."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stream_monitor.detect.error_rise import Stratum, dispersion_of, rise_of


def state_of_watch(rng: np.random.Generator, p: float, q: float, base_n: int, most: int) -> str:
    """Whether a watch ever said `worse`; it looks whenever 1.4 times as many labels have come as at the last look."""
    known = rng.binomial(base_n, p) / base_n
    share = (known * base_n + 1) / (base_n + 2)
    n, wrong = 50, int(rng.binomial(50, q))
    while n <= most:
        rise = rise_of([Stratum(n, wrong, wrong, known, base_n)], share * (1 - share))
        assert rise is not None
        if rise.verdict(max(0.25 * known, 0.01)) == "worse":
            return "worse"
        more = math.ceil(0.4 * n)
        n, wrong = n + more, wrong + int(rng.binomial(more, q))
    return "other"


@pytest.mark.parametrize("p", [0.02, 0.05, 0.2, 0.5])
@pytest.mark.parametrize("base_n", [500, 10_000])
def test_an_error_that_did_not_rise_is_named_in_at_most_one_of_a_hundred_watches(p: float, base_n: int) -> None:
    """Each of 2,000 watches has 24 looks. More than 30 of 2,000 would be 1 % with a probability below .02."""
    rng = np.random.default_rng(7)
    named = sum(state_of_watch(rng, p, p, base_n, 100_000) == "worse" for _ in range(2_000))
    assert named <= 30


def test_dependent_errors_widen_the_margin() -> None:
    rng = np.random.default_rng(1)
    independent = [{0: (100, float(rng.binomial(100, 0.1)))} for _ in range(100)]
    dependent = [{0: (100, float(rng.binomial(100, rng.beta(2, 18))))} for _ in range(100)]
    assert dispersion_of(independent, 0.09) == 1.0
    assert dispersion_of(dependent, 0.09) > 3


def test_strata_have_expectations_of_their_own() -> None:
    """Early labels are wrong in half of the cases, late ones never; the mix has changed, and no stratum has."""
    rise = rise_of([Stratum(200, 100, 100, 0.5, 1_000), Stratum(20, 0, 0, 0.0, 1_000)], 0.09)
    assert rise is not None and rise.value == pytest.approx(0, abs=1e-12)
    assert rise.expected == rise.now == pytest.approx(100 / 220)


def test_without_errors_nothing_is_said() -> None:
    assert rise_of([], 0.1) is None and rise_of([Stratum(0, 0, 0, 0.1, 10)], 0.1) is None


def test_numbers_with_a_heavy_tail_count_with_the_spread_that_they_have_now() -> None:
    """One huge error among 100 is no rise of the mean beyond doubt."""
    rise = rise_of([Stratum(100, 100 + 400, 100 + 160_000, 1.0, 10_000)], 1.0, binary=False)
    assert rise is not None and rise.verdict(0.1) == "undecided"
