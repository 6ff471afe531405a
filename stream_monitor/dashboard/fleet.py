"""The view of all models: a row each, the worst first."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from stream_monitor.dashboard.incidents import RANK
from stream_monitor.dashboard.packing import unpack_record
from stream_monitor.dashboard.store import Snapshot
from stream_monitor.dashboard.windows import DAY, figure, health_records, sizes_of
from stream_monitor.events.contracts import Health
from stream_monitor.profiles.names import ALL_SEGMENTS

BUCKETS = 150
"""Windows of a row's course, at most."""
LEAST_SPAN = 60
"""Windows of the shortest size that a course covers where a day has fewer."""


class Fleet:
    """Makes the rows, and makes a row anew only when the model's record or windows have changed. For many threads.

    Args:
        windows: by model, something that changes with its windows; it is read before the store is.
    """

    def __init__(self, windows: Mapping[str, int] | None = None) -> None:
        self._windows = {} if windows is None else windows
        self._rows: dict[str, tuple[tuple[int, int | None], dict[str, Any]]] = {}
        self._lock = threading.Lock()

    def view(self, store: Snapshot) -> dict[str, Any]:
        """All models, the worst first, and totals."""
        with self._lock:
            return self._view(store)

    def _view(self, store: Snapshot) -> dict[str, Any]:
        rows, latest, windows = [], 0, dict(self._windows)
        for health, offset in health_records(store):
            known, state = self._rows.get(health.model), (offset, windows.get(health.model))
            if known is None or known[0] != state:
                known = self._rows[health.model] = state, _row(store, health)
            rows.append(known[1])
            latest = max(latest, health.window_end)
        self._rows = {row["model"]: self._rows[row["model"]] for row in rows}
        rows.sort(key=lambda row: (RANK.get(row["severity"], 3), -row["open"], row["model"]))
        app = store.one("SELECT record FROM health WHERE app")
        return {
            "models": rows,
            "latest": latest,
            "app": None if app is None else msgspec.json.decode(unpack_record(app[0])),
            "totals": {
                "models": len(rows),
                "critical": sum(row["severity"] == "critical" for row in rows),
                "warning": sum(row["severity"] == "warning" for row in rows),
                "silent": sum(row["silent"] for row in rows),
                "predictions": sum(row["count"] for row in rows),
            },
        }


def _row(store: Snapshot, health: Health) -> dict[str, Any]:
    severities = [alert.severity for alert in health.open]
    return {
        "model": health.model,
        "versions": health.versions,
        "until": health.window_end,
        "count": health.count,
        "size": health.window_end - health.window_start,
        "severity": min(severities, key=RANK.__getitem__, default=None),
        "open": health.open_total,
        "silent": health.count == 0 or any(alert.kind == "silence" for alert in health.open),
        "reasons": [alert.reason for alert in health.open[:3]],
        "worst": [msgspec.to_builtins(one) for one in health.worst[:3]],
        "measures": health.measures,
        "labelled": [health.labelled, health.predictions],
        "error": figure(health.error),
        "error_baseline": figure(health.error_baseline),
        "error_measure": health.error_measure,
        "learning": health.learning_total,
        "ready_in": max((one.ready_in for one in health.learning if one.ready_in is not None), default=None),
        "course": _course(store, health),
    }


def _course(store: Snapshot, health: Health) -> dict[str, Any] | None:
    """Predictions and the farthest drift of each window of the last day, over all versions.

    Labels of past predictions may be of a far later time: what begins after the model's last window is left out.
    """
    sizes = sizes_of(store, health.model)
    if not sizes:
        return None
    span = max(DAY, LEAST_SPAN * sizes[0])
    size = next((size for size in sizes if span <= size * BUCKETS), sizes[-1])
    query = (
        "SELECT start, kind, SUM(count), MAX(times) FROM window JOIN series ON window.series = series.id "
        "WHERE model = ? AND segment = ? AND size = ? AND kind NOT IN ('performance', 'intake') "
        "AND start >= ? AND start < ? AND part = 1 GROUP BY start, kind"
    )
    since = health.window_end - span
    counts: dict[int, int] = {}
    worst: dict[int, float] = {}
    for start, kind, count, times in store.rows(query, (health.model, ALL_SEGMENTS, size, since, health.window_end)):
        if kind == "traffic":
            counts[start] = count
        worst[start] = max(worst.get(start, 0.0), times or 0.0)
    starts: Sequence[int] = range(min(worst, default=0), max(worst, default=-1) + 1, size)
    return {
        "size": size,
        "since": min(worst, default=0),
        "count": [counts.get(start) for start in starts],
        "times": [figure(worst[start]) if start in worst else None for start in starts],
    }
