"""The Prometheus metrics of `stream-monitor notify`, declared once. Receivers are named by the settings."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from stream_monitor.telemetry.metrics import declare_build_info

SECONDS = (0.1, 0.5, 1, 5, 10, 30, 60, 300, 1_800, 3_600, 21_600, 86_400)


class NotifyTelemetry:
    """What each receiver was told."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        declare_build_info(registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"stream_monitor_notify_{name}", text, ("receiver", *labels), registry=registry)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"stream_monitor_notify_{name}", text, ("receiver",), registry=registry)

        self.sent = counter("sent", "Messages by what became of them: sent, or given up.", "status")
        self.retries = counter("retries", "Messages that were not accepted, and are tried again.")
        self.forgotten = counter("forgotten", "Incidents that are not followed, because more than 1,000 were open.")
        self.strange = counter("strange_records", "Records that could not be read, and were left out.")
        self.pending = gauge("pending", "Changes whose messages are not sent, those that wait on purpose included.")
        self.stopped = gauge("stopped", "1: the receiver has stopped, for what it answered does not heal.")
        self.last_success = gauge(
            "last_success_timestamp", "When a message was accepted last, nothing was to send, or `notify` began (s)."
        )
        self.delay = Histogram(
            "stream_monitor_notify_delay_seconds", "From the oldest record of a message to its acceptance.",
            ("receiver",), buckets=SECONDS, registry=registry,
        )  # fmt: skip

    def start(self, receiver: str) -> None:
        """Begin the series of a receiver: counts at 0, so that a first message that is given up is a rise."""
        for status in ("sent", "given up"):
            self.sent.labels(receiver, status)
        for series in (self.retries, self.stopped, self.pending, self.delay):
            series.labels(receiver)
        self.last_success.labels(receiver).set_to_current_time()
