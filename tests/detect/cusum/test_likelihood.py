from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize

from stream_monitor.detect.cusum.likelihood import of_two_values, of_values


def sup(before: tuple[float, float], now: tuple[float, float], odds: float) -> float:
    """The largest log likelihood of (values, hits) over the rate before, where the odds now are `odds` times those."""

    def minus(logit: float) -> float:
        p = 1 / (1 + np.exp(-logit))
        q = odds * p / (1 - p + odds * p)
        terms = [(n - k) * np.log1p(-rate) + k * np.log(rate) for (n, k), rate in ((before, p), (now, q))]
        return -float(sum(terms))

    return -float(optimize.minimize_scalar(minus, bounds=(-15, 15), method="bounded", options={"xatol": 1e-10}).fun)


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ((10_000, 7), (1_000, 9)),
        ((10_000, 7), (20_000, 0)),
        ((500, 490), (60, 33)),
        ((900, 3), (900, 3)),
        ((0, 0), (80, 2)),
    ],
)
@pytest.mark.parametrize("theta", [0.1, 0.7, -0.05, -0.98])
def test_the_ratio_of_two_values_is_that_of_the_best_rates(
    before: tuple[float, float], now: tuple[float, float], theta: float
) -> None:
    low, apart = -0.03, 4.0
    n, hits = before[0] + now[0], before[1] + now[1]
    total = np.array([[n], [n * low + hits * apart], [0.0]])
    pair = np.array([[low], [apart]])
    ratio = of_two_values(
        np.full((1, 1), float(now[0])), np.array([[now[0] * low + now[1] * apart]]), total, np.array([[theta]]), pair
    )
    expected = sup(before, now, np.exp(theta * apart)) - sup(before, now, 1.0)
    assert ratio[0, 0] == pytest.approx(expected, abs=1e-6)


def test_where_both_values_are_frequent_the_ratio_is_that_of_sums_that_are_near_normal() -> None:
    """Of a shift by .05 standard deviations after 10,000 values of rate .5."""
    n, hits, now_n, now = 10_000.0, 5_000.0, 400.0, 215.0
    s, total = now_n * -1 + now * 2, np.array([[n + now_n], [(hits + now) * 2 - n - now_n], [n + now_n]])
    theta, psi = np.array([[0.1]]), np.array([[np.log(np.cosh(0.1))]])
    args = np.full((1, 1), now_n), np.array([[s]]), total
    two = of_two_values(*args, theta, np.array([[-1.0], [2.0]]))
    assert two[0, 0] == pytest.approx(of_values(*args, theta, psi)[0, 0], rel=0.01)


def test_less_than_no_hit_says_no_more_than_none() -> None:
    """Where an hour expects hits and a pane has none, what is left without the season is below none."""
    total, pair, theta = (
        np.array([[10_100.0], [20 * 30.0], [0.0]]),
        np.array([[0.0], [30.0]]),
        np.array([[-0.98], [0.1]]),
    )
    n = np.full((2, 1), 100.0)
    none, less = (of_two_values(n, np.full((2, 1), k * 30.0), total, theta, pair) for k in (0.0, -0.4))
    np.testing.assert_array_equal(none, less)


def test_nothing_new_tells_nothing_and_rows_do_not_touch_each_other() -> None:
    rng = np.random.default_rng(1)
    total = np.stack([np.full(20, 1e5), 1e5 * -0.01 + rng.integers(1, 200, 20) * 10.0, np.zeros(20)])
    pair = np.tile([[-0.01], [10.0]], 20)
    theta = np.repeat([[0.05], [-0.4]], 20, axis=1)
    none = np.zeros((2, 20))
    np.testing.assert_allclose(of_two_values(none, none, total, theta, pair), 0, atol=1e-9)
    n = rng.integers(1, 5_000, (2, 20)).astype(float)
    s = n * -0.01 + rng.integers(0, 9, (2, 20)) * 10
    whole = of_two_values(n, s, total, theta, pair)
    alone = [of_two_values(n[:, [r]], s[:, [r]], total[:, [r]], theta[:, [r]], pair[:, [r]]) for r in range(20)]
    np.testing.assert_array_equal(whole, np.concatenate(alone, axis=1))
