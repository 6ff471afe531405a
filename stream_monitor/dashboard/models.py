"""The views of one model: every measure as columns over its windows, one measure in full, and its performance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from stream_monitor.dashboard.baselines import baselines_of
from stream_monitor.dashboard.incidents import alerts_elsewhere, alerts_of
from stream_monitor.dashboard.packing import unpack_record
from stream_monitor.dashboard.store import Snapshot
from stream_monitor.dashboard.windows import (
    Choice,
    Closed,
    UnknownName,
    figure,
    segments_of,
    versions_of,
    windows,
)
from stream_monitor.events.contracts import MeasureSummary
from stream_monitor.profiles.measures import JOINT
from stream_monitor.profiles.names import ALL_SEGMENTS

TIMELINES = {"traffic": "input", "observation": "observation", "label": "label", "feedback": "feedback"}
"""The timeline of each kind of windows that are judged."""
COLUMNS = ("p05", "p50", "p95")
"""Columns of numbers, besides the mean. Records have six digits of them."""


def head(store: Snapshot, choice: Choice) -> dict[str, Any]:
    """What all views of a model begin with: what they are about, and what else there is."""
    row = store.one("SELECT record FROM health WHERE model = ?", (choice.model,))
    health = None if row is None else msgspec.json.decode(unpack_record(row[0]))
    annotations = "SELECT record FROM remark WHERE model = ? AND key LIKE 'annotation%'"
    return {
        "model": choice.model,
        "version": choice.version,
        "segment": choice.segment,
        "size": choice.size,
        "since": choice.since,
        "until": choice.until,
        "cut": choice.cut,
        "versions": versions_of(store, choice.model),
        "segments": segments_of(store, choice.model, choice.version),
        "health": health,
        "annotations": [msgspec.json.decode(record) for (record,) in store.rows(annotations, (choice.model,))],
    }


def model_view(store: Snapshot, choice: Choice) -> dict[str, Any]:
    """Every measure of a version and segment, as columns over one axis of windows."""
    by_kind = {kind: windows(store, choice, kind) for kind in TIMELINES}
    times = sorted({closed.start for found in by_kind.values() for closed in found})
    place = {start: index for index, start in enumerate(times)}
    baselines = baselines_of(store, choice.model, choice.version, choice.segment)
    measures = []
    for kind, found in by_kind.items():
        for name in sorted({name for closed in found for name in closed.metric.measures}):
            measures.append(_columns(name, kind, found, place, baselines.get((TIMELINES[kind], name))))
    counts: list[int | None] = [None] * len(times)
    for closed in by_kind["traffic"]:
        counts[place[closed.start]] = closed.metric.count
    final = [bool(closed.metric.final) for closed in by_kind["traffic"]]
    return head(store, choice) | {
        "times": times,
        "counts": counts,
        "open": bool(final) and not final[-1],
        "measures": measures,
        "alerts": alerts_of(store, choice),
        "elsewhere": alerts_elsewhere(store, choice),
    }


def _columns(
    name: str, kind: str, found: Sequence[Closed], place: Mapping[int, int], baseline: dict[str, Any] | None
) -> dict[str, Any]:
    rows: list[MeasureSummary | None] = [None] * len(place)
    for closed in found:
        rows[place[closed.start]] = closed.metric.measures.get(name)
    present = [row for row in rows if row is not None]
    number = any(row.mean is not None for row in present)
    columns: dict[str, Any] = {
        "name": name,
        "kind": "rows" if name == JOINT else "number" if number else "category",
        "timeline": TIMELINES[kind],
        "group": present[-1].group if present else "input",
        "n": [None if row is None else row.n for row in rows],
        "missing": [None if row is None or row.missing is None else figure(_share(row)) for row in rows],
        "times": [None if row is None else row.times for row in rows],
        "found": [bool(row is not None and row.found) for row in rows],
        "course": [None if row is None else max((row.courses or {}).values(), default=None) for row in rows],
        "baseline": baseline,
        "now": _now(rows),
    }
    now = columns["now"]
    columns["last"] = None if now is None else _whole(rows[now])
    if number:
        columns |= {key: [None if row is None else getattr(row, key) for row in rows] for key in COLUMNS}
        columns["mean"] = [None if row is None else figure(row.mean) for row in rows]
    elif name != JOINT:
        columns |= _categories(rows, baseline)
    return columns


def _share(row: MeasureSummary) -> float | None:
    events = row.n + (row.missing or 0)
    return (row.missing or 0) / events if events else None


def _now(rows: Sequence[MeasureSummary | None]) -> int | None:
    """The window that stands for now: the latest that was judged, or else the latest with values.

    A window that has just begun, or that ends with the stream, has few values and is not judged.
    """
    filled = [i for i, row in enumerate(rows) if row is not None and (row.n or row.missing)]
    judged = [i for i in filled if (row := rows[i]) is not None and row.tests is not None]
    return max(judged, default=max(filled, default=None))


def _whole(row: MeasureSummary | None) -> dict[str, Any]:
    return {name: value for name, value in msgspec.to_builtins(row).items() if value is not None}


def _categories(rows: Sequence[MeasureSummary | None], baseline: dict[str, Any] | None) -> dict[str, Any]:
    """The shares of the most frequent categories, of the baseline or else of the windows."""
    names = list((baseline or {}).get("names") or ())[:5]
    if not names:
        total = Counter[str]()
        for row in rows:
            total.update((row.top if row is not None else None) or {})
        names = [name for name, _ in total.most_common(5)]
    shares = [
        [None if row is None or not row.n else figure((row.top or {}).get(name, 0) / row.n) for row in rows]
        for name in names
    ]
    return {"names": names, "shares": shares}


def measure_view(store: Snapshot, choice: Choice, measure: str) -> dict[str, Any]:
    """One measure: its columns, its shape in each window, each test, and its course in the largest segments.

    Raises:
        UnknownName: no window has it.
    """
    for kind in TIMELINES:
        found = windows(store, choice, kind)
        if any(measure in closed.metric.measures for closed in found):
            break
    else:
        raise UnknownName(f"no window of {choice.model!r} in this range has a measure {measure!r}")
    times = [closed.start for closed in found]
    place = {start: index for index, start in enumerate(times)}
    baseline = baselines_of(store, choice.model, choice.version, choice.segment).get((TIMELINES[kind], measure))
    rows = [closed.metric.measures.get(measure) for closed in found]
    tests = sorted({test for row in rows if row is not None for test in row.tests or {}})
    detectors = sorted({name for row in rows if row is not None for name in row.courses or {}})
    alerts = [alert for alert in alerts_of(store, choice, whole=True) if alert["measure"] == measure]
    return head(store, choice) | {
        "times": times,
        "counts": [closed.metric.count for closed in found],
        "measure": _columns(measure, kind, found, place, baseline),
        "shapes": _shapes(rows, times, choice.size, baseline),
        "tests": {test: [None if r is None else figure((r.tests or {}).get(test)) for r in rows] for test in tests},
        "p": {test: [None if row is None else (row.p or {}).get(test) for row in rows] for test in tests},
        "courses": {name: [None if r is None else (r.courses or {}).get(name) for r in rows] for name in detectors},
        "rows": [None if row is None else _plain(row) for row in rows],
        "siblings": _siblings(store, choice, kind, measure),
        "alerts": alerts,
    }


def _shapes(
    rows: Sequence[MeasureSummary | None], times: Sequence[int], size: int, baseline: dict[str, Any] | None
) -> list[list[int] | None]:
    """The shapes of the windows. Those before the baseline came into force may be on other bins, and are left out."""
    since = None if baseline is None else baseline["since"]
    return [
        None if row is None or (since is not None and start + size <= since) else row.shape
        for row, start in zip(rows, times, strict=True)
    ]


def _plain(row: MeasureSummary) -> dict[str, Any]:
    """The figures of a window that the table below the charts shows."""
    kept = ("n", "missing", "mean", "std", "min", "p05", "p25", "p50", "p75", "p95", "p99", "max", "times", "top")
    return {name: value for name in kept if (value := getattr(row, name)) is not None}


def _siblings(store: Snapshot, choice: Choice, kind: str, measure: str) -> list[dict[str, Any]]:
    """How far the measure is from its baseline in each segment, in the latest window of each."""
    query = (
        "SELECT segment, record FROM window JOIN series ON window.series = series.id "
        "WHERE model = ? AND version = ? AND segment != ? AND kind = ? AND size = ? AND start < ? AND start >= ? "
        "GROUP BY segment HAVING start = MAX(start) ORDER BY count DESC LIMIT 50"
    )
    newest = choice.until - 2 * choice.size
    values = choice.model, choice.version, ALL_SEGMENTS, kind, choice.size, choice.until, newest
    found = []
    for segment, packed in store.rows(query, values):
        row = msgspec.json.decode(unpack_record(packed))["measures"].get(measure)
        if row is not None:
            kept = ("n", "mean", "p50", "times", "found", "missing")
            found.append({"segment": segment} | {name: row[name] for name in kept if name in row})
    return sorted(found, key=lambda one: (not one.get("found"), -(one.get("times") or 0.0), one["segment"]))[:20]


def performance_view(store: Snapshot, choice: Choice) -> dict[str, Any]:
    """Accuracy and errors by the time of predictions, and how many of them have a label."""
    found = windows(store, choice, "performance")
    names = sorted({name for closed in found for name in closed.metric.measures})
    pairs = Counter[tuple[str, str]]()
    for closed in found:
        for answer, label, n in closed.metric.confusion or ():
            pairs[answer, label] += n
    measures = {
        name: {
            "group": next(c.metric.measures[name].group for c in found if name in c.metric.measures),
            "n": [m.n if (m := closed.metric.measures.get(name)) is not None else 0 for closed in found],
            "mean": [
                figure(m.mean) if (m := closed.metric.measures.get(name)) is not None else None for closed in found
            ],
        }
        for name in names
    }
    baselines = baselines_of(store, choice.model, choice.version, choice.segment)
    return head(store, choice) | {
        "times": [closed.start for closed in found],
        "count": [closed.metric.count for closed in found],
        "labelled": [closed.metric.labelled for closed in found],
        "compared": [closed.metric.compared for closed in found],
        "accuracy": [figure(closed.metric.accuracy) for closed in found],
        "final": [closed.metric.final for closed in found],
        "revision": [closed.metric.revision for closed in found],
        "measures": measures,
        "baselines": {name: baselines.get(("label", name)) or baselines.get(("feedback", name)) for name in names},
        "confusion": [[answer, label, n] for (answer, label), n in pairs.most_common(200)],
        "alerts": [alert for alert in alerts_of(store, choice) if alert["group"] in ("outcome", "human")],
    }


def known_models(store: Snapshot) -> list[str]:
    """The models with a health record or windows."""
    query = "SELECT model FROM health WHERE NOT app UNION SELECT DISTINCT model FROM series WHERE kind != 'intake'"
    return sorted(model for (model,) in store.rows(query))
