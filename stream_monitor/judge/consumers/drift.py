"""Alerts of window tests and of sequential detectors, and the attribution of each drift that opens one."""

from __future__ import annotations

from collections.abc import Iterator

from stream_monitor.detect.windows.overdispersion import Dispersion
from stream_monitor.events.contracts import Attribution
from stream_monitor.judge.alerts.attribution import attribution_of, quality_attribution_of
from stream_monitor.judge.alerts.lifecycle import EvidenceSpan
from stream_monitor.judge.consumers.contract import (
    ClosedWindow,
    ConsumerOutput,
    NoState,
    RaisedAlert,
    WindowConsumer,
    evaluation_context,
)
from stream_monitor.judge.detection.dispersion import dispersion_update
from stream_monitor.judge.detection.evidence import numeric_evidence
from stream_monitor.judge.detection.verdicts import Verdict
from stream_monitor.judge.model_state import FROM_BASELINES
from stream_monitor.judge.timelines.since_change import measure_since
from stream_monitor.judge.timelines.timeline import ChangeDetected
from stream_monitor.profiles.measures import TimelineName

ATTRIBUTED: tuple[TimelineName, ...] = ("input", "label")
"""Timelines whose alerts get an attribution."""


class DriftAlerts(WindowConsumer[NoState]):
    """Passes the verdicts of windows and the findings of sequential detectors to the alerts of their measures."""

    name = "drift"

    def on_window(self, closed: ClosedWindow) -> Iterator[ConsumerOutput]:
        """Raise the alerts of the verdicts, then learn the overdispersion of the window."""
        for verdict in closed.verdicts:
            for raised in self.context.raise_alert(closed.timeline, verdict, closed.span):
                alert = raised.alert
                if alert.status == "open" and closed.timeline.state.name in ATTRIBUTED:
                    alert.attribution = _attribution(closed, verdict)
                yield raised
        yield from self._end_ignored(closed)
        window = closed.window
        if window.start % window.size == 0:  # overlapping windows hold the same values
            dispersion = closed.timeline.state.dispersion.setdefault(window.size, Dispersion())
            if (update := dispersion_update(closed.comparisons, closed.verdicts, dispersion)) is not None:
                yield update

    def _end_ignored(self, closed: ClosedWindow) -> Iterator[RaisedAlert]:
        """Resolve the alerts on measures that the settings ignore from now on. Alerts on limits stay."""
        detection, alerts = self.context.settings.detection, self.context.alerts
        if not detection.ignore:
            return
        causes = [state.cause for state in alerts.states.values() if state.opened is not None]
        for cause in causes:
            if cause is not None and cause.kind in FROM_BASELINES and detection.ignores(cause.measure):
                alert = alerts.end(cause, closed.span.end, f"{cause.measure} is not judged any more (detection.ignore)")
                if alert is not None:
                    yield RaisedAlert(alert, closed.timeline, closed.span)

    def on_change(self, change: ChangeDetected) -> Iterator[RaisedAlert]:
        """Raise the alert of a sequential detector's finding, or resolve it at the end of the change."""
        found = change.found
        findings = [] if found.finding is None else [found.finding]
        verdict = Verdict(found.group, found.measure, "drift", findings)
        span = EvidenceSpan(change.pane, change.pane + self.context.settings.time.pane, found.voice)
        for raised in self.context.raise_alert(change.timeline, verdict, span):
            if raised.alert.status != "resolved":
                attribution = _attribution_since(change, verdict)
                if raised.alert.status == "open":
                    raised.alert.attribution = attribution
                self.context.alerts.complete(raised.alert)
            yield raised


def _attribution(closed: ClosedWindow, verdict: Verdict) -> Attribution | None:
    """Which segments and measures moved in the window that opened an alert."""
    comparison = next(c for c in closed.comparisons if (c.group, c.measure) == (verdict.group, verdict.measure))
    context = evaluation_context(closed.timeline)
    if verdict.kind == "quality":
        return quality_attribution_of(comparison, verdict.findings[0].detector, context, closed.window)
    return attribution_of(comparison, verdict.findings[0].evidence, context, [closed.window])


def _attribution_since(change: ChangeDetected, verdict: Verdict) -> Attribution:
    """Which segments and measures moved in the retained data since a change began. Adds it to the evidence, too."""
    finding, context = verdict.findings[0], evaluation_context(change.timeline)
    began = change.pane if finding.change_ts is None else finding.change_ts
    since = measure_since(change.timeline, context, (verdict.group, verdict.measure), (began, change.pane))
    if since is None:
        return Attribution()
    comparison, windows = since
    assert comparison.borders is not None  # sequential detectors follow only numeric measures
    drawn = numeric_evidence(
        comparison.baseline, comparison.base_counts, comparison.now, comparison.borders, comparison.extent
    )
    finding.evidence |= drawn | {"baseline": finding.evidence.get("baseline", {}) | drawn["baseline"]}
    attribution = attribution_of(comparison, drawn, context, windows)
    attribution.since = windows[0].start
    return attribution
