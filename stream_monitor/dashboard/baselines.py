"""Baselines in force, as the page draws them."""

from __future__ import annotations

from typing import Any

import numpy as np

from stream_monitor.baselines.baseline import Baseline
from stream_monitor.dashboard.store import Snapshot
from stream_monitor.dashboard.windows import figure
from stream_monitor.profiles.bin_catalog import EdgesRecord, read_notice
from stream_monitor.profiles.display_bins import category_shape, display_edges, display_names, numeric_shape
from stream_monitor.profiles.integers import are_whole, whole
from stream_monitor.profiles.quantiles import Extent, quantiles
from stream_monitor.profiles.tails import NO_TAIL
from stream_monitor.wire.msgpack_arrays import unpack

SHARES = {"p05": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95}


def baselines_of(store: Snapshot, model: str, version: str, segment: str) -> dict[tuple[str, str], dict[str, Any]]:
    """By (timeline, measure): the baseline of a version and segment; one pinned for the version goes first."""
    edges, known = {}, "SELECT timeline, measure, notice FROM edges WHERE model = ?"
    for timeline, measure, notice in store.rows(known, (model,)):
        edges[timeline, measure] = read_notice(notice)
    query = (
        "SELECT timeline, measure, payload FROM baseline WHERE model = ? AND segment = ? AND version IN ('', ?) "
        "ORDER BY version"
    )
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for timeline, measure, payload in store.rows(query, (model, segment, version)):
        if payload:
            of_measure = edges.get((timeline, measure))
            baseline = unpack(payload, Baseline)
            borders = of_measure if isinstance(of_measure, EdgesRecord) else None
            found[timeline, measure] = summary_of(baseline, borders)
    return found


def summary_of(baseline: Baseline, edges: EdgesRecord | None) -> dict[str, Any]:
    """The figures of a baseline, its quantiles, and its shape on the display bins."""
    values = sum(baseline.kinds.values())
    summary: dict[str, Any] = {
        "name": baseline.name,
        "since": baseline.since,
        "n": baseline.n,
        "pinned": baseline.pinned,
        "missing": figure((baseline.events - values) / baseline.events) if baseline.events > 0 else None,
    }
    if baseline.counts is not None and edges is not None and edges.borders is not None:
        borders, counts = edges.borders, baseline.counts.astype(np.int64)
        found = quantiles(counts, borders, tuple(SHARES.values()), Extent(baseline.low, baseline.high))
        if are_whole(borders, (baseline.low, baseline.high)):
            found = [whole(value, NO_TAIL) for value in found]
        summary |= dict(zip(SHARES, map(figure, found), strict=True))
        summary |= {"mean": figure(baseline.mean), "std": figure(baseline.std)}
        summary |= {"min": figure(baseline.low), "max": figure(baseline.high)}
        summary |= {"edges": [figure(x) for x in display_edges(borders)], "shape": numeric_shape(counts, borders)}
    elif baseline.categories is not None:
        names = display_names(baseline.categories)
        summary |= {"names": names, "shape": category_shape(baseline.categories, baseline.categories, baseline.n)}
    return summary
