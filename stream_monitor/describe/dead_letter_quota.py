"""Dead letters and their quota: a rejected event gets a dead letter; above the quota of its partition it is counted.

The quota is an allowance of a topic partition. It grows with the offsets, and each dead letter takes one from it. So
the log alone decides, in log order; batches do not affect the decision. A commit stores the allowance with the offset,
so that a restart or another worker decides in the same way. The quota does not pause a partition: a paused partition
would hold back the watermark of all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from stream_monitor.config.settings import DeadLetterSettings, Settings
from stream_monitor.errors import QuarantineError
from stream_monitor.events.contracts import DeadLetter
from stream_monitor.events.decode import Reject
from stream_monitor.stages.contract import Message, Output, Partition
from stream_monitor.stages.statistics import RejectExample


class Quota(msgspec.Struct, array_like=True):
    """The number of dead letters that a topic partition may still have at an offset."""

    left: float
    offset: int

    def take(self, offset: int, rules: DeadLetterSettings) -> bool:
        """Take one dead letter at an offset; return whether the quota allows it."""
        self.left = min(float(rules.burst), self.left + rules.limit * (offset - self.offset))
        self.offset = offset
        allowed = self.left >= 1
        self.left -= allowed
        return allowed


@dataclass(slots=True)
class RejectSummary:
    """Events of one topic partition and reason since the last commit that have no dead letter of their own."""

    first: int
    last: int
    count: int = 0
    length: int = 0


@dataclass(slots=True)
class Overlay:
    """The rejects since the last commit."""

    letters: list[Output] = field(default_factory=list)
    examples: dict[tuple[str, str], RejectExample] = field(default_factory=dict)
    """By topic role and reason."""
    sums: dict[tuple[str, int, str], RejectSummary] = field(default_factory=dict)


class DeadLetterQuota:
    """The dead letters of one worker, within the quotas of its topic partitions."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._writer = settings.letters()
        self._allowances: dict[Partition, Quota] = {}
        self._overlay = Overlay()

    def restore(self, partition: Partition, allowance: Quota | None) -> None:
        """Take ownership of a topic partition; None: it never had a dead letter."""
        if allowance is not None:
            self._allowances[partition] = allowance

    def allowance(self, partition: Partition) -> Quota | None:
        """The quota of a topic partition that a commit stores; None: it never had a dead letter."""
        return self._allowances.get(partition)

    def revoke(self, partitions: Sequence[Partition]) -> None:
        """Forget topic partitions."""
        for partition in partitions:
            self._allowances.pop(partition, None)

    def forget(self) -> None:
        """Start the next commit from zero."""
        self._overlay = Overlay()

    def add(self, reject: Reject, role: str, message: Message) -> None:
        """Take in a rejected event.

        Raises:
            QuarantineError: the quota is used up, and the settings ask to stop.
        """
        partition, offset, rules = (role, message.partition()), message.offset(), self.settings.dead_letters
        allowance = self._allowances.setdefault(partition, Quota(float(rules.burst), offset))
        topic = self.settings.topic(role)
        allowed = allowance.take(offset, rules)
        if not allowed and rules.above == "stop":
            raise QuarantineError(
                f"{topic}/{partition[1]}: too many events cannot be counted, more than {rules.limit:g} of its records "
                f"and {rules.burst:,} besides. The one at offset {offset}: {reject.reason}, {reject.error[:200]}. "
                "Nothing is lost: mend its producer, and raise dead_letters.limit or burst, or set dead_letters.above "
                "to count"
            )
        kind = role, reject.reason
        first = self._overlay.examples.get(kind)
        self._overlay.examples[kind] = (
            RejectExample(1, f"{topic}/{partition[1]}/{offset}", reject.error[:200])
            if first is None
            else first._replace(events=first.events + 1)
        )
        if allowed:
            value = self._writer.write(reject, message.value(), topic, partition[1], offset)
            self._overlay.letters.append(Output("dead-letters", value, f"{topic}/{partition[1]}/{offset}".encode()))
            return
        known = self._overlay.sums.setdefault((*partition, reject.reason), RejectSummary(offset, offset))
        known.last = offset
        known.count += 1
        known.length += len(message.value() or b"")

    def outputs(self) -> Iterator[Output]:
        """The dead letters since the last commit."""
        yield from self._overlay.letters
        for (role, number, reason), summary in self._overlay.sums.items():
            topic = self.settings.topic(role)
            letter = DeadLetter(
                topic=topic,
                partition=number,
                offset=summary.first,
                last_offset=summary.last,
                count=summary.count,
                reason=reason,
                error=(
                    f"{summary.count} events above dead_letters.limit, from offset {summary.first} to {summary.last}"
                ),
                length=summary.length,
                sha256="",
                bytes="",
            )
            yield Output("dead-letters", msgspec.json.encode(letter), f"{topic}/{number}/{summary.first}".encode())

    def counted(self) -> tuple[dict[tuple[str, str], RejectExample], int]:
        """Rejects since the last commit by (role, reason), and the number of those without a letter of their own."""
        return dict(self._overlay.examples), sum(summary.count for summary in self._overlay.sums.values())


def by_reason(refused: Mapping[tuple[str, str], RejectExample]) -> Counter[str]:
    """How many events were refused for each reason."""
    counts = Counter[str]()
    for (_, reason), example in refused.items():
        counts[reason] += example.events
    return counts
