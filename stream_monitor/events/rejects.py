"""What could not be counted, for a person: how many, the reasons, and an example of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from stream_monitor.events.contracts import DeadLetter

_letters = msgspec.json.Decoder(DeadLetter)
MOST = 5
"""Reasons that are told."""
_WIDTH = 160


@dataclass(slots=True)
class Rejects:
    """Dead letters by topic and reason."""

    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    examples: dict[tuple[str, str], str] = field(default_factory=dict)

    def take(self, value: bytes) -> int:
        """Take in a dead letter; returns how many events it stands for."""
        letter = _letters.decode(value)
        kind = letter.topic, letter.reason
        self.counts[kind] = self.counts.get(kind, 0) + letter.count
        self.examples.setdefault(kind, f"{letter.error} (partition {letter.partition}, offset {letter.offset})")
        return letter.count

    def lines(self) -> Iterator[str]:
        """The most frequent reasons, with the first example of each."""
        order = sorted(self.counts, key=lambda kind: (-self.counts[kind], kind))
        for kind in order[:MOST]:
            topic, reason = kind
            example = "".join(
                char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in self.examples[kind]
            )
            yield f"  {self.counts[kind]:,} {topic}: {reason}; the first: {example[:_WIDTH]}"
        if len(order) > MOST:
            yield f"  {sum(self.counts[kind] for kind in order[MOST:]):,} for {len(order) - MOST} more reasons"
