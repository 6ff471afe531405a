"""Error impact: whether the model's error moved with a drift of inputs.

The label timeline has its own watermark. It is never ahead of the input watermark and at most the label horizon behind
it; where it is when an alert opens depends on how topics were interleaved. An alert therefore opens with the error
"unknown", and the tracker starts a query for it. The label timeline finishes its windows in an order that does not
depend on the order of arrival. The tracker adds each of its windows to the query, from the start of the alert's window
on. Of sliding windows it adds only adjacent ones, so that each label counts once. The result is a record of its own,
with status `outcome`. For an alert that opened at a pane the query uses the shortest windows, from the last one that
begins with the pane or before it. The input watermark is never behind the label watermark, so an alert is always
registered before the first label window it needs is finished.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec

from stream_monitor.baselines.baseline import Baselines
from stream_monitor.events.contracts import Alert, Attribution, ErrorChange
from stream_monitor.judge.alerts.reason import outcome_of
from stream_monitor.judge.consumers.contract import ClosedWindow, RaisedAlert, WindowConsumer
from stream_monitor.judge.panes.pane import IdRegistry
from stream_monitor.judge.panes.windows import Window

MEASURES = ("error", "absolute_error")
"""The error measures: of answers that are classes, and of answers that are numbers."""
CLEAR = 3.0
"""A change of the error by more than this many standard errors counts as moved."""
ENOUGH = 144
"""With this many labels a change of the error by a quarter of a standard deviation would be found. With fewer, a small
change does not prove that the error is unchanged."""


class ImpactQuery(msgspec.Struct):
    """An alert that waits for labels whose event time lies in [start, until)."""

    opening: Alert
    size: int
    start: int
    until: int
    measure: str = ""
    n: int = 0
    total: float = 0.0


class ImpactTracker(msgspec.Struct):
    """One query for each alert that opened on a drift of inputs.

    It ends when the outcome is published or the label horizon has passed.
    """

    by_id: dict[str, ImpactQuery] = {}

    def add(self, alert: Alert, first: tuple[int, int], horizon: int) -> None:
        """Start a query for an alert, from the `first` window (start, size) on. It ends at the opening or later."""
        opening = msgspec.structs.replace(alert, findings=[], attribution=None)
        start, size = first
        self.by_id[alert.id] = ImpactQuery(opening, size, start, alert.ts + horizon)

    def finished(self, window: Window, ids: IdRegistry, baselines: Baselines, least: int) -> Iterator[Alert]:
        """Add a finished window of the label timeline; yield the outcomes that are clear now.

        An outcome needs at least `least` labels.
        """
        for query in sorted(self.by_id.values(), key=lambda query: query.opening.id):
            adjacent = query.size == window.size and (window.start - query.start) % query.size == 0
            if adjacent and query.start <= window.start and window.end <= query.until:
                _add(query, window, ids)
                change = _change(query, baselines, least)
                if change is not None and (change.state != "unchanged" or query.n >= ENOUGH):
                    yield self._outcome(query, change, window.end)

    def expire(self, closed: int, baselines: Baselines, least: int) -> Iterator[Alert]:
        """End the queries whose time is over, now that all label panes before `closed` have closed."""
        for query in sorted(self.by_id.values(), key=lambda query: (query.until, query.opening.id)):
            if query.until <= closed:
                change = _change(query, baselines, least)
                if change is not None:
                    yield self._outcome(query, change, query.until)
                else:
                    del self.by_id[query.opening.id]

    def _outcome(self, query: ImpactQuery, change: ErrorChange, end: int) -> Alert:
        del self.by_id[query.opening.id]
        alert = msgspec.structs.replace(query.opening, status="outcome", revision=0, ts=end)
        alert.attribution = Attribution(error=change)
        if change.state in ("worse", "unchanged"):
            alert.severity = "critical" if change.state == "worse" else "info"
        alert.reason = outcome_of(alert, change)
        return alert


class ErrorImpact(WindowConsumer[ImpactTracker]):
    """Follows each drift of inputs in the labels, and publishes whether the error moved."""

    name, State = "error_impact", ImpactTracker

    def on_alert(self, raised: RaisedAlert) -> None:
        """Start a query when an alert opens on a drift of inputs, which is an alert with an attribution."""
        alert, span = raised.alert, raised.span
        if alert.attribution is None or raised.timeline.state.name != "input":
            return
        alert.attribution.error = ErrorChange(state="unknown")
        first = span.start, span.size
        if span.size <= 0:  # a sequential detector at a pane
            shortest = min(self.context.settings.time.windows)
            first = span.start - span.start % shortest.slide, shortest.size
        self.state.add(alert, first, self.context.settings.join.label_horizon)

    def on_window(self, closed: ClosedWindow) -> Iterator[Alert]:
        """The outcomes that are clear with a window of labels."""
        timeline = closed.timeline.state
        if timeline.name == "label":
            least = self.context.settings.detection.min_count
            yield from self.state.finished(closed.window, timeline.ids, timeline.baselines, least)

    @property
    def is_due(self) -> bool:
        """Whether there are queries."""
        return bool(self.state.by_id)

    def on_watermarks(self) -> Iterator[Alert]:
        """End the queries whose time is over."""
        label = self.context.timelines["label"].state
        yield from self.state.expire(label.closed_until, label.baselines, self.context.settings.detection.min_count)


def _add(query: ImpactQuery, window: Window, ids: IdRegistry) -> None:
    group = ids.groups.get((query.opening.version, query.opening.segment))
    table = window.numbers
    if group is None or group >= len(table.n):
        return
    for name in MEASURES if not query.measure else (query.measure,):
        measure = ids.measures.get(name)
        if measure is not None and measure < table.n.shape[1] and table.n[group, measure]:
            n = int(table.n[group, measure])
            query.measure, query.n = name, query.n + n
            query.total += n * float(table.mean[group, measure])
            return


def _change(query: ImpactQuery, baselines: Baselines, least: int) -> ErrorChange | None:
    group = query.opening.version, query.opening.segment
    baseline = baselines.active_at(group, query.measure, query.start) if query.n >= least else None
    if baseline is None or not baseline.std:
        return None
    mean = query.total / query.n
    sigmas = (mean - baseline.mean) / baseline.std
    clear = CLEAR * math.sqrt(1 / query.n + 1 / baseline.n)
    return ErrorChange(
        state="unchanged" if abs(sigmas) <= clear else "worse" if sigmas > 0 else "better",
        measure=query.measure,
        n=query.n,
        baseline=baseline.mean,
        now=mean,
        sigmas=sigmas,
        margin=clear,
        since=query.start,
    )
