"""Sums and bin counts, however many values there are, are those of numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.describe.aggregate.column_sums import add_up
from stream_monitor.profiles.bins import BinEdges, bin_values, make_edges
from stream_monitor.profiles.known_bins import EdgeTable, _guide
from tests.effort import examples


def sample(rng: np.random.Generator, kind: str, size: int) -> np.ndarray:
    match kind:
        case "normal":
            return rng.normal(5, 2, size)
        case "heavy":
            return rng.standard_t(1, size) * 10.0 ** rng.integers(-300, 300)
        case "few":
            return rng.integers(0, 4, size).astype(float)
        case "constant":
            return np.full(size, 0.1)
        case _:
            return np.exp(rng.normal(0, 5, size)) * 1e-300


@examples(50)
@given(
    st.integers(0, 10_000),
    st.lists(st.sampled_from(["normal", "heavy", "few", "constant", "tiny"]), min_size=1, max_size=4),
    st.sampled_from([1, 30, 1_000, 5_000]),
    st.integers(1, 5),
)
def test_sums_are_those_of_numpy(seed: int, kinds: list[str], size: int, cells: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.stack([sample(rng, kind, size) for kind in kinds])
    edges: list[BinEdges | None] = []
    for column in values:
        learned = sample(rng, str(rng.choice(["normal", "few", "constant"])), 300) if rng.random() < 0.3 else column
        edges.append(None if rng.random() < 0.2 else make_edges(learned, (1.0, float(column[0]))))
    values[rng.random(values.shape) < 0.1] = np.nan
    bounds = np.concatenate([[0], np.sort(rng.integers(0, size + 1, cells - 1)), [size]])
    sums = add_up(values, bounds, EdgeTable.of(edges))
    for cell in range(cells):
        for measure, known in enumerate(edges):
            there = values[measure, bounds[cell] : bounds[cell + 1]]
            there = there[~np.isnan(there)]
            assert sums.n[measure, cell] == len(there)
            at = cell * len(edges) + measure
            span = slice(sums.ptr[at], sums.ptr[at + 1])
            if known is None or not len(there):
                assert span.start == span.stop
            if not len(there):
                continue
            if known is not None:
                places, counts = np.unique(bin_values(known.edges, there), return_counts=True)
                assert (sums.bin_at[span].tolist(), sums.bin_n[span].tolist()) == (places.tolist(), counts.tolist())
            assert (sums.low[measure, cell], sums.high[measure, cell]) == (there.min(), there.max())
            scale = np.abs(there).max()
            assert sums.mean[measure, cell] == pytest.approx(there.mean(), rel=1e-9, abs=scale * 1e-12)
            if scale < 1e150:
                expected = ((there - there.mean()) ** 2).sum()
                assert sums.m2[measure, cell] == pytest.approx(expected, rel=1e-9, abs=scale**2 * 1e-12)


def test_sums_beyond_the_largest_double_stay_at_it() -> None:
    sums = add_up(np.array([[1.7e308, 1.7e308, -1.7e308]]), np.array([0, 3]), EdgeTable.of([None]))
    assert np.isfinite(sums.mean).all() and np.isfinite(sums.m2).all()


def test_borders_that_the_judge_sent_need_no_code_of_their_own() -> None:
    """They are read-only: of another type, for which a worker compiled again while events waited."""
    made = make_edges(np.arange(1_000.0))
    sent = made.edges.copy()
    sent.flags.writeable = False
    for borders in (made.edges, sent):
        EdgeTable.of([BinEdges(1, borders)])
    guide: Any = _guide  # as numba has compiled it
    assert len(guide.signatures) == 1
