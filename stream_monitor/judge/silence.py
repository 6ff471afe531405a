"""The alert of silence: no partition brings events any more. It is about the whole app."""

from __future__ import annotations

from collections.abc import Iterator

from stream_monitor.config.settings import Settings
from stream_monitor.events.contracts import Alert, Finding, Health
from stream_monitor.judge.alerts.lifecycle import AlertKey, EvidenceSpan
from stream_monitor.judge.health import health_of_app
from stream_monitor.judge.partition_state import PartitionState
from stream_monitor.profiles.names import ALL_MODELS, ALL_SEGMENTS, NEVER


def check_silence(state: PartitionState, settings: Settings, arrived: int) -> Iterator[Alert | Health]:
    """Open the alert when all partitions were idle for `silence_after` by broker time, or resolve it.

    `arrived` is the broker time of the last record (epoch ms).
    """
    since = state.watermarks.idle_since
    silent = since is not None and arrived - since >= settings.time.silence_after
    largest = state.watermarks.largest
    if largest == NEVER:
        return
    finding = Finding(
        detector="silence",
        score=float(arrived - since) if since is not None else 0.0,
        threshold=float(settings.time.silence_after),
        direction="down",
    )
    cause = AlertKey(ALL_MODELS, ALL_SEGMENTS, ALL_SEGMENTS, "volume", "silence")
    if not silent and largest == state.alerts.opened(cause):  # a worker restarted, but no event has come
        return
    detection = settings.detection.model_copy(update={"recovery": 1, "cooldown": 0})
    span = EvidenceSpan(largest, largest, 0)
    alert = state.alerts.observe(cause, "input", span, [finding] if silent else [], detection)
    if alert is not None:
        yield alert
        yield health_of_app(state.alerts, largest)
