"""Every Prometheus metric of ours, declared once; counted per commit, labels only from bounded sets."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from stream_monitor.stages.statistics import DescribeStatistics, JudgeStatistics, StageStatistics
from stream_monitor.version import __version__

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
DETECTION_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Committed(Protocol):
    """The report of a loop about a commit."""

    messages: dict[str, int]
    outputs: dict[str, int]
    output_bytes: int
    step_s: float
    commit_s: float
    lag: dict[tuple[str, int], int]
    paused: int
    restores: int
    aborted: bool


class Running(Protocol):
    """The parts of a loop that telemetry reads."""

    stage: Any
    client: Any
    owned: set[tuple[str, int]]


class RoleCollector(Collector):
    """The metrics of another registry, including those of the process, each with the role of this worker."""

    def __init__(self, role: str, registry: CollectorRegistry) -> None:
        self._role, self._registry = role, registry

    def describe(self) -> Iterable[Metric]:
        """Returns no names: the other registry has registered them."""
        return []

    def collect(self) -> Iterable[Metric]:
        """The current values of all metrics."""
        for metric in self._registry.collect():
            labelled = Metric(metric.name, metric.documentation, metric.type, metric.unit)
            labelled.samples = [
                sample._replace(labels={"role": self._role, **sample.labels}) for sample in metric.samples
            ]
            yield labelled


class FormerName(Collector):
    """A gauge that a counter has replaced, under its former name, until the next release."""

    def __init__(self, name: str, text: str) -> None:
        self._name, self._text, self.value = name, text, 0

    def describe(self) -> Iterable[Metric]:
        """Returns no names: the counter has registered the same ones."""
        return []

    def collect(self) -> Iterable[Metric]:
        """The counter's value."""
        yield GaugeMetricFamily(self._name, self._text, value=self.value)


def exposed(role: str, registry: CollectorRegistry = REGISTRY) -> bytes:
    """The response of `/metrics`."""
    labelled = CollectorRegistry()
    labelled.register(RoleCollector(role, registry))
    return generate_latest(labelled)


def declare_build_info(registry: CollectorRegistry) -> None:
    """The metric that each process has."""
    info = Gauge("stream_monitor_build_info", "Always 1; the version of this process.", ("version",), registry=registry)
    info.labels(__version__).set(1)


class Telemetry:
    """The metrics of one worker. `exposed` adds its role to every metric."""

    def __init__(self, registry: CollectorRegistry = REGISTRY, now: Callable[[], float] = time.time) -> None:
        self._registry, self._now = registry, now
        self._of_commits()
        self._of_events()
        self._of_judges()

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"stream_monitor_{name}", text, labels, registry=self._registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"stream_monitor_{name}", text, labels, registry=self._registry)

    def _seconds(self, name: str, text: str, buckets: tuple[float, ...] = SECONDS) -> Histogram:
        return Histogram(f"stream_monitor_{name}_seconds", text, buckets=buckets, registry=self._registry)

    def _of_commits(self) -> None:
        counter, gauge = self._counter, self._gauge
        declare_build_info(self._registry)
        self.messages = counter("messages", "Records read, by topic role.", "topic")
        self.outputs = counter("outputs", "Records published, by topic role.", "topic")
        self.output_bytes = counter("output_bytes", "Bytes published before compression.")
        self.aborts = counter("aborts", "Transactions that were aborted and tried again.")
        self.last_commit = gauge("last_commit_timestamp_seconds", "When the last commit succeeded.")
        self.lag = gauge("lag", "Records not read yet, by topic role, all partitions of this worker.", "topic")
        self.lag_max = gauge("lag_max", "Records not read yet of the partition with the most, by topic role.", "topic")
        self.partitions = gauge("partitions", "Topic partitions that this worker owns.")
        self.paused = gauge("paused_partitions", "Of these, those that wait until slower ones have caught up.")
        self.restores = counter("restores", "Partitions whose state was read back from its topic.")
        self.restored = gauge("restored", "Share of a change log that is read, while a worker restores; else 1.")
        self.memory = gauge("memory_bytes", "Largest resident memory of this process.")
        self.step = self._seconds("step", "Time in the stage between two commits.")
        self.commit = self._seconds("commit", "Time of a commit.")

    def _of_events(self) -> None:
        counter, gauge = self._counter, self._gauge
        evicted = "Predictions, labels and signals dropped because join.pending_rows was reached."
        self.rejects = counter("rejects", "Events that became dead letters, by reason.", "reason")
        self.summed = counter("rejects_summed", "Of these, those above dead_letters.limit: no letter of their own.")
        self.late = counter("late", "Events that came after their pane had closed, by topic role.", "topic")
        self.duplicates = counter("duplicates", "Events whose id had come before, by topic role.", "topic")
        self.pending = gauge("pending_rows", "Predictions, labels and signals that wait to be joined.")
        self.evicted = counter("pending_evicted", evicted)
        self.former_evicted = FormerName("stream_monitor_pending_evicted", f"Use pending_evicted_total. {evicted}")
        self._registry.register(self.former_evicted)
        self.unpaired = counter("unpaired", "Predictions that are compared with only some answers to their id.")
        self.overflow = counter("pending_overflow", "Labels, signals, predictions beyond what one id or name may have.")
        self.misplaced = gauge("misplaced_keys", "Keys of a sample that lie in another partition than theirs.", "topic")

    def _of_judges(self) -> None:
        counter, gauge = self._counter, self._gauge
        detection = "From the broker's time of the record that closed a window to the commit of the window's record."
        self.detection = self._seconds("detection", detection, DETECTION_SECONDS)
        self.alerts = counter(
            "alerts", "Records of alerts, by kind, severity and status.", "kind", "severity", "status"
        )
        closed = "Event time up to which panes are closed, by profiles partition."
        self.watermark = gauge("watermark_ms", closed, "partition")
        self.models = gauge("models", "Models that are judged.")
        self.open_alerts = gauge("open_alerts", "Alerts that are open.")
        self.open_bytes = gauge("open_panes_bytes", "What is held of panes that have not closed.")
        self.waiting = gauge("waiting_partitions", "Partitions whose judge holds so much that workers are to wait.")
        self.waits = counter("waits", "How often a judge began to ask workers to wait.")
        self.refused = counter("refused_records", "Records of describe that a judge could not merge.")
        self.lost_labels = counter("lost_labels", "Labels that came for windows which were final already.")
        self.after_idle = counter("after_idle", "Events that came for panes which had closed.")

    def observe(self, loop: Running) -> Callable[[Committed], None]:
        """A listener for the loop's commits."""
        self.restored.set_function(lambda: loop.client.restored)
        self.partitions.set_function(lambda: len(loop.owned))  # also of a worker that does not commit any more

        def listen(report: Committed) -> None:
            self._count(report)
            scale = 1 if sys.platform == "darwin" else 1024
            self.memory.set(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale)
            if not report.aborted:  # otherwise the vitals are those of the commit before, which are counted
                self.last_commit.set(self._now())
                self._show(loop.stage.stats())

        return listen

    def _show(self, stats: StageStatistics) -> None:
        match stats:
            case DescribeStatistics():
                self._show_events(stats)
            case JudgeStatistics():
                self._show_judges(stats)

    def _show_events(self, stats: DescribeStatistics) -> None:
        for counter, by_label in (
            (self.rejects, stats.rejects), (self.late, stats.late), (self.duplicates, stats.duplicates)
        ):  # fmt: skip
            for label, count in by_label.items():
                counter.labels(label).inc(count)
        for topic, count in stats.misplaced_keys.items():
            self.misplaced.labels(topic).set(count)
        self.summed.inc(stats.summed)
        self.evicted.inc(stats.evicted)
        self.former_evicted.value += stats.evicted
        self.overflow.inc(stats.overflow)
        self.unpaired.inc(stats.unpaired)
        self.pending.set(stats.pending)

    def _show_judges(self, stats: JudgeStatistics) -> None:
        now = self._now()
        for arrived_ms, windows in stats.closed_windows.items():
            spent = max(0.0, now - arrived_ms / 1000)  # the broker's clock may be ahead of ours
            for _ in range(windows):
                self.detection.observe(spent)
        for labels, count in stats.alerts.items():
            self.alerts.labels(*labels).inc(count)
        self.watermark.clear()  # removes partitions that another worker owns now
        for partition, watermark in stats.watermarks.items():
            self.watermark.labels(str(partition)).set(watermark)
        self.models.set(stats.models)
        self.open_alerts.set(stats.open_alerts)
        self.open_bytes.set(stats.open_bytes)
        self.waiting.set(stats.waiting)
        self.waits.inc(stats.waits)
        self.refused.inc(stats.refused_records)
        self.lost_labels.inc(stats.lost_labels)
        self.after_idle.inc(stats.after_idle)

    def _count(self, report: Committed) -> None:
        for role, count in report.messages.items():
            self.messages.labels(role).inc(count)
        for role, count in report.outputs.items():
            self.outputs.labels(role).inc(count)
        self._show_lag(report.lag)
        self.output_bytes.inc(report.output_bytes)
        self.step.observe(report.step_s)
        self.commit.observe(report.commit_s)
        self.paused.set(report.paused)
        self.restores.inc(report.restores)
        self.aborts.inc(int(report.aborted))

    def _show_lag(self, by_partition: Mapping[tuple[str, int], int]) -> None:
        lags: dict[str, list[int]] = {}
        for (role, _), lag in by_partition.items():
            lags.setdefault(role, []).append(lag)
        for role, found in lags.items():
            self.lag.labels(role).set(sum(found))
            self.lag_max.labels(role).set(max(found))
