"""How far one receiver is in its partitions: what is restored, what is new, and what it may commit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from stream_monitor.kafka.follower import FollowedRecord
from stream_monitor.kafka.subscription import Grant
from stream_monitor.notify.progress import Progress, read_progress
from stream_monitor.notify.receiver_state import Era
from stream_monitor.stages.contract import Partition, Position


class Partitions:
    """The partitions that this instance reads."""

    def __init__(self) -> None:
        self.next: dict[Partition, int] = {}
        """The next offset to commit; it never goes back."""
        self.restoring: dict[Partition, Grant] = {}
        """Those that have not read up to what was committed, or to the end at the first start."""
        self._progress: dict[Partition, Progress] = {}
        """What was committed when they came."""

    def grant(self, grants: Sequence[Grant]) -> None:
        """Begin with partitions. To a new receiver all that lies there already is past."""
        for grant in grants:
            progress = read_progress(*(grant.committed or Position(grant.end, "")))
            self._progress[grant.partition], self.next[grant.partition] = progress, progress.offset
            self.restoring[grant.partition] = grant

    def revoke(self, partitions: Sequence[Partition]) -> None:
        """Others read these now."""
        for partition in partitions:
            for book in (self.next, self.restoring, self._progress):
                book.pop(partition, None)

    def take(self, record: FollowedRecord) -> Era | None:
        """Note that a record was read; returns to which era it belongs, None: it is none of ours."""
        partition = record.role, record.number
        progress = self._progress.get(partition)
        if progress is None:
            return None
        self.next[partition] = max(self.next[partition], record.offset + 1)
        if progress.is_unsent(record.offset):
            return "new"
        grant = self.restoring.get(partition)
        return "past" if grant is not None and grant.committed is None else "told"

    def advance(self, positions: Mapping[Partition, int], drained: bool) -> Iterator[Grant]:
        """Note how far reading has come, markers of transactions included; gives the partitions that are restored.

        Args:
            positions: where reading goes on.
            drained: the last poll brought nothing, so all that was read before these positions is taken in.
        """
        if drained:
            for partition, at in positions.items():
                if partition in self.next:
                    self.next[partition] = max(self.next[partition], at)
        for partition, grant in list(self.restoring.items()):
            if max(grant.start, positions.get(partition, 0)) >= self._progress[partition].offset:
                del self.restoring[partition]
                yield grant

    def are_read(self, positions: Mapping[Partition, int], ends: Mapping[Partition, int]) -> bool:
        """Whether all has been read up to these ends."""
        return all(max(positions.get(p, 0), self.next.get(p, 0)) >= end for p, end in ends.items())
