"""The latest events of the input topics, and their keys, for `check`."""

from __future__ import annotations

from stream_monitor.config.settings import ROLES_IN, Settings
from stream_monitor.describe.key_placement import KeyPlacement
from stream_monitor.formats.contract import text_of
from stream_monitor.formats.registry import format_of
from stream_monitor.kafka.topic_reader import Span, TopicReader
from stream_monitor.kafka.topics import JOINED
from stream_monitor.service.event_survey import EventSurvey

LATEST = 500
"""Records of each partition."""


def sample(settings: Settings) -> tuple[dict[str, KeyPlacement], EventSurvey]:
    """The latest keys by role, and the events. Topics with one partition are left out: there every key is in place."""
    audit = TopicReader(settings)
    parts = {role: audit.partitions(role) for role in ROLES_IN}
    seen = {role: KeyPlacement() for role in JOINED if len(parts[role]) > 1}
    spans = audit.spans([partition for found in parts.values() for partition in found])
    ends = {p: Span(max(span.first, span.end - LATEST), span.end) for p, span in spans.items()}
    latest = EventSurvey()
    for role, message in audit.read(ends):
        latest.take(text_of(format_of(settings.topics.formats, role), message))
        if role in seen:
            seen[role].observe([message], len(parts[role]))
    return seen, latest
