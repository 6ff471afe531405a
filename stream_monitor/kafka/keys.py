"""The latest keys of the joined topics, for `check`."""

from __future__ import annotations

from stream_monitor.describe.placing import Placed
from stream_monitor.kafka.audit import Audit, Span
from stream_monitor.kafka.topics import JOINED
from stream_monitor.settings import Settings

LATEST = 500
"""Records of each partition."""


def sample(settings: Settings) -> dict[str, Placed]:
    """The latest keys by role; none of a topic with one partition, where every key is in its place."""
    audit = Audit(settings)
    parts = {role: audit.partitions(role) for role in JOINED}
    seen = {role: Placed() for role, found in parts.items() if len(found) > 1}
    spans = audit.spans([partition for role in seen for partition in parts[role]])
    latest = {p: Span(max(span.first, span.end - LATEST), span.end) for p, span in spans.items()}
    for role, message in audit.read(latest):
        seen[role].look([message], len(parts[role]))
    return seen
