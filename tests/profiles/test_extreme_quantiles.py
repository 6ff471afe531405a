"""Quantiles of numbers at the ends of what doubles hold: whatever an event may say, a judge must go on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.profiles.bins import BINS, bin_values, make_edges
from stream_monitor.profiles.integers import are_whole, whole
from stream_monitor.profiles.quantiles import Extent, Quantiles, share_above
from stream_monitor.profiles.tails import NO_TAIL

ENDS = [0.0, 5e-324, -5e-324, 1e-310, 2.2e-308, 1e-154, -1e-154, 1.0, 1e154, -1e154, 1e308, -1e308, 2.0**53]
extremes = st.lists(st.sampled_from(ENDS) | st.floats(-1e308, 1e308), min_size=1, max_size=60)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # as in a judge, whose sums may overflow
@given(extremes, extremes)
def test_quantiles_lie_between_the_ends(before: list[float], now: list[float]) -> None:
    values = np.array(now)
    edges = make_edges(np.array(before))
    mean = float(values.mean())
    extent = Extent(min(now), max(now), mean, float(((values - mean) ** 2).sum()))
    reader = Quantiles(np.bincount(bin_values(edges.edges, values), minlength=BINS), edges.edges, extent)
    for share in (0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999):
        found = reader.at(share)
        reader.is_coarse(share)
        assert extent.low <= found <= extent.high
        if are_whole(edges.edges, (extent.low, extent.high)):
            assert np.isfinite(whole(found, NO_TAIL))
    share_above(reader.counts, edges.edges, float(edges.edges[0]))
