"""Streaming drift detection on Kafka: events in; alerts and metrics out.

For programs::

    import stream_monitor

    settings = stream_monitor.load_settings("settings.yaml")
    for record in stream_monitor.replay(events, settings):
        if isinstance(record, stream_monitor.Alert) and record.status == "open":
            print(record.model, record.measure, record.reason)

What is named here is kept from release to release; modules below may change. Importing this costs a tenth of a second:
what is heavy is imported by the function that needs it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

from stream_monitor.errors import StreamMonitorError
from stream_monitor.events.contracts import (
    Alert,
    DeadLetter,
    Feedback,
    Finding,
    Health,
    Label,
    MeasureSummary,
    Metric,
    Observation,
    Prediction,
)
from stream_monitor.version import __version__

if TYPE_CHECKING:
    from stream_monitor.config.settings import Settings


__all__ = [
    "Alert",
    "DeadLetter",
    "Event",
    "Feedback",
    "Finding",
    "Health",
    "Label",
    "MeasureSummary",
    "Metric",
    "Observation",
    "Prediction",
    "StreamMonitorError",
    "__version__",
    "load_settings",
    "parse_settings",
    "replay",
]

Event = Prediction | Label | Feedback | Observation | Mapping[str, Any] | bytes
"""An event as one of the contracts, as the fields of its JSON object, or as JSON."""


def load_settings(path: str | PathLike[str] | None = None) -> Settings:
    """The settings of a YAML file, or the defaults; environment variables `STREAM_MONITOR__*` override both.

    SettingsError names every mistake.
    """
    from pathlib import Path

    from stream_monitor.config.settings import load

    return load(None if path is None else Path(path))


def parse_settings(values: Mapping[str, Any]) -> Settings:
    """Settings of nested mappings, as a file has them: `{"time": {"pane": "1m"}}`.

    SettingsError names every mistake.
    """
    from stream_monitor.config.settings import parse

    return parse(dict(values))


def replay(events: Iterable[Event], settings: Settings | None = None) -> Iterator[Alert | Metric | DeadLetter]:
    """Judge events without Kafka, by the code that runs on Kafka, and yield what it would publish, as it comes.

    Args:
        events: events of any kind, in order of event time, or at most `time.allowed_lateness` out of it. An event that
            cannot be counted comes back as a dead letter.
        settings: the defaults where there are none.
    """
    from stream_monitor.file_replay import published

    return published(parse_settings({}) if settings is None else settings, events)
