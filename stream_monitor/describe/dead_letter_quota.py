"""Events that could not be counted: a dead letter each, and above a limit of their topic partition only their number.

The limit is an allowance that grows with the offsets of a topic partition and that each dead letter takes one from. So
it is decided in log order by the log alone, whatever the batches; a commit keeps it with the offset, so that a restart
or another worker decides alike. There is no pausing: a partition that stands still would hold the watermark of all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from stream_monitor.config.settings import DeadLetterSettings, Settings
from stream_monitor.errors import QuarantineError
from stream_monitor.events.contracts import DeadLetter
from stream_monitor.events.decode import Reject
from stream_monitor.stages.contract import Message, Output, Partition


class Quota(msgspec.Struct, array_like=True):
    """How many dead letters a topic partition may still have at an offset."""

    left: float
    offset: int

    def take(self, offset: int, rules: DeadLetterSettings) -> bool:
        """Take one at an offset, if there is one."""
        self.left = min(float(rules.burst), self.left + rules.limit * (offset - self.offset))
        self.offset = offset
        allowed = self.left >= 1
        self.left -= allowed
        return allowed


@dataclass(slots=True)
class RejectSummary:
    """Events of one topic partition and reason that got no letter of their own since the last commit."""

    first: int
    last: int
    count: int = 0
    length: int = 0


@dataclass(slots=True)
class Overlay:
    """What came since the last commit."""

    letters: list[Output] = field(default_factory=list)
    reasons: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    sums: dict[tuple[str, int, str], RejectSummary] = field(default_factory=dict)


class DeadLetterQuota:
    """The events that a worker could not count."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._writer = settings.letters()
        self._allowances: dict[Partition, Quota] = {}
        self._overlay = Overlay()

    def restore(self, partition: Partition, allowance: Quota | None) -> None:
        """Own a topic partition; None: it never had a dead letter."""
        if allowance is not None:
            self._allowances[partition] = allowance

    def allowance(self, partition: Partition) -> Quota | None:
        """What a commit keeps of a topic partition."""
        return self._allowances.get(partition)

    def revoke(self, partitions: Sequence[Partition]) -> None:
        """Forget topic partitions."""
        for partition in partitions:
            self._allowances.pop(partition, None)

    def forget(self) -> None:
        """Start the next commit from zero."""
        self._overlay = Overlay()

    def add(self, reject: Reject, role: str, message: Message) -> None:
        """Take in an event; QuarantineError where the settings stop at too many."""
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
        self._overlay.reasons[reject.reason] += 1
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
        for (role, number, reason), told in self._overlay.sums.items():
            topic = self.settings.topic(role)
            letter = DeadLetter(
                topic=topic,
                partition=number,
                offset=told.first,
                last_offset=told.last,
                count=told.count,
                reason=reason,
                error=f"{told.count} events above dead_letters.limit, from offset {told.first} to {told.last}",
                length=told.length,
                sha256="",
                bytes="",
            )
            yield Output("dead-letters", msgspec.json.encode(letter), f"{topic}/{number}/{told.first}".encode())

    def counted(self) -> tuple[dict[str, int], int]:
        """By reason since the last commit, and how many of them got no letter of their own."""
        return dict(self._overlay.reasons), sum(told.count for told in self._overlay.sums.values())
