"""The dead letters of the last hour, for `check`."""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec

from stream_monitor.config.settings import Settings
from stream_monitor.events.rejects import Rejects
from stream_monitor.kafka.topic_reader import Span, TopicReader

SPAN_S = 3_600
MOST = 5_000
"""Letters of a partition that are read, the latest ones."""


def recent_rejects(settings: Settings) -> Rejects:
    """What the last hour's dead letters say. Records of strangers on the topic are left out."""
    audit = TopicReader(settings)
    parts = audit.partitions("dead-letters")
    ends = audit.stable(parts)
    firsts = audit.at_time(parts, int((time.time() - SPAN_S) * 1000))
    found = Rejects()
    spans = {part: Span(max(firsts[part], span.end - MOST, span.first), span.end) for part, span in ends.items()}
    for _, message in audit.read({part: span for part, span in spans.items() if span.first < span.end}):
        try:
            found.take(message.value() or b"")
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
    return found


def notes_of(rejects: Rejects) -> Iterator[str]:
    """The notes of `check`."""
    if rejects.total:
        yield f"{rejects.total:,} events of the last hour could not be counted:"
        yield from rejects.lines()
