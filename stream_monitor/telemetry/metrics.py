"""Every Prometheus metric of ours, declared once; counted per commit, labels only from bounded sets."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Committed(Protocol):
    """What a loop reports of a commit."""

    messages: dict[str, int]
    outputs: dict[str, int]
    output_bytes: int
    step_s: float
    commit_s: float
    lag: dict[tuple[str, int], int]
    aborted: bool


class Running(Protocol):
    """A loop, as far as telemetry looks at it."""

    stage: Any
    client: Any
    owned: set[tuple[str, int]]

    def unready(self, most: int | None = None) -> str | None:
        """Why it is not ready, or lags more than `most` records."""


class Telemetry:
    """The metrics of one worker."""

    def __init__(self, role: str, registry: CollectorRegistry = REGISTRY) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"stream_monitor_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"stream_monitor_{name}", text, labels, registry=registry)

        self.role = role
        self.messages = counter("messages", "Records read, by topic role.", "topic")
        self.outputs = counter("outputs", "Records published, by topic role.", "topic")
        self.output_bytes = counter("output_bytes", "Bytes published before compression.")
        self.rejects = counter("rejects", "Events that became dead letters, by reason.", "reason")
        self.summed = counter("rejects_summed", "Of these, those above dead_letters.limit: no letter of their own.")
        self.aborts = counter("aborts", "Transactions that were aborted and tried again.")
        self.lag = gauge("lag", "Records not read yet, by topic role, all partitions of this worker.", "topic")
        self.partitions = gauge("partitions", "Topic partitions that this worker owns.")
        self.pending = gauge("pending_rows", "Predictions, labels and signals that wait to be joined.")
        self.misplaced = gauge("misplaced_keys", "Keys of a sample that lie in another partition than theirs.", "topic")
        self.evicted = gauge("pending_evicted", "Unlabelled predictions dropped because join.pending_rows was reached.")
        self.watermark = gauge(
            "watermark_ms", "Event time up to which panes are closed, by profiles partition.", "partition"
        )
        self.restored = gauge("restored", "Share of a change log that is read, while a worker restores; else 1.")
        self.models = gauge("models", "Models that are judged.")
        self.open_alerts = gauge("open_alerts", "Alerts that are open.")
        self.memory = gauge("memory_bytes", "Largest resident memory of this process.")
        self.step = Histogram(
            "stream_monitor_step_seconds", "Time in the stage between two commits.", buckets=SECONDS, registry=registry
        )
        self.commit = Histogram(
            "stream_monitor_commit_seconds", "Time of a commit.", buckets=SECONDS, registry=registry
        )

    def observe(self, loop: Running) -> Callable[[Committed], None]:
        """A listener for the loop's commits."""
        self.restored.set_function(lambda: loop.client.restored)

        def listen(report: Committed) -> None:
            self._count(report)
            self.partitions.set(len(loop.owned))
            scale = 1 if sys.platform == "darwin" else 1024
            self.memory.set(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale)
            state: Mapping[str, Any] = loop.stage.vitals()
            for reason, count in state.get("rejects", {}).items():
                self.rejects.labels(reason).inc(count)
            self.summed.inc(state.get("summed", 0))
            for name in ("pending", "evicted", "models", "open_alerts"):
                if name in state:
                    getattr(self, name).set(state[name])
            for topic, count in state.get("misplaced_keys", {}).items():
                self.misplaced.labels(topic).set(count)
            for partition, watermark in state.get("watermarks", {}).items():
                self.watermark.labels(str(partition)).set(watermark)

        return listen

    def _count(self, report: Committed) -> None:
        for role, count in report.messages.items():
            self.messages.labels(role).inc(count)
        for role, count in report.outputs.items():
            self.outputs.labels(role).inc(count)
        lags: dict[str, int] = {}
        for (role, _), lag in report.lag.items():
            lags[role] = lags.get(role, 0) + lag
        for role, lag in lags.items():
            self.lag.labels(role).set(lag)
        self.output_bytes.inc(report.output_bytes)
        self.step.observe(report.step_s)
        self.commit.observe(report.commit_s)
        self.aborts.inc(int(report.aborted))
