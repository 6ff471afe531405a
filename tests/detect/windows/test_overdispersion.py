"""How much windows scatter: 1 for independent values, the design effect for clustered ones, no more for a change."""

from __future__ import annotations

import numpy as np
import pytest

from stream_monitor.baselines.baseline import PaneCounts
from stream_monitor.detect.windows.binned import Compared
from stream_monitor.detect.windows.overdispersion import (
    ENOUGH_PAIRS,
    LAGS,
    Dispersion,
    DispersionSample,
    DispersionUpdate,
    Key,
    believed_factors,
    learn,
)
from stream_monitor.detect.windows.tests import TESTS
from stream_monitor.profiles.bins import BINS
from stream_monitor.wire.msgpack_arrays import pack, unpack

SHARES = np.full(100, 0.01)
N = 400


def keys_of(rows: int) -> list[Key]:
    return [(0, f"m{row}", "") for row in range(rows)]


def wide(counts: np.ndarray) -> np.ndarray:
    return np.pad(counts, [(0, 0)] * (counts.ndim - 1) + [(0, BINS - counts.shape[-1])])


def independent(rng: np.random.Generator, rows: int) -> np.ndarray:
    return wide(rng.multinomial(N, SHARES, size=rows))


def clustered(rng: np.random.Generator, rows: int, effect: float) -> np.ndarray:
    """Windows whose shares are a draw of their own: values come in clusters of `effect` equal ones on average."""
    strength = (N - effect) / (effect - 1)  # Dirichlet-multinomial: effect = (N + A) / (1 + A)
    return wide(np.stack([rng.multinomial(N, rng.dirichlet(SHARES * strength)) for _ in range(rows)]))


def told(
    counts: np.ndarray, base: np.ndarray | None = None, moving: bool = False, rejected: bool = False
) -> DispersionSample:
    rows = len(counts)
    normal = np.broadcast_to(wide((SHARES * 10_000).astype(np.int64)), counts.shape) if base is None else base
    return DispersionSample(normal, counts, np.full(rows, moving), np.full(rows, rejected))


def test_independent_values_keep_their_number() -> None:
    rng, rows = np.random.default_rng(1), 300
    found = Dispersion()
    above = []
    for window in range(60):
        found.add(keys_of(rows), told(independent(rng, rows)))
        if window >= 8:
            above.append((found.factors(keys_of(rows)) > 1).mean())
    assert np.mean(above) < 0.02


def test_the_error_of_a_moving_baseline_is_no_scatter() -> None:
    rng, rows = np.random.default_rng(2), 200
    found = Dispersion()
    for _ in range(40):
        found.add(keys_of(rows), told(independent(rng, rows), independent(rng, rows), moving=True))
    assert found.mean.mean(axis=1) == pytest.approx([1.0] * len(LAGS), abs=0.1)
    assert (found.factors(keys_of(rows)) > 1).mean() < 0.02


@pytest.mark.parametrize("effect", [3.0, 10.0, 40.0])
def test_clustered_values_are_worth_as_many_as_there_are_clusters(effect: float) -> None:
    rng, rows = np.random.default_rng(3), 200
    found = Dispersion()
    for _ in range(60):
        found.add(keys_of(rows), told(clustered(rng, rows, effect)))
    assert float(np.median(found.mean[0])) == pytest.approx(effect, rel=0.2)
    assert float(np.median(found.factors(keys_of(rows)))) == pytest.approx(effect * 1.2, rel=0.2)


def test_a_window_that_is_one_draw_is_worth_one_value() -> None:
    rng, rows = np.random.default_rng(4), 200
    found = Dispersion()
    for _ in range(60):
        one = np.zeros((rows, BINS), np.int64)
        one[np.arange(rows), rng.integers(0, 100, rows)] = N
        found.add(keys_of(rows), told(one))
    assert float(np.median(found.factors(keys_of(rows)))) == pytest.approx(N, rel=0.3)


@pytest.mark.parametrize("test", ["psi", "ks", "js", "chi2"])
def test_tests_of_clustered_windows_keep_their_level_by_it_and_not_without(test: str) -> None:
    rng, rows, level = np.random.default_rng(5), 200, 0.01
    found, base = Dispersion(), np.broadcast_to(wide((SHARES * 100_000).astype(np.int64)), (rows, BINS))
    kept = plain = 0
    for window in range(80):
        counts = clustered(rng, rows, 8.0)
        if window >= 40:
            f = found.factors(keys_of(rows))[:, None]
            kept += int((TESTS[test](Compared(base / f, counts / f, np.zeros((rows, BINS))), 0.0).p <= level).sum())
            plain += int((TESTS[test](Compared(base, counts, np.zeros((rows, BINS))), 0.0).p <= level).sum())
        found.add(keys_of(rows), told(counts))
    assert kept / (40 * rows) <= 1.5 * level
    assert plain / (40 * rows) > 20 * level


def test_a_change_that_was_rejected_does_not_become_scatter() -> None:
    rng, rows = np.random.default_rng(6), 100
    found = Dispersion()
    moved = np.roll(SHARES, 50)
    moved[:50] *= 1.9
    moved /= moved.sum()
    for _ in range(20):
        found.add(keys_of(rows), told(independent(rng, rows)))
    for _ in range(20):
        found.add(keys_of(rows), told(wide(rng.multinomial(N, moved, size=rows)), rejected=True))
    assert (found.factors(keys_of(rows)) > 1).mean() < 0.05


@pytest.mark.parametrize("calm", [3, 6, 12])
def test_a_window_that_holds_half_of_a_change_does_not_become_scatter(calm: int) -> None:
    """A few calm windows, one that holds a part of a change and is not rejected, the change, and its end."""
    rng, rows = np.random.default_rng(13), 200
    found, base = Dispersion(), np.zeros((rows, BINS), np.int64)
    base[:, 0], base[:, 1] = 500, 9_500

    def window(share: float, rejected: bool) -> None:
        counts = np.zeros((rows, BINS), np.int64)
        counts[:, 0] = rng.binomial(N, share, rows)
        counts[:, 1] = N - counts[:, 0]
        found.add(keys_of(rows), told(counts, base, rejected=rejected))

    for _ in range(calm):
        window(0.05, False)
    for again in range(6):
        before = np.maximum(found.mean.mean(axis=1), 1.0)
        window(0.15, False)
        for _ in range(5):
            window(0.25, True)
        window(0.15, False)
        for _ in range(5):
            window(0.05, False)
        assert (found.mean.mean(axis=1) < before + 0.25).all(), again
    assert (found.factors(keys_of(rows)) > 1).mean() < 0.2


@pytest.mark.parametrize(("before", "now"), [(0, 0.1), (0, 0.002), (0.01, 0.1), (0.3, 0.02), (0.2, 0.25)])
def test_windows_after_a_share_has_moved_are_held_to_what_is_true_of_them(before: float, now: float) -> None:
    """Held to the shares of the baseline, or to half of both, a share that had been 0 scattered 1.6 times as much."""
    rng, rows = np.random.default_rng(11), 400
    found, base = Dispersion(), np.zeros((rows, BINS), np.int64)
    base[:, 0] = rng.binomial(10_000, before, rows)
    base[:, 1] = 10_000 - base[:, 0]
    for _ in range(40):
        counts = np.zeros((rows, BINS), np.int64)
        counts[:, 0] = rng.binomial(900, now, rows)
        counts[:, 1] = 900 - counts[:, 0]
        found.add(keys_of(rows), told(counts, base, rejected=True))
    assert (found.mean.mean(axis=1) < 1.05).all()
    assert (found.mean.mean(axis=1) > 0.7).all(), "pairs without a hit say that nothing is apart, and some are clipped"


@pytest.mark.parametrize(
    ("rate", "n", "m"),
    [(0.001, 200, 12_345), (0.0003, 1_000, 9_999), (0.003, 100, 10_000), (0.01, 100, 12_345), (1e-5, 100_000, 999_999)],
)
def test_windows_with_hardly_a_hit_are_not_apart_by_how_their_shares_are_kept(rate: float, n: int, m: int) -> None:
    """Rounded shares of two like windows once differed by 1e-5 while they had no spread, and f went to 270."""
    rng, rows = np.random.default_rng(12), 200
    found, base = Dispersion(), np.zeros((rows, BINS), np.int64)
    base[:, 0] = np.maximum(rng.binomial(m, rate, rows), 1)
    base[:, 1] = m - base[:, 0]
    for _ in range(40):
        counts = np.zeros((rows, BINS), np.int64)
        counts[:, 0] = rng.binomial(n, rate, rows)
        counts[:, 1] = n - counts[:, 0]
        found.add(keys_of(rows), told(counts, base))
    factors = found.factors(keys_of(rows))
    assert (factors > 1).mean() < 0.06
    assert factors.max() < 3


@pytest.mark.parametrize("had", [0, 700, 1_234])
def test_an_outage_is_not_its_own_scatter(had: int) -> None:
    """All values of every window are missing: rejected for as long as it lasts, for f stays 1."""
    found, base, all_missing = Dispersion(), np.zeros((1, BINS), np.int64), np.zeros((1, BINS), np.int64)
    base[0, :2], all_missing[0, 0] = (had, 12_345 - had), 1_000
    for _ in range(40):
        found.add(keys_of(1), told(all_missing, base, rejected=True))
        assert found.factors(keys_of(1))[0] == 1.0
    for _ in range(40):
        found.add(keys_of(1), told(all_missing, base))
    assert found.factors(keys_of(1))[0] == 1.0


def test_dependence_that_outlasts_a_window_shows_in_distant_ones() -> None:
    rng, rows = np.random.default_rng(7), 300
    found, level = Dispersion(), np.zeros(rows)
    steps = np.linspace(-1, 1, 100)
    for _ in range(80):
        level = 0.9 * level + 0.44 * rng.normal(0, 1, rows)
        shares = np.exp(0.6 * level[:, None] * steps)
        shares /= shares.sum(axis=1, keepdims=True)
        found.add(keys_of(rows), told(wide(np.stack([rng.multinomial(N, p) for p in shares]))))
    near, _, far = found.mean.mean(axis=1)
    assert far > 1.5 * near
    assert float(np.mean(found.factors(keys_of(rows)))) > 1.2 * near


def test_a_row_does_not_depend_on_which_others_share_its_calls_nor_on_a_snapshot() -> None:
    rng = np.random.default_rng(8)
    windows = [clustered(rng, 4, 5.0) for _ in range(20)]
    together, alone = Dispersion(), Dispersion()
    for at, counts in enumerate(windows):
        together.add(keys_of(4), told(counts))
        for row in (2, 0):
            alone.add([keys_of(4)[row]], told(counts[row : row + 1]))
        if at == 11:
            alone = unpack(pack(alone), Dispersion, own=True)
    chosen = [keys_of(4)[0], keys_of(4)[2]]
    assert together.factors(chosen).tolist() == alone.factors(chosen).tolist()
    assert (together.factors(chosen) > 1).all()


def test_a_baseline_tells_by_its_own_windows_and_the_parts_at_its_ends_do_not() -> None:
    rng = np.random.default_rng(9)
    windows = clustered(rng, 12, 10.0)
    pane, at = np.nonzero(windows)
    starts = 500 + 1_000 * np.arange(12)  # the first window of a second is not whole
    panes = PaneCounts(starts, pane, at, windows[pane, at])
    begun, added, base = Dispersion(), Dispersion(), windows.sum(axis=0)
    begun.begin(keys_of(1), base, panes, (1_000, 30))
    for counts in windows[1:-1]:
        added.add(keys_of(1), told(counts[None], base[None]))
    assert begun.n[0, 0] == added.next_n[0, 0] == 9
    assert begun.mean.tolist() == added.next_mean.tolist()


def test_what_is_forgotten_begins_anew() -> None:
    rng = np.random.default_rng(10)
    found = Dispersion()
    for _ in range(20):
        found.add(keys_of(2), told(clustered(rng, 2, 20.0)))
    found.forget("m0")
    assert found.factors(keys_of(2))[0] == 1.0 < found.factors(keys_of(2))[1]


def test_windows_that_are_learned_together_are_learned_as_each_alone() -> None:
    """To the last digit, of more rows than one pass takes, where some rows are new and some have no window."""
    rng, sizes = np.random.default_rng(8), (1, 90, 70, 3)
    together, alone = [Dispersion() for _ in sizes], [Dispersion() for _ in sizes]
    for window in range(7):
        each = []
        for size in sizes:
            keys = [key for key in keys_of(size) if window > 3 or key[1] != "m2" or rng.random() < 0.5]
            counts = clustered(rng, len(keys), 5.0)
            one = told(counts, independent(rng, len(keys)), moving=bool(window % 2))
            each.append((keys, one._replace(rejected=rng.random(len(keys)) < 0.2)))
        learn([DispersionUpdate(found, *one) for found, one in zip(together, each, strict=True)])
        for at in rng.permutation(len(sizes)).tolist():
            alone[at].add(*each[at])
    assert [pack(found) for found in together] == [pack(found) for found in alone]
    assert all((found.n > 0).any() for found in together)


def test_f_of_a_long_window_is_at_least_what_short_ones_show_until_long_ones_were_compared() -> None:
    """Short windows that are each one draw; long ones hold ten of them, and none was compared yet."""
    rng, key = np.random.default_rng(8), (0, "x", "")
    base, no = np.zeros((1, BINS), np.int64), np.zeros(1, np.bool_)
    base[0, :10] = 1_000
    short, long, calm = Dispersion(), Dispersion(), Dispersion()
    for _ in range(20):
        counts = np.zeros((1, BINS), np.int64)
        counts[0, rng.integers(10)] = 100
        short.add([key], DispersionSample(base, counts, no, no))
        independent = np.zeros((1, BINS), np.int64)
        independent[0, :10] = rng.multinomial(100, np.full(10, 0.1))
        calm.add([key], DispersionSample(base, independent, no, no))
    f = short.factors([key])[0]
    assert f > 50
    assert believed_factors([(60, short), (600, long)], [key])[0] == pytest.approx(10 * f)
    assert believed_factors([(60, calm), (600, long)], [key])[0] == 1
    for _ in range(ENOUGH_PAIRS + 2):  # the latest window counts when the next one was judged
        counts = np.zeros((1, BINS), np.int64)
        counts[0, :10] = rng.multinomial(1_000, np.full(10, 0.1))
        long.add([key], DispersionSample(base, counts, no, no))
    assert believed_factors([(60, short), (600, long)], [key])[0] == long.factors([key])[0]
