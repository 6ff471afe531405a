"""Baselines as tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from rich.table import Table

from stream_monitor.describe.cells import ALL
from stream_monitor.describe.knowledge import BaselineRecord, EdgesRecord, read_notice
from stream_monitor.detect.baselines import Baseline
from stream_monitor.detect.numbers import quantile
from stream_monitor.detect.pinned import PinnedBaseline, PinnedMeasure
from stream_monitor.events.arrays import unpack
from stream_monitor.pictures import bars

BARS = 24
NAMES = 3


def in_force(notices: Iterable[bytes]) -> list[PinnedBaseline]:
    """The baselines that the `baselines` topic tells of, by model and version; the last record of a key counts."""
    edges: dict[tuple[str, str, str], np.ndarray] = {}
    found: dict[tuple[str, str | None], dict[tuple[str, str, str], PinnedMeasure]] = {}
    for raw in notices:
        notice = read_notice(raw)
        if isinstance(notice, EdgesRecord) and notice.borders is not None:
            edges[notice.model, notice.lane, notice.measure] = notice.borders
        elif isinstance(notice, BaselineRecord):
            baseline = unpack(notice.payload, Baseline)
            key = notice.lane, notice.segment, notice.measure
            borders = edges.get((notice.model, notice.lane, notice.measure)) if baseline.counts is not None else None
            measure = PinnedMeasure(notice.lane, notice.segment, notice.measure, baseline, borders)
            found.setdefault((notice.model, notice.version), {})[key] = measure
    return [
        PinnedBaseline(model, version, _name(measures.values()), [measures[key] for key in sorted(measures)])
        for (model, version), measures in sorted(found.items(), key=lambda item: (item[0][0], item[0][1] or ""))
    ]


def _name(measures: Iterable[PinnedMeasure]) -> str:
    return ", ".join(sorted({m.baseline.name for m in measures}))


def table_of(baseline: PinnedBaseline) -> Table:
    """One row a measure and segment."""
    of = f"{baseline.model} {baseline.version}" if baseline.version else f"{baseline.model}, all versions"
    table = Table(title=f"{of}: baseline {baseline.name}", title_justify="left")
    for heading in ("measure", "segment"):
        table.add_column(heading, overflow="fold")
    for heading in ("values", "missing", "mean", "std", "p50", "p99"):
        table.add_column(heading, justify="right")
    table.add_column("distribution, or the most frequent", overflow="fold")
    lanes = ("input", "label", "feedback", "observation")
    for pinned in sorted(baseline.measures, key=lambda m: (lanes.index(m.lane), m.segment != ALL, m.segment)):
        table.add_row(pinned.measure, pinned.segment, *_cells(pinned))
    return table


def _cells(pinned: PinnedMeasure) -> list[str]:
    baseline = pinned.baseline
    values = sum(baseline.kinds.values())
    missing = ""
    if pinned.lane == "input" and baseline.events:
        missing = f"{max(baseline.events - values, 0) / baseline.events:.1%}"
    if baseline.counts is None or pinned.borders is None:
        return [f"{baseline.n:,}", missing, "", "", "", "", _names(baseline)]
    ends = baseline.low, baseline.high
    cuts = [quantile(baseline.counts, pinned.borders, share, *ends) for share in (0.5, 0.99)]
    numbers = [f"{x:.4g}" for x in (baseline.mean, baseline.std, *cuts)]
    return [f"{baseline.n:,}", missing, *numbers, _bars(baseline, pinned.borders)]


def _names(baseline: Baseline) -> str:
    names = baseline.categories or {}
    told = [f"{name} {count / max(baseline.n, 1):.0%}" for name, count in list(names.items())[:NAMES]]
    rest = len(names) - len(told)
    return ", ".join(told) + (f" and {rest} more" if rest > 0 else "")


def _bars(baseline: Baseline, borders: Sequence[float] | np.ndarray) -> str:
    """The density over equal steps between the 1st and the 99th percentile."""
    assert baseline.counts is not None
    ends = baseline.low, baseline.high
    low, high = (quantile(baseline.counts, np.asarray(borders), share, *ends) for share in (0.01, 0.99))
    if low == high:
        return f"always {low:.4g}" if baseline.low == baseline.high else f"mostly {low:.4g}"
    below = np.cumsum(baseline.counts[: len(borders) + 1])
    at = np.concatenate([[baseline.low], np.clip(borders, *ends), [baseline.high]])
    cuts = np.interp(np.linspace(low, high, BARS + 1), at, np.concatenate([[0], below]))
    shares = np.diff(cuts) / baseline.n
    return bars(shares.tolist(), float(shares.max()))
