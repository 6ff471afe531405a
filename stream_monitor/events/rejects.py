"""What could not be counted, for a person: how many, the reasons, an example of each, and what to do."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from stream_monitor.events.contracts import DeadLetter
from stream_monitor.events.dead_letters import NOT_ACCEPTED

_letters = msgspec.json.Decoder(DeadLetter)
MOST = 5
"""Reasons that are told."""
_WIDTH = 160
_RAW = 60

TOMBSTONE = "tombstone"
"""The reason of a record without a value. It deletes a key of a compacted topic, and is no event that was lost."""

ADVICE = {
    "not_json": "send one JSON object a record",
    "contract": "`stream-monitor schema` prints what each field may be",
    "before_2000": "send ts in epoch milliseconds: of seconds 1,000 times as much",
    "future": "set the sender's clock right, or raise time.max_skew",
    "blank": "send no record in place of an empty one",
    TOMBSTONE: "nothing: a tombstone deletes a key of a compacted topic",
    "no_cloudevent": "send CloudEvents 1.0, or leave out the topic in topics.formats where it has plain JSON",
    "cloudevent_data": "send the event as JSON in the CloudEvent's data",
    "too_large": "leave out what nobody watches",
    "too_many_features": "leave out features that nobody watches",
    NOT_ACCEPTED: "`stream-monitor notify test` tells whether receivers accept messages",
    "too_deep": "send features as flat names and values",
}
"""By reason, what a person can do."""


@dataclass(slots=True)
class Rejects:
    """Dead letters by topic and reason."""

    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    examples: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """How many events could not be counted. A tombstone is no event."""
        return sum(count for (_, reason), count in self.counts.items() if reason != TOMBSTONE)

    def take(self, value: bytes) -> int:
        """Take in a dead letter; returns how many events it stands for.

        Raises:
            msgspec.MsgspecError: the record is no dead letter.
        """
        letter = _letters.decode(value)
        kind = letter.topic, letter.reason
        self.counts[kind] = self.counts.get(kind, 0) + letter.count
        place = f"(partition {letter.partition}, offset {letter.offset})"
        self.examples.setdefault(kind, f"{letter.error} {place}{_raw(letter)}")
        return letter.count

    def lines(self) -> Iterator[str]:
        """The most frequent reasons, with the first example of each and what to do."""
        order = sorted(self.counts, key=lambda kind: (-self.counts[kind], kind))
        for kind in order[:MOST]:
            topic, reason = kind
            advice = f"; to do: {ADVICE[reason]}" if reason in ADVICE else ""
            yield f"  {self.counts[kind]:,} {topic}: {reason}; the first: {shown(self.examples[kind])}{advice}"
        if len(order) > MOST:
            yield f"  {sum(self.counts[kind] for kind in order[MOST:]):,} for {len(order) - MOST} more reasons"


def shown(text: str) -> str:
    """A stranger's text as a part of a line: short, and without characters that do not print."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text[:_WIDTH])


def _raw(letter: DeadLetter) -> str:
    """The beginning of the event, as far as it is kept."""
    try:
        kept = base64.b64decode(letter.bytes[: 4 * _RAW], validate=True)
    except binascii.Error:
        return ""
    return f": {kept[:_RAW].decode(errors='replace')}" if kept.strip() else ""
