"""The p-values of the window tests mean what they say: false alarms, power, tolerance, and degenerate windows."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from stream_monitor.detect.windows.binned import GROUPS, Compared, coarse, noncentral_tail, shift
from stream_monitor.detect.windows.shares import share
from stream_monitor.detect.windows.tests import ON_WIDTHS, TESTS, TOLERANCE, discoveries
from stream_monitor.profiles.bins import BINS, bin_values, make_edges
from stream_monitor.types import F64, I64
from tests.effort import examples

TRIALS, BASELINE = 600, 2_000
SIZES = (50, 500, 5_000)


def budget(alpha: float, trials: int = TRIALS) -> int:
    """Most false alarms that a test of level alpha gives in this many trials, but for one time in ten thousand."""
    return int(stats.binom.ppf(1 - 1e-4, trials, alpha))


def counts_of(borders: F64, values: F64) -> I64:
    return np.bincount(bin_values(borders, values), minlength=BINS)


def widths_of(borders: F64, std: float) -> F64:
    """As `judge.detection.window_evaluation.MeasureComparison.widths`."""
    widths = np.zeros(BINS)
    widths[1 : len(borders)] = np.diff(borders) / std
    return widths


@cache
def normals(n: int, moved: float = 0.0) -> Compared:
    """Windows of n standard normals, moved by so many standard deviations, each against a baseline of its own."""
    rng = np.random.default_rng([n, int(moved * 100)])
    rows = []
    for _ in range(TRIALS):
        values = rng.normal(size=BASELINE)
        borders = make_edges(values).edges
        now = rng.normal(size=n) + moved
        rows.append((counts_of(borders, values), counts_of(borders, now), widths_of(borders, values.std())))
    return Compared(*(np.stack(column) for column in zip(*rows, strict=True)))


def one(base: I64, now: I64, widths: F64 | None = None) -> Compared:
    """A single row."""
    return Compared(base[None], now[None], np.zeros((1, len(base))) if widths is None else widths[None])


def fed(name: str, data: Compared) -> Compared:
    """What the test is for: `l_infinity` takes ten categories, and not a hundred bins."""
    if name != "l_infinity":
        return data
    base, now, _ = coarse(data.base, data.now)
    return Compared(base.astype(np.int64), now.astype(np.int64), np.zeros(base.shape))


# --- false alarms and power ---


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("name", TESTS)
def test_false_alarms_stay_within_their_nominal_share(name: str, n: int) -> None:
    p = TESTS[name](fed(name, normals(n)), 0.0).p
    for alpha in (0.1, 0.05, 0.01):
        assert (p <= alpha).sum() <= budget(alpha)


@pytest.mark.parametrize("name", ["psi", "js", "hellinger", "l_infinity", "chi2"])
@pytest.mark.parametrize("n", SIZES)
def test_false_alarms_on_categories_stay_within_their_nominal_share(name: str, n: int) -> None:
    rng = np.random.default_rng([n, 9])
    shares = [0.4, 0.3, 0.2, 0.1]
    base, now = (np.zeros((TRIALS, BINS), np.int64) for _ in range(2))
    base[:, :4], now[:, :4] = rng.multinomial(10_000, shares, TRIALS), rng.multinomial(n, shares, TRIALS)
    p = TESTS[name](Compared(base, now, np.zeros(base.shape)), 0.0).p
    for alpha in (0.05, 0.01):
        assert (p <= alpha).sum() <= budget(alpha)


SHARES = {
    "even": [0.05] * 20,
    "tail": [0.6, 0.2, 0.1, 0.05, 0.03, 0.01, 0.007, 0.003],
    "rare": [0.97, 0.02, 0.01],
    "two": [0.995, 0.005],
}


@pytest.mark.parametrize("shares", SHARES.values(), ids=SHARES)
@pytest.mark.parametrize("n", [50, 100])
def test_small_windows_of_many_features_stay_within_the_far_tail(n: int, shares: list[float]) -> None:
    """Two hundred features at a level of .04: one of them must not fall below 2e-4 more often than that."""
    rng, rows = np.random.default_rng([n, len(shares)]), 40_000
    data = Compared(
        rng.multinomial(10_000, shares, rows), rng.multinomial(n, shares, rows), np.zeros((rows, len(shares)))
    )
    for name, test in TESTS.items():
        p = test(data, 0.0).p
        for alpha in (0.05, 0.01, 2e-4):
            assert (p <= alpha).sum() <= budget(alpha, rows), (name, alpha)


@pytest.mark.parametrize("n", [300, 1_000_000])
def test_chi2_keeps_its_level_at_its_tolerance_when_sizes_differ(n: int) -> None:
    """Ten even groups of which one half takes from the other so much that w is the tolerance."""
    rng, rows, m = np.random.default_rng(n), 20_000, 10_000
    even, way = np.full(10, 0.1), np.repeat([1.0, -1.0], 5)
    low, high = 0.0, 0.099
    for _ in range(50):
        middle = (low + high) / 2
        mean = (m * even + n * (even + middle * way)) / (m + n)
        small = math.sqrt((middle**2 / mean).sum()) < TOLERANCE["chi2"]
        low, high = (middle, high) if small else (low, middle)
    base, now = rng.multinomial(m, even, rows), rng.multinomial(n, even + low * way, rows)
    p = TESTS["chi2"](Compared(base, now, np.zeros(base.shape)), TOLERANCE["chi2"]).p
    for alpha in (0.05, 0.01, 0.001):
        assert (p <= alpha).sum() <= budget(alpha, rows)
    assert (p <= 0.05).mean() > 0.02, "and is not merely silent"


@pytest.mark.parametrize("name", TESTS)
@pytest.mark.parametrize(("n", "alpha", "power"), [(50, 0.05, 0.5), (500, 0.001, 0.99), (5_000, 1e-9, 0.99)])
def test_half_a_standard_deviation_is_found(name: str, n: int, alpha: float, power: float) -> None:
    if name == "wasserstein" and n == 50:
        power = 0.1  # its p-value is an upper bound by concentration, never an approximation
    if name == "tail" and n == 500:
        power = 0.97  # it looks at one value in twenty
    assert (TESTS[name](fed(name, normals(n, 0.5)), 0.0).p <= alpha).mean() >= power


@pytest.mark.parametrize("n", SIZES)
def test_p_values_fall_as_the_effect_grows_and_rise_with_the_tolerance(n: int) -> None:
    for name, test in TESTS.items():
        same, moved = fed(name, normals(n)), fed(name, normals(n, 0.5))
        assert np.median(test(same, 0.0).p) > np.median(test(moved, 0.0).p)
        by_tolerance = np.stack([test(moved, tolerance).p for tolerance in (0.0, 0.05, 0.1, 0.5, 2.0)])
        assert (np.diff(by_tolerance, axis=0) >= -1e-9).all()


# --- scores ---


def huge(moved: float, n: int = 10**8) -> Compared:
    """Expected counts of n normals on a hundred quantiles and beyond: no chance is left."""
    borders = make_edges(stats.norm.ppf((np.arange(2_000) + 0.5) / 2_000)).edges
    base, now = (np.diff(stats.norm.cdf(np.concatenate([[-np.inf], borders, [np.inf]]) - m)) for m in (0.0, moved))
    base, now = (np.pad(np.round(n * c).astype(np.int64), (0, BINS - len(c))) for c in (base, now))
    return one(base, now, widths_of(borders, 1.0))


def test_scores_are_the_textbook_effects() -> None:
    data = huge(0.5)
    assert TESTS["ks"](data, 0.0).score[0] == pytest.approx(2 * stats.norm.cdf(0.25) - 1, rel=0.01)
    assert TESTS["wasserstein"](data, 0.0).score[0] == pytest.approx(0.5, rel=0.02)
    base, now, degrees = coarse(data.base, data.now)
    p, q = base[0] / base.sum(), now[0] / now.sum()
    assert degrees[0] == GROUPS - 1
    np.testing.assert_allclose(p, 1 / GROUPS, atol=0.01)
    assert TESTS["psi"](data, 0.0).score[0] == pytest.approx(((q - p) * np.log(q / p)).sum(), rel=1e-5)
    middle = (p + q) / 2
    nats = (special.rel_entr(p, middle) + special.rel_entr(q, middle)).sum() / 2
    assert TESTS["js"](data, 0.0).score[0] == pytest.approx(math.sqrt(nats / math.log(2)), rel=1e-5)
    assert TESTS["hellinger"](data, 0.0).score[0] == pytest.approx(math.sqrt(1 - np.sqrt(p * q).sum()), rel=1e-5)
    assert TESTS["l_infinity"](fed("l_infinity", data), 0.0).score[0] == pytest.approx(np.abs(p - q).max(), rel=1e-6)
    assert TESTS["chi2"](data, 0.0).score[0] == pytest.approx(math.sqrt(((p - q) ** 2 / middle).sum()), rel=1e-5)


def test_chi2_without_tolerance_is_the_test_of_homogeneity() -> None:
    base, now = (np.pad(np.array(c), (0, BINS - 3)) for c in ([500, 300, 200], [40, 35, 25]))
    expected = stats.chi2_contingency([base[:3], now[:3]], correction=False)
    assert TESTS["chi2"](one(base, now), 0.0).p[0] == pytest.approx(expected.pvalue, rel=1e-6)


@pytest.mark.parametrize("moved", [0.5, -0.5, 3.0, -3.0])
def test_shift_says_which_way_the_values_moved(moved: float) -> None:
    data = huge(moved)
    assert shift(data.base, data.now)[0] == pytest.approx(2 * stats.norm.cdf(moved / math.sqrt(2)) - 1, abs=0.02)
    assert shift(data.base, data.base)[0] == pytest.approx(0, abs=1e-12)


# --- tolerance ---


@pytest.mark.parametrize("n", [10**6, 10**8, 10**10])
@pytest.mark.parametrize("name", TESTS)
def test_an_effect_below_its_tolerance_is_no_drift_however_many_the_events(name: str, n: int) -> None:
    below, above = fed(name, huge(0.07, n)), fed(name, huge(0.8, n))
    tested = TESTS[name](below, TOLERANCE[name])
    assert 0 < tested.score[0] < TOLERANCE[name]
    assert tested.p[0] > 0.999
    assert TESTS[name](below, 0.0).p[0] < 1e-9, "without a tolerance it would ring"
    tested = TESTS[name](above, TOLERANCE[name])
    assert tested.score[0] > TOLERANCE[name]
    assert tested.p[0] < 1e-9


def test_the_normal_approximation_takes_over_without_a_jump() -> None:
    degrees = np.array([GROUPS - 1])
    for factor in (0.95, 1.0, 1.05, 1.1):
        exact, normal = (
            noncentral_tail(np.array([factor * centre]), centre, np.ones(1), degrees)[0]
            for centre in (999.999, 1_000.001)
        )
        assert exact == pytest.approx(normal, abs=0.02)


# --- degenerate windows: nothing here may warn (the suite turns warnings into errors) ---


def constant(n: int, value: float = 3.0) -> tuple[I64, F64]:
    borders = make_edges(np.full(100, value)).edges
    return counts_of(borders, np.full(n, value)), np.zeros(BINS)


@pytest.mark.parametrize("value", [0.0, 3.0, -1e300, 1e-300])
@pytest.mark.parametrize("tolerance", [0.0, None])
@pytest.mark.parametrize("name", TESTS)
def test_constant_columns_are_quiet(name: str, tolerance: float | None, value: float) -> None:
    limit = TOLERANCE[name] if tolerance is None else tolerance
    for m in (100, 10_000, 10**7):
        for n in (10, 50, 10_000, 10**6):
            base, widths = constant(100, value)
            tested = TESTS[name](one(base * (m // 100), base * n // 100, widths), limit)
            assert np.isfinite(tested.score).all()
            assert 0.05 < tested.p[0] <= 1


@pytest.mark.parametrize("name", ["psi", "ks", "js", "hellinger", "l_infinity", "chi2"])
def test_a_constant_that_becomes_another_is_found(name: str) -> None:
    borders = make_edges(np.full(100, 3.0)).edges
    base, now = counts_of(borders, np.full(1_000, 3.0)), counts_of(borders, np.full(200, 4.0))
    assert TESTS[name](one(base, now), TOLERANCE[name]).p[0] < 1e-6


@pytest.mark.parametrize("place", [0, 1, BINS - 1])
@pytest.mark.parametrize("name", TESTS)
def test_a_single_category_is_quiet(name: str, place: int) -> None:
    base = np.zeros(BINS, np.int64)
    base[place] = 1_000
    tested = TESTS[name](one(base, base // 10), TOLERANCE[name])
    assert np.isfinite(tested.score).all()
    assert tested.p[0] > 0.05


@pytest.mark.parametrize("name", TESTS)
def test_empty_rows_are_total_and_quiet_and_leave_the_others_alone(name: str) -> None:
    some = normals(50)
    none, few = np.zeros(BINS, np.int64), some.base[0]
    base, now = np.stack([none, few, none, some.base[1]]), np.stack([none, none, few, some.now[1]])
    for tolerance in (0.0, TOLERANCE[name]):
        tested = TESTS[name](Compared(base, now, some.widths[:4]), tolerance)
        assert np.isfinite(tested.score).all()
        assert ((tested.p >= 0) & (tested.p <= 1)).all()
        assert (tested.p[:3] == 1).all()
        alone = TESTS[name](one(base[3], now[3], some.widths[3]), tolerance)
        assert (tested.score[3], tested.p[3]) == (alone.score[0], alone.p[0])
        empty = TESTS[name](Compared(base[:0], now[:0], some.widths[:0]), tolerance)
        assert empty.score.shape == empty.p.shape == (0,)
    assert np.isfinite(shift(base, now)).all()


@pytest.mark.parametrize("name", sorted(TESTS.keys() - ON_WIDTHS))
def test_a_test_that_is_not_named_for_it_does_not_look_at_widths(name: str) -> None:
    some = normals(50)
    without = TESTS[name](some._replace(widths=np.zeros_like(some.widths)), TOLERANCE[name])
    np.testing.assert_array_equal(TESTS[name](some, TOLERANCE[name]), without)


@examples(33)
@given(st.data())
def test_any_counts_give_a_score_and_a_probability(data: st.DataObject) -> None:
    count = st.one_of(st.just(0), st.integers(0, 20), st.integers(0, 10**9))
    base, now = (np.array(data.draw(st.lists(count, min_size=8, max_size=8))) for _ in range(2))
    for name, test in TESTS.items():
        for tolerance in (0.0, TOLERANCE[name]):
            tested = test(one(base, now, np.ones(8)), tolerance)
            assert np.isfinite(tested.score).all()
            assert tested.score[0] >= 0
            assert 0 <= tested.p[0] <= 1


# --- shares ---


@pytest.mark.parametrize("p", [0.01, 0.2, 0.99])
@pytest.mark.parametrize("n", SIZES)
def test_false_alarms_of_shares_stay_within_their_nominal_share(n: int, p: float) -> None:
    rng = np.random.default_rng([n, int(100 * p)])
    base, now = rng.binomial(10_000, p, TRIALS), rng.binomial(n, p, TRIALS)
    tested = share((base, np.full(TRIALS, 10_000)), (now, np.full(TRIALS, n)), TOLERANCE["missing"])
    assert (tested.p <= 0.01).sum() <= budget(0.01)


def test_shares_of_nothing_are_quiet_and_clear_ones_are_found() -> None:
    base, now = np.array([0, 0, 100, 0, 0]), np.array([0, 0, 50, 50, 2])
    sizes = np.array([0, 1_000, 1_000, 1_000, 1_000]), np.array([0, 0, 500, 100, 100])
    tested = share((base, sizes[0]), (now, sizes[1]), TOLERANCE["missing"])
    assert np.isfinite(tested.score).all()
    assert (tested.p[[0, 1, 2, 4]] > 0.1).all()
    assert tested.p[3] < 1e-9
    np.testing.assert_allclose(tested.score, [0, 0, 0, 0.5, 0.02])


# --- false discovery rate ---


def textbook(p: list[float], rate: float) -> list[bool]:
    """Reject the k smallest, k the largest with p_(k) <= k / m rate."""
    k = max((k for k in range(1, len(p) + 1) if sorted(p)[k - 1] <= rate * k / len(p)), default=0)
    return [k > 0 and x <= sorted(p)[k - 1] for x in p]


@examples(50)
@given(
    st.lists(st.one_of(st.floats(0, 1), st.floats(0, 0.02), st.sampled_from([0.0, 0.01, 0.02, 1.0])), max_size=30),
    st.sampled_from([0.01, 0.05, 0.2]),
)
def test_discoveries_are_benjamini_and_hochbergs(p: list[float], rate: float) -> None:
    assert discoveries(np.array(p), rate).tolist() == textbook(p, rate)


def test_discoveries_keep_the_false_discovery_rate() -> None:
    rng = np.random.default_rng(3)
    shares = []
    for _ in range(500):
        p = rng.random(100)
        p[:20] = stats.norm.sf(rng.normal(3, 1, 20))
        found = discoveries(p, 0.1)
        shares.append(found[20:].sum() / max(found.sum(), 1))
    assert np.mean(shares) <= 0.1
    assert discoveries(np.full(5, 0.01), 0.01).all()


# --- far tails: a budget of one false alarm a week asks for p-values of 1e-7 ---


@pytest.mark.parametrize("degrees", [1, 2, 5, 9])
@pytest.mark.parametrize("centre", [0.0, 0.05, 1.0, 30.0, 900.0, 1_100.0, 20_000.0])
def test_noncentral_tails_are_right_within_a_few_percent(degrees: int, centre: float) -> None:
    """Against the mixture of central χ² with Poisson weights, in logarithms."""
    sigmas = np.array([-3.0, -1e-9, 0.0, 1e-9, 1.0, 3.0, 6.0, 9.0, 12.0])
    x = np.maximum(degrees + centre + sigmas * np.sqrt(2 * (degrees + 2 * centre)), 0.0)
    found = noncentral_tail(x, centre, np.ones(len(x)), np.full(len(x), degrees))
    j = np.arange(int(centre / 2 + 30 * np.sqrt(centre / 2 + 1) + 200))
    for p, at in zip(found.tolist(), x.tolist(), strict=True):
        exact = math.exp(special.logsumexp(stats.poisson.logpmf(j, centre / 2) + stats.chi2.logsf(at, degrees + 2 * j)))
        assert 0.98 * exact <= p <= min(1.0, 1.1 * exact)


@pytest.mark.parametrize(("p", "n"), [(0.0, 50), (0.01, 60), (0.01, 1_000), (0.1, 60), (0.5, 50), (0.98, 50)])
@pytest.mark.parametrize("way", [1, -1])
def test_tails_of_shares_hold_against_exact_binomials(p: float, n: int, way: int) -> None:
    """A baseline of ten million says what p is; twice the exact tail at the tolerance is what is due."""
    tolerance, known = TOLERANCE["missing"], 10_000_000
    if not 0 < p + way * tolerance < 1:
        return
    hits = np.arange(n + 1)
    exact = stats.binom.sf(hits - 1, n, p + way * tolerance) if way > 0 else stats.binom.cdf(hits, n, p - tolerance)
    many = np.full(n + 1, known)
    found = share(((many * p).astype(np.int64), many), (hits, np.full(n + 1, n)), tolerance).p
    judged = (exact < 0.05) & (exact > 1e-9)
    assert judged.any()
    assert (found[judged] >= 1.3 * exact[judged]).all()
    assert (found[judged] <= 4 * exact[judged]).all()
