"""Alerts of static limits."""

from __future__ import annotations

from collections.abc import Iterator

from stream_monitor.judge.consumers.contract import ClosedWindow, NoState, RaisedAlert, WindowConsumer
from stream_monitor.judge.detection.limits import findings_of
from stream_monitor.judge.detection.verdicts import Verdict
from stream_monitor.judge.metrics.window_metrics import summarise
from stream_monitor.judge.panes.windows import Window
from stream_monitor.judge.timelines.timeline import Timeline
from stream_monitor.types import F64, I64


class LimitAlerts(WindowConsumer[NoState]):
    """Compares the statistics of every window with the limits of the settings."""

    name = "limits"

    def on_window(self, closed: ClosedWindow) -> Iterator[RaisedAlert]:
        """Raise an alert for each measure beyond its limit."""
        if not self.context.limits:
            return
        timeline, window = closed.timeline, closed.window
        for group in range(min(len(timeline.state.ids.groups), max(len(window.counts), window.numbers.n.shape[0]))):
            summaries = summarise(timeline, window, group, {}, closed.expected.get(group, ()))
            for limit in self.context.limits:
                measure = limit.on(timeline.state.name)
                summary = summaries.get(measure)
                if summary is not None and (summary.n or limit.statistic in ("n", "missing")):
                    findings = findings_of(limit, summary, *_bins_of(timeline, window, group, measure))
                    verdict = Verdict(group, measure, "limit", findings)
                    yield from self.context.raise_alert(timeline, verdict, closed.span)


def _bins_of(timeline: Timeline, window: Window, group: int, name: str) -> tuple[I64 | None, F64 | None]:
    """The bin counts of a numeric measure and its edges; (None, None) for a measure without edges."""
    measure, edges = timeline.state.ids.measures.get(name), timeline.state.edges.get(name)
    if measure is None or edges is None:
        return None, None
    return window.numbers.counts[group, measure], edges.edges
