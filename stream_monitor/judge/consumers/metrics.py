"""Metrics records of closed windows and of performance windows."""

from __future__ import annotations

from collections.abc import Iterable

from stream_monitor.events.contracts import Metric
from stream_monitor.judge.consumers.contract import ClosedWindow, NoState, WindowConsumer
from stream_monitor.judge.metrics.performance import Revised
from stream_monitor.judge.metrics.window_metrics import performance_metrics, window_metrics


class MetricRecords(WindowConsumer[NoState]):
    """Publishes the metrics of each window."""

    name = "metrics"
    follows_other = True

    def on_window(self, closed: ClosedWindow) -> Iterable[Metric]:
        """The records of a window that has ended."""
        return self._records(closed, final=True)

    def on_revision(self, revised: Revised) -> Iterable[Metric]:
        """The records of a revision."""
        return performance_metrics(self.context.model, revised)

    def preview(self, open_window: ClosedWindow) -> Iterable[Metric]:
        """The records of an open window; they are not final."""
        return self._records(open_window, final=False)

    def preview_revision(self, revised: Revised) -> Iterable[Metric]:
        """The records of a performance window as it is now."""
        return performance_metrics(self.context.model, revised)

    @staticmethod
    def _records(closed: ClosedWindow, final: bool) -> Iterable[Metric]:
        return window_metrics(
            closed.timeline, closed.window, closed.comparisons, closed.expected, closed.verdicts, final
        )
