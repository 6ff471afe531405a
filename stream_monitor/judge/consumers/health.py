"""The health record of a model, published with its shortest windows and when its open alerts change."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from stream_monitor.events.contracts import Health
from stream_monitor.judge.consumers.contract import ClosedWindow, WindowConsumer
from stream_monitor.judge.detection.limits import Limit
from stream_monitor.judge.detection.window_evaluation import tolerances
from stream_monitor.judge.health import health_of, open_ids, with_alerts, worst
from stream_monitor.judge.panes.windows import Window
from stream_monitor.judge.timelines.timeline import Timeline, WindowEmpty
from stream_monitor.profiles.names import ALL_SEGMENTS

UNSEEN = 20
"""Limits without a measure that a record names."""


class HealthState(msgspec.Struct):
    """The last published health record of the model."""

    published: Health | None = None


class HealthRecords(WindowConsumer[HealthState]):
    """Publishes the health record."""

    name, State = "health", HealthState
    follows_other = True

    def on_window(self, closed: ClosedWindow) -> Iterator[Health]:
        """The record at the end of a shortest window of predictions."""
        if self._belongs(closed.timeline, closed.window.size):
            yield self._publish(self._of_window(closed, final=True))

    def on_empty_window(self, empty: WindowEmpty) -> Iterator[Health]:
        """The record of a model without events: once, until events come again."""
        published = self.state.published
        if self._belongs(empty.timeline, empty.size) and (published is None or published.count):
            yield self._publish(self._record(empty.timeline, Window(empty.size, empty.start), final=True))

    @property
    def is_due(self) -> bool:
        """Whether other alerts are open than the published record names."""
        published = self.state.published
        return published is not None and open_ids(self.context.alerts) != {alert.id for alert in published.open}

    def on_watermarks(self) -> Iterator[Health]:
        """The last record with the alerts that are open now."""
        if self.state.published is not None and self.is_due:
            yield self._publish(with_alerts(self.state.published, self.context.alerts))

    def preview(self, open_window: ClosedWindow) -> Iterator[Health]:
        """The record as it is now; it is not final."""
        if self._belongs(open_window.timeline, open_window.window.size):
            yield self._of_window(open_window, final=False)

    def _belongs(self, timeline: Timeline, size: int) -> bool:
        return timeline.state.name == "input" and size == self.context.shortest_window

    def _of_window(self, closed: ClosedWindow, final: bool) -> Health:
        health = self._record(closed.timeline, closed.window, final)
        groups = list(closed.timeline.state.ids.groups)
        health.worst = worst(closed.comparisons, closed.verdicts, groups, self.context.settings.detection)
        return health

    def _record(self, timeline: Timeline, window: Window, final: bool) -> Health:
        health = health_of(timeline, window, self.context.alerts, self.context.performance, final)
        settings = self.context.settings
        health.tolerance, health.false_alarms = tolerances(settings.detection), settings.detection.false_alarms
        health.windows = [str(spec) for spec in settings.time.windows]
        health.error_baseline = self._error_baseline(health.error_measure)
        health.unseen_limits = [limit.text for limit in self.context.limits if not self._is_seen(limit)][:UNSEEN]
        return health

    def _error_baseline(self, measure: str | None) -> float | None:
        """The mean of an error measure in its baseline."""
        baselines = self.context.timelines["label"].state.baselines
        baseline = None if measure is None else baselines.shared.get((ALL_SEGMENTS, measure))
        return baseline.mean if baseline is not None and baseline.counts is not None else None

    def _is_seen(self, limit: Limit) -> bool:
        """Whether the model has had the measure of a limit, by the predictions, labels or whatever else came."""
        return any(
            limit.on(timeline.state.name) in timeline.state.ids.names for timeline in self.context.timelines.values()
        )

    def _publish(self, health: Health) -> Health:
        self.state.published = health
        return health
