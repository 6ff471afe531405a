"""`stream-monitor check`: everything that is wrong, in one go."""

from __future__ import annotations

import yaml

from stream_monitor.errors import StreamMonitorError
from stream_monitor.judge.limits import parse_limit
from stream_monitor.kafka.topics import inspect
from stream_monitor.settings import Settings
from stream_monitor.telemetry import server


def check(settings: Settings) -> tuple[str, list[str]]:
    """(the settings in force as YAML, secrets as asterisks; problems of settings, broker and topics)."""
    problems: list[str] = []
    for limit in settings.detection.limits:
        try:
            parse_limit(limit)
        except StreamMonitorError as error:
            problems.append(str(error))
    problems += server.problems(settings.http)
    try:
        problems += inspect(settings).problems
    except StreamMonitorError as error:
        problems.append(str(error))
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True), problems
