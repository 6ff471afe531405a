"""Windows of which nothing can be said: every test is total, and quiet."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.detect.windows.binned import Compared
from stream_monitor.detect.windows.shares import share
from stream_monitor.detect.windows.tests import TESTS
from stream_monitor.profiles.bins import BINS
from tests.effort import examples

EDGE = st.sampled_from([0, 1, 2, 9, 10**6])


@st.composite
def degenerate(draw: st.DrawFn) -> Compared:
    """A few rows of few bins: empty sides, single values, constants, one category, and ordinary rows among them."""
    rows, bins = draw(st.integers(0, 4)), draw(st.sampled_from([1, 2, 8, BINS]))
    sides = []
    for _ in range(2):
        counts = np.zeros((rows, bins), np.int64)
        for row in range(rows):
            for _ in range(draw(st.integers(0, 3))):
                counts[row, draw(st.integers(0, bins - 1))] = draw(EDGE)
        sides.append(counts)
    widths = np.full((rows, bins), draw(st.sampled_from([0.0, 1e-300, 0.1, 1e100])))
    return Compared(sides[0], sides[1], widths)


@examples(100)
@given(degenerate(), st.sampled_from([0.0, 1e-12, 0.1, 1.0, 1e6]))
def test_degenerate_windows_are_total_and_quiet(data: Compared, tolerance: float) -> None:
    n, m = data.now.sum(axis=1), data.base.sum(axis=1)
    silent = (np.minimum(n, m) < 2) | (((data.base > 0) | (data.now > 0)).sum(axis=1) < 2)
    for name, test in TESTS.items():
        tested = test(data, tolerance)
        assert np.isfinite(tested.score).all(), name
        assert (tested.score >= 0).all(), name
        assert ((tested.p >= 0) & (tested.p <= 1)).all(), name
        assert (tested.p[silent] == 1).all(), name
        assert (tested.score[silent] == 0).all(), name


@examples(100)
@given(st.lists(st.tuples(EDGE, EDGE, EDGE, EDGE), max_size=5), st.sampled_from([0.0, 1e-12, 0.02, 1.0]))
def test_degenerate_shares_are_total_and_quiet(rows: list[tuple[int, int, int, int]], tolerance: float) -> None:
    """All missing, none missing, no events at all, one event."""
    counts = np.array(rows, np.int64).reshape(-1, 4).T
    base, now = (np.minimum(counts[0], counts[1]), counts[1]), (np.minimum(counts[2], counts[3]), counts[3])
    tested = share(base, now, tolerance)
    assert np.isfinite(tested.score).all()
    assert ((tested.p >= 0) & (tested.p <= 1)).all()
    assert (tested.p[(base[1] == 0) | (now[1] == 0)] == 1).all()
    same = (base[0] * now[1] == now[0] * base[1]) & (base[1] > 0) & (now[1] > 0)
    assert (tested.p[same] == 1).all(), "equal shares are no difference, however many the values"


@examples(50)
@given(degenerate(), st.floats(1, 1e5), st.sampled_from([0.0, 0.1, 1.0]))
def test_windows_that_are_worth_fewer_values_are_total_too(data: Compared, factor: float, tolerance: float) -> None:
    """Counts that were divided because windows scatter, down to less than a value in all."""
    fewer = Compared(data.base / factor, data.now / factor, data.widths)
    for name, test in TESTS.items():
        p = test(fewer, tolerance).p
        assert ((p >= 0) & (p <= 1)).all(), name
        assert (p[np.minimum(fewer.now.sum(axis=1), fewer.base.sum(axis=1)) < 1] == 1).all(), name
