"""`stream-monitor check`: all problems, in one go."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

import msgspec
import yaml

from stream_monitor.config.settings import Settings
from stream_monitor.describe.key_placement import placement_problem
from stream_monitor.errors import StreamMonitorError
from stream_monitor.events.contracts import Alert
from stream_monitor.judge.detection.limits import parse_limit
from stream_monitor.kafka.tail import tail
from stream_monitor.kafka.topics import inspect
from stream_monitor.notify.overview import incident_notes, receiver_notes, receiver_problems
from stream_monitor.profiles.measures import feature_measure
from stream_monitor.service.key_sampler import sample
from stream_monitor.service.recent_rejects import notes_of, recent_rejects
from stream_monitor.telemetry import http_server as server

MODELS_NAMED = 5
"""Models that a note names."""


def check(settings: Settings) -> tuple[str, list[str], list[str]]:
    """(the settings in force as YAML, secrets as asterisks; problems of settings, broker and topics; notes)."""
    problems = settings_problems(settings) + receiver_problems(settings.notify)
    notes = receiver_notes(settings.notify)
    try:
        report = inspect(settings)
        problems += report.problems
        notes += report.advice
        placed, latest = sample(settings)
        misplaced = placement_problem(placed, settings.topics.partitioner, report.rekey)
        problems += [misplaced] if misplaced else []
        notes += latest.notes(_limited(settings))
        notes += models_in_force(settings, latest.models)
        notes += notes_of(recent_rejects(settings))
        notes += open_incident_notes(settings)
    except StreamMonitorError as error:
        problems.append(str(error))
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True), problems, notes


def open_incident_notes(settings: Settings) -> list[str]:
    """Whom each open incident would be told to, where there are receivers."""
    if not settings.notify.receivers:
        return []
    values = tail(settings, "alerts", follow=False)
    return incident_notes(settings, (msgspec.json.decode(value, type=Alert) for value in values))


def _limited(settings: Settings) -> list[tuple[str, str]]:
    """(text, measure as it is written) of the limits that can be read."""
    found = []
    for text in limits_of(settings):
        try:
            found.append((text, parse_limit(text).measure))
        except StreamMonitorError:  # reported among the problems
            continue
    return found


def limits_of(settings: Settings) -> list[str]:
    """The limits of all models, and those of the patterns of `models`."""
    every = [detection.limits for detection in (settings.detection, *settings.detection_of.values())]
    return list(dict.fromkeys(text for limits in every for text in limits))


def models_in_force(settings: Settings, seen: Iterable[str]) -> list[str]:
    """For each pattern of `models`: the models of the latest events that it is in force for, and what it changes."""
    lines, left = list[str](), sorted(seen)
    for pattern, detection in settings.detection_of.items():
        matched = [model for model in left if fnmatchcase(model, pattern)]
        left = [model for model in left if model not in matched]
        usual = settings.detection.model_dump(mode="json")
        other = {key: value for key, value in detection.model_dump(mode="json").items() if value != usual[key]}
        names = ", ".join(matched[:MODELS_NAMED]) + (" …" if len(matched) > MODELS_NAMED else "")
        changed = ", ".join(f"{key}: {value}" for key, value in other.items()) or "nothing"
        lines.append(f"models.{pattern} is in force for {names or 'no model of the latest events'}; it sets {changed}")
    return lines


def settings_problems(settings: Settings) -> list[str]:
    """Problems of the settings that can be found without a broker; `run` demands that there are none."""
    return limit_problems(settings) + server.problems(settings.http)


def misplaced_keys(settings: Settings, rekey: bool) -> str | None:
    """The problem when the latest keys of the input topics lie in wrong partitions: labels miss their predictions."""
    return placement_problem(sample(settings)[0], settings.topics.partitioner, rekey)


def limit_problems(settings: Settings) -> list[str]:
    """Limits that cannot be read, and limits that can never be broken because privacy hides their measure."""
    problems: list[str] = []
    hashed, dropped = (set(map(feature_measure, names)) for names in (settings.privacy.hash, settings.privacy.drop))
    for text in limits_of(settings):
        try:
            limit = parse_limit(text)
        except StreamMonitorError as error:
            problems.append(str(error))
            continue
        measure = limit.on("input")
        if measure in dropped:
            problems.append(f"detection.limits: {text!r} watches what privacy.drop leaves out")
        elif measure in hashed and limit.statistic not in ("n", "missing"):
            problems.append(
                f"detection.limits: {text!r} watches numbers that privacy.hash hashes; n and missing remain"
            )
    return problems
