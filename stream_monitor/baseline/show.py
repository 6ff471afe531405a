"""Baselines as tables for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from stream_monitor.baselines.baseline import Baseline
from stream_monitor.baselines.pinned import PinnedBaseline, PinnedMeasure
from stream_monitor.profiles.bin_catalog import BaselineRecord, EdgesRecord, read_notice
from stream_monitor.profiles.integers import are_whole, whole
from stream_monitor.profiles.measures import JOINT, VOLUME, is_distance
from stream_monitor.profiles.names import ALL_SEGMENTS, NEVER
from stream_monitor.profiles.quantiles import quantile
from stream_monitor.profiles.records import ResetRecord
from stream_monitor.terminal import Column, Table, visible
from stream_monitor.terminal.charts import bars
from stream_monitor.timestamps import when
from stream_monitor.wire.msgpack_arrays import unpack

BARS = 12
NAMES, NAME = 3, 40
"""Categories that a row shows, and characters of each."""


def active(notices: Iterable[bytes]) -> list[PinnedBaseline]:
    """The baselines that the `baselines` topic tells of, by model and version; the last record of a key counts."""
    edges: dict[tuple[str, str, str], EdgesRecord] = {}
    found: dict[tuple[str, str | None], dict[tuple[str, str, str], PinnedMeasure]] = {}
    for raw in notices:
        notice = read_notice(raw)
        if isinstance(notice, EdgesRecord) and notice.borders is not None and not notice.former:
            edges[notice.model, notice.timeline, notice.measure] = notice
        elif isinstance(notice, BaselineRecord):
            key = notice.timeline, notice.segment, notice.measure
            if not notice.payload:  # it was reset
                found.get((notice.model, notice.version), {}).pop(key, None)
                continue
            baseline = unpack(notice.payload, Baseline)
            measure = PinnedMeasure(notice.timeline, notice.segment, notice.measure, baseline)
            of_measure = edges.get((notice.model, notice.timeline, notice.measure))
            if baseline.counts is not None and of_measure is not None:
                measure.borders, measure.tail = of_measure.borders, of_measure.tail
            found.setdefault((notice.model, notice.version), {})[key] = measure
    return [
        PinnedBaseline(model, version, _name(measures.values()), [measures[key] for key in sorted(measures)])
        for (model, version), measures in sorted(found.items(), key=lambda item: (item[0][0], item[0][1] or ""))
        if measures
    ]


def measures_of(notices: Iterable[bytes], reset: ResetRecord) -> set[str]:
    """The measures with a baseline, in force or in the making, that a reset covers; `volume` where it is asked for."""
    found: set[str] = set()
    for raw in notices:
        notice = read_notice(raw)
        if isinstance(notice, BaselineRecord) and notice.model == reset.model:
            if reset.measure in (VOLUME, JOINT):  # which have no record of their own
                found.add(reset.measure)
            elif reset.covers(notice.version, notice.segment, notice.measure) and (notice.payload or notice.since):
                found.add(notice.measure)
    return found


@dataclass(frozen=True)
class Making:
    """A baseline that was reset at a pane (its start, epoch ms) and is made anew."""

    model: str
    segment: str
    measure: str
    since: int


def in_progress(notices: Iterable[bytes]) -> list[Making]:
    """What the `baselines` topic says was reset, and has no baseline yet, by model."""
    found: dict[tuple[str, str, str, str], Making] = {}
    for raw in notices:
        notice = read_notice(raw)
        if isinstance(notice, BaselineRecord) and notice.version is None:
            key = notice.model, notice.timeline, notice.segment, notice.measure
            found.pop(key, None)
            if notice.since is not None:
                found[key] = Making(notice.model, notice.segment, notice.measure, notice.since)
    return [found[key] for key in sorted(found)]


def _name(measures: Iterable[PinnedMeasure]) -> str:
    return ", ".join(sorted({m.baseline.name for m in measures}))


def tables_of(baseline: PinnedBaseline) -> Iterator[Table]:
    """The numbers, and the categories: one row a measure and segment; both fit into 80 columns.

    Values that were left out have a column where there are any, and quantiles of counts that were moved to other edges
    an ≈.
    """
    of = f"{baseline.model} {baseline.version}" if baseline.version else f"{baseline.model}, all versions"
    title = f"{of}: baseline {baseline.name}"
    timelines = ("input", "label", "feedback", "observation")
    rows = sorted(baseline.measures, key=lambda m: (timelines.index(m.timeline), m.segment != ALL_SEGMENTS, m.segment))
    numbers = [row for row in rows if row.baseline.counts is not None and row.borders is not None]
    if numbers:
        yield _table(title, ("mean ± std", "p50", "p99"), "distribution", numbers)
    if categories := [row for row in rows if row not in numbers]:
        yield _table("" if numbers else title, (), "most frequent", categories)


def summary_table(baselines: Sequence[PinnedBaseline], kind: str, making: Sequence[Making] = ()) -> Table:
    """One row a model, version, segment and name of a baseline; `kind` is that of the settings.

    Those that were reset and are in the making come last.
    Recent baselines are made anew for every window: those listed judge until there are such, and are their bins.
    """
    rows: dict[tuple[str, str, str, str], list[Baseline]] = {}
    for of in baselines:
        for measure in of.measures:
            name = measure.baseline.name
            rows.setdefault((of.model, of.version or "all", measure.segment, name), []).append(measure.baseline)
    recent = {"rolling": "then rolling", "hour_of_week": "then hour of week"}.get(kind)
    names, figures = ("model", "version", "segment"), ("measures", "values")
    columns = [*map(Column, names), *(Column(heading, "figure") for heading in figures)]
    table = Table([*columns, Column("kind", "prose"), Column("since")])
    for key in sorted(rows, key=lambda key: (*key[:2], key[2] != ALL_SEGMENTS, *key[2:])):
        found, (*where, name) = rows[key], key
        text = name if recent is None or any(b.pinned for b in found) else f"{name}, {recent}"
        least, most = min(b.n for b in found), max(b.n for b in found)
        values = f"{least:,}" if least == most else f"{least:,}-{most:,}"
        since = min(b.since for b in found)
        table.row(*where, str(len(found)), values, text, when(since) if since > NEVER else "the start")
    anew = Counter((one.model, one.segment, one.since) for one in making)
    for model, segment, since in sorted(anew):
        text = "reset, in the making"
        table.row(model, "all", segment, str(anew[model, segment, since]), "", text, when(since))
    return table


def _table(title: str, figures: Sequence[str], last: str, rows: Sequence[PinnedMeasure]) -> Table:
    left_out = any(row.baseline.left_out for row in rows)
    headings = ("values", *(("left out",) if left_out else ()), "missing", *figures)
    table = Table(
        [
            Column("measure"),
            *(Column(heading, "figure") for heading in headings),
            Column(last, "name" if figures else "prose"),
        ],
        title,
    )
    for row in rows:
        values, *cells = _cells(row)
        out = [f"{row.baseline.left_out:,}" if row.baseline.left_out else ""] if left_out else []
        name = row.measure if row.segment == ALL_SEGMENTS else f"{row.measure} · {row.segment}"
        table.row(name, values, *out, *cells)
    return table


def _cells(pinned: PinnedMeasure) -> list[str]:
    baseline = pinned.baseline
    values = sum(baseline.kinds.values())
    missing = ""
    if pinned.timeline == "input" and baseline.events and not is_distance(pinned.measure):  # these are of a sample
        missing = f"{max(baseline.events - values, 0) / baseline.events:.1%}"
    if baseline.counts is None or pinned.borders is None:
        return [f"{baseline.n:,}", missing, "rows, features side by side" if pinned.rows else _names(baseline)]
    ends = baseline.low, baseline.high
    cuts = [quantile(baseline.counts, pinned.borders, share, *ends) for share in (0.5, 0.99)]
    if are_whole(np.asarray(pinned.borders), ends):
        cuts = [whole(cut) for cut in cuts]
    spread, about = f"{baseline.mean:.4g} ± {baseline.std:.3g}", "≈" if baseline.approximate else ""
    return [f"{baseline.n:,}", missing, spread, *(f"{about}{x:.4g}" for x in cuts), _bars(baseline, pinned.borders)]


def _names(baseline: Baseline) -> str:
    names = baseline.categories or {}
    shares = [f"{visible(name, NAME)} {count / max(baseline.n, 1):.0%}" for name, count in list(names.items())[:NAMES]]
    rest = len(names) - len(shares)
    return ", ".join(shares) + (f", +{rest}" if rest > 0 else "")


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
