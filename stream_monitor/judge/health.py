"""How a model does, as one small record: what `status`, pages and people ask first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from stream_monitor.events.contracts import Health, Learning, OpenAlert
from stream_monitor.judge.alerts.lifecycle import AlertLifecycle
from stream_monitor.judge.metrics.performance import Performance
from stream_monitor.judge.panes.windows import Window
from stream_monitor.judge.timelines.timeline import Timeline
from stream_monitor.profiles.names import ALL_MODELS, ALL_SEGMENTS

OPEN, LEARNING, VERSIONS = 100, 100, 20
"""Open alerts, measures in the making and versions that a record names; it counts all."""


class Gone(NamedTuple):
    """A model is forgotten: its record is deleted."""

    model: str


def health_of(
    timeline: Timeline, window: Window, alerts: AlertLifecycle, performance: Performance, final: bool
) -> Health:
    """A model at the end of a window of its traffic."""
    groups = list(timeline.state.ids.groups)
    counts = {groups[at]: int(row[0]) for at, row in enumerate(window.counts) if row[0]}
    learning = sorted(_learning(timeline, window), key=lambda one: (one.n - one.of, one.measure))
    labelled = performance.waiting(timeline.state.closed_until)
    name = next((name for name in ("error", "absolute_error") if labelled.sums.get(name, (0, 0.0))[0]), None)
    n, total = labelled.sums[name] if name is not None else (0, 0.0)
    return Health(
        model=timeline.rules.model,
        window_start=window.start,
        window_end=window.end,
        final=final,
        count=sum(count for (_, segment), count in counts.items() if segment == ALL_SEGMENTS),
        versions=sorted({version for version, segment in counts if segment == ALL_SEGMENTS})[:VERSIONS],
        measures=len(timeline.state.ids.names),
        open=[*_open(alerts)][:OPEN],
        open_total=alerts.open,
        predictions=labelled.count,
        labelled=labelled.labelled,
        error_measure=name,
        error=total / n if n else None,
        learning=learning[:LEARNING],
        learning_total=len(learning),
    )


def open_ids(alerts: AlertLifecycle) -> set[str]:
    """The open alerts that a record names."""
    return {alert.id for alert in [*_open(alerts)][:OPEN]}


def with_alerts(health: Health, alerts: AlertLifecycle) -> Health:
    """The same with the alerts that are open now: labels and observations ring between windows of traffic, too."""
    return msgspec.structs.replace(health, open=[*_open(alerts)][:OPEN], open_total=alerts.open)


def key_of(health: Health) -> bytes:
    """The record's key: that of the whole app is one that no model can have, whatever its name."""
    return b"" if health.app else health.model.encode()


def health_of_app(alerts: AlertLifecycle, at: int) -> Health:
    """What concerns all models, under the name that stands for them."""
    open_alerts = [*_open(alerts)]
    return Health(
        model=ALL_MODELS, app=True, window_start=at, window_end=at, open=open_alerts, open_total=len(open_alerts)
    )


def _open(alerts: AlertLifecycle) -> Iterator[OpenAlert]:
    """The gravest first, then the oldest."""
    rank = {"critical": 0, "warning": 1, "info": 2}
    states = [s for s in alerts.states.values() if s.opened is not None and s.cause is not None]
    for state in sorted(states, key=lambda state: (rank[state.severity], state.opened, state.id)):
        cause: Any = state.cause
        yield OpenAlert(
            id=state.id,
            version=cause.version,
            segment=cause.segment,
            measure=cause.measure,
            kind=cause.kind,
            severity=state.severity,
            opened_ts=state.opened or 0,
            reason=state.reason,
        )


def _learning(timeline: Timeline, window: Window) -> Iterator[Learning]:
    """Measures of all events whose baseline is in the making, and when it will be made at the window's pace."""
    groups, wanted = list(timeline.state.ids.groups), timeline.rules.first
    everything = [at for at, (_, segment) in enumerate(groups) if segment == ALL_SEGMENTS]
    table = window.numbers.n
    for (segment, measure), filling in timeline.state.builders.by_key.items():
        if segment != ALL_SEGMENTS or not filling.total:
            continue
        place, came = timeline.state.ids.measures.get(measure, table.shape[1]), 0
        if place < table.shape[1]:
            came = int(sum(table[at, place] for at in everything if at < table.shape[0]))
        came = came or sum(window.categories.get((at, measure), (0, {}))[0] for at in everything)
        left = max(wanted - filling.total, 0)
        ready = None if not came else -(-left * window.size // came)
        yield Learning(measure=measure, n=filling.total, of=wanted, ready_in=ready)
