"""The Prometheus metrics of the page, declared once. Routes and states are bounded sets; rollouts are counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from stream_monitor.telemetry.metrics import SECONDS, declare_build_info, exposed

ROLE = "dashboard"
TEXT_TYPE = CONTENT_TYPE_LATEST


class Worth(NamedTuple):
    """What a bet of a guard is worth."""

    guard: str
    segment: str
    bet: str
    """`harm`, or `pass`: at one margin."""
    log10: float


@dataclass(frozen=True, slots=True)
class RolloutFigures:
    """Where a rollout stands."""

    model: str
    rollout: str
    state: str
    exposed: int
    weights: dict[str, float] = field(default_factory=dict)
    worths: list[Worth] = field(default_factory=list)


class RolloutCollector(Collector):
    """The rollouts at the moment of a scrape. Labels are names that users gave, so the caller bounds the rollouts."""

    def __init__(self, rollouts: Callable[[], Iterable[RolloutFigures]]) -> None:
        self._rollouts = rollouts

    def describe(self) -> Iterator[Metric]:
        """The names, without asking for rollouts."""
        yield from self._families()

    @staticmethod
    def _families() -> tuple[GaugeMetricFamily, GaugeMetricFamily, GaugeMetricFamily, CounterMetricFamily]:
        one = ["model", "rollout"]

        def gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
            return GaugeMetricFamily(f"stream_monitor_rollout_{name}", text, labels=[*one, *labels])

        return (
            gauge("state", "Always 1; the state of a rollout.", "state"),
            gauge("weight", "Share of the requests that a version gets.", "version"),
            gauge("worth", "Log to base 10 of what a bet of a guard is worth.", "guard", "segment", "bet"),
            CounterMetricFamily("stream_monitor_rollout_exposed", "Requests that the candidate answered.", labels=one),
        )

    def collect(self) -> Iterator[Metric]:
        """The current figures."""
        state, weight, worth, exposed_total = self._families()
        for one in self._rollouts():
            names = [one.model, one.rollout]
            state.add_metric([*names, one.state], 1)
            exposed_total.add_metric(names, one.exposed)
            for version, share in one.weights.items():
                weight.add_metric([*names, version], share)
            for bet in one.worths:
                worth.add_metric([*names, bet.guard, bet.segment, bet.bet], bet.log10)
        yield from (state, weight, worth, exposed_total)


class DashboardTelemetry:
    """The metrics of one page, in a registry of its own."""

    def __init__(self, rollouts: Callable[[], Iterable[RolloutFigures]]) -> None:
        self.registry = registry = CollectorRegistry()
        declare_build_info(registry)
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "stream_monitor_dashboard_requests", "Requests by route and status.", ("route", "status"), registry=registry
        )
        self.seconds = Histogram(
            "stream_monitor_dashboard_request_seconds", "Time of an answer, without streams of changes.",
            buckets=SECONDS, registry=registry,
        )  # fmt: skip

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"stream_monitor_dashboard_{name}", text, registry=registry)

        self.streams = gauge("streams", "Pages that are open and follow changes.")
        self.store_bytes = gauge("store_bytes", "Bytes that records take in the store.")
        self.behind = gauge("behind", "Records that are not read yet.")
        self.reading = gauge("reading", "1: the page reads Kafka; 0: Kafka does not answer.")
        self.since = gauge("reading_since_timestamp_seconds", "When that began.")
        registry.register(RolloutCollector(rollouts))

    def text(self) -> bytes:
        """The answer to a scrape."""
        return exposed(ROLE, self.registry)
