from __future__ import annotations

import numpy as np
import pytest

from stream_monitor.errors import SettingsError
from stream_monitor.events.contracts import MeasureSummary
from stream_monitor.judge.detection.limits import parse_limit, violation
from stream_monitor.profiles.bins import BINS, bin_values, make_edges


def test_a_limit_on_a_quantile_is_decided_exactly() -> None:
    rng = np.random.default_rng(1)
    limit = parse_limit("latency_ms.p99 > 250")
    edges = make_edges(rng.exponential(50, 5_000), (limit.value,))
    for seed in range(200):
        values = np.random.default_rng(seed).exponential(54.3, 400)
        counts = np.bincount(bin_values(edges.edges, values), minlength=BINS)
        summary = MeasureSummary(group="software", n=400, p99=0.0)
        assert (violation(limit, summary, counts, edges.edges) is not None) == ((values > 250).mean() > 0.01)


@pytest.mark.parametrize("text", ["latency", "latency_ms.p98 > 2", "x.mean = 2", "x.mean > e", "x.mean >"])
def test_what_is_no_limit_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(SettingsError, match=r"detection\.limits"):
        parse_limit(text)
