"""The health record of a model: a small summary for `status`, the pages and people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from stream_monitor.baselines.baseline import BaselineBuilder
from stream_monitor.config.detection import LEAST_FIRST, DetectionSettings
from stream_monitor.events.contracts import Distance, Health, Learning, OpenAlert
from stream_monitor.judge.alerts.lifecycle import AlertLifecycle
from stream_monitor.judge.detection.verdicts import Verdict
from stream_monitor.judge.detection.window_evaluation import MeasureComparison, times_tolerated
from stream_monitor.judge.metrics.performance import OutcomeSums, Performance
from stream_monitor.judge.panes.windows import Window
from stream_monitor.judge.timelines.state import TimelineRules
from stream_monitor.judge.timelines.timeline import Timeline
from stream_monitor.profiles.names import ALL_MODELS, ALL_SEGMENTS

OPEN, LEARNING, VERSIONS, WORST = 100, 100, 20, 5
"""How many open alerts, measures with a baseline being built, versions, and distances a record names."""


class Gone(NamedTuple):
    """A model was forgotten: its health record must be deleted."""

    model: str


def health_of(
    timeline: Timeline, window: Window, alerts: AlertLifecycle, performance: Performance, final: bool
) -> Health:
    """The health of a model at the end of a window of its predictions."""
    groups = list(timeline.state.ids.groups)
    counts = {groups[group]: int(row[0]) for group, row in enumerate(window.counts) if row[0]}
    learning = sorted(_learning(timeline, window), key=lambda one: (one.n - one.of, one.measure))
    labelled = performance.waiting(timeline.state.closed_until, keep=final)
    name = _error_measure(labelled)
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


def worst(
    comparisons: Sequence[MeasureComparison],
    verdicts: Sequence[Verdict],
    groups: Sequence[tuple[str, str]],
    detection: DetectionSettings,
) -> list[Distance]:
    """The measures that are farthest from their baselines, as multiples of what is tolerated; the farthest first."""
    drifted = {(verdict.group, verdict.measure) for verdict in verdicts if verdict.findings}
    found = list[Distance]()
    for comparison in comparisons:
        times, (version, segment) = times_tolerated(comparison, detection), groups[comparison.group]
        if times is not None:
            place = comparison.group, comparison.measure
            found.append(Distance(comparison.measure, version, segment, float(f"{times:.3g}"), place in drifted))
    order = sorted(found, key=lambda one: (not one.found, -one.times, one.measure, one.version, one.segment))
    return order[:WORST]


def _error_measure(outcomes: OutcomeSums) -> str | None:
    """The measure that stands for the error; numbers of which some are no numbers of classes have a distance."""
    classes, numbers = (outcomes.sums.get(name, (0, 0.0))[0] for name in ("error", "absolute_error"))
    if not classes and not numbers:
        return None
    return "error" if classes >= numbers else "absolute_error"


def open_ids(alerts: AlertLifecycle) -> set[str]:
    """The ids of the open alerts that a record names."""
    return {alert.id for alert in [*_open(alerts)][:OPEN]}


def with_alerts(health: Health, alerts: AlertLifecycle) -> Health:
    """The same record with the alerts that are open now.

    Alerts on labels and observations also change between the ends of the windows of predictions.
    """
    return msgspec.structs.replace(health, open=[*_open(alerts)][:OPEN], open_total=alerts.open)


def key_of(health: Health) -> bytes:
    """The key of the record. The record of the whole app has an empty key, which no model can have."""
    return b"" if health.app else health.model.encode()


def health_of_app(alerts: AlertLifecycle, ts: int) -> Health:
    """The health record of the whole app, under the name `ALL_MODELS`."""
    open_alerts = [*_open(alerts)]
    return Health(
        model=ALL_MODELS, app=True, window_start=ts, window_end=ts, open=open_alerts, open_total=len(open_alerts)
    )


def _open(alerts: AlertLifecycle) -> Iterator[OpenAlert]:
    """The open alerts, the most severe first, then the oldest."""
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
    """Measures (segment `all`) whose baseline is being built, and when it will be complete at the window's rate."""
    groups, wanted = list(timeline.state.ids.groups), timeline.rules.first
    all_groups = [group for group, (_, segment) in enumerate(groups) if segment == ALL_SEGMENTS]
    table = window.numbers.n
    for (segment, measure), builder in timeline.state.builders.by_key.items():
        if segment != ALL_SEGMENTS or not builder.total:
            continue
        column, arrived = timeline.state.ids.measures.get(measure, table.shape[1]), 0
        if column < table.shape[1]:
            arrived = int(sum(table[group, column] for group in all_groups if group < table.shape[0]))
        arrived = arrived or sum(window.categories.get((group, measure), (0, {}))[0] for group in all_groups)
        ready = None if not arrived else ready_in(builder, arrived, window, timeline.rules)
        yield Learning(measure=measure, n=builder.total, of=wanted, ready_in=ready)


def ready_in(builder: BaselineBuilder, arrived: int, window: Window, rules: TimelineRules) -> int:
    """Ms of event time from the window's end until a baseline is complete, if `arrived` values come in each window.

    It is complete with `baseline.first` values, or after `baseline.first_within` with `LEAST_FIRST` values.
    """

    def time_to(wanted: int) -> int:
        return -(-max(wanted - builder.total, 0) * window.size // arrived)

    by_values = time_to(rules.first)
    if rules.first_within is None or builder.began is None:
        return by_values
    left = builder.began + rules.first_within - window.end
    return min(by_values, max(left, time_to(LEAST_FIRST), 0))
