"""`stream-monitor check`: everything that is wrong, in one go."""

from __future__ import annotations

import yaml

from stream_monitor.describe.placing import problem
from stream_monitor.errors import StreamMonitorError
from stream_monitor.judge.limits import parse_limit
from stream_monitor.kafka.keys import sample
from stream_monitor.kafka.topics import inspect
from stream_monitor.settings import Settings

SECRET = ("password", "secret", "key.pem", "token")


def check(settings: Settings) -> tuple[str, list[str]]:
    """(the settings in force as YAML, secrets masked; problems of settings, broker and topics)."""
    problems: list[str] = []
    for limit in settings.detection.limits:
        try:
            parse_limit(limit)
        except StreamMonitorError as error:
            problems.append(str(error))
    try:
        report = inspect(settings)
        problems += report.problems
        misplaced = problem(sample(settings), settings.topics.partitioner, report.rekey)
        problems += [misplaced] if misplaced else []
    except StreamMonitorError as error:
        problems.append(str(error))
    return yaml.safe_dump(masked(settings), sort_keys=False, allow_unicode=True), problems


def masked(settings: Settings) -> dict[str, object]:
    """The settings without secrets."""
    dumped = settings.model_dump(mode="json")
    options = dumped["kafka"]["options"]
    for name in options:
        if any(word in name for word in SECRET):
            options[name] = "***"
    return dumped
