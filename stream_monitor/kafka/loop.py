"""The transactional loop: consume, step, and at each commit one transaction of outputs and input offsets.

The commit, in this order (docs/architecture.md has the same list):

 1. begin the transaction
 2. produce dead letters, change log, deltas, watermarks, outputs: the first are sent while the next are made
 3. flush, so that a new owner that reads the log's end sees all that can still commit
 4. send our own processed offsets, each with the metadata that a restart needs
 5. commit

Only then does the stage forget what it published. An aborted commit leads back to the committed offsets in the same
way as a restart. An unknown or fenced commit ends the process; the next start takes the outcome from the offsets.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import methodcaller

from stream_monitor.config.settings import Settings
from stream_monitor.errors import BrokerError, StreamMonitorError
from stream_monitor.kafka.interface import Aborted, Batch, Client
from stream_monitor.kafka.recovery import Recovery
from stream_monitor.kafka.tables import Tables
from stream_monitor.stages.contract import Consent, Message, Output, Partition, PartitionStatus, Position, Stage

log = logging.getLogger(__name__)

FEWEST, CONSUME = 50, 5_000
"""Messages that the loop requests at once: fewer where a step takes long, more where it does not."""
STEP_S = 5.0
"""A step should take no longer, because commits, heartbeats and signals wait for it."""
PIECE_S = 1.0
"""The loop gives a stage no more at once than it processes in this time, because a signal to stop waits for it."""
_partition = methodcaller("partition")
POLL_S = 0.2
MOST_ABORTS = 10
"""More aborts in a row are no accident: a person, or a supervisor's pause between starts, must help."""
NO_CONSENT = Consent()
UNKNOWN_STATUS = PartitionStatus(at_end=False, idle=False)
"""Of a partition whose client has taken messages without handing them out: its position is ahead of the loop."""


@dataclass(slots=True)
class Report:
    """The figures of one commit, for telemetry."""

    messages: dict[str, int] = field(default_factory=dict)
    outputs: dict[str, int] = field(default_factory=dict)
    output_bytes: int = 0
    step_s: float = 0.0
    commit_s: float = 0.0
    lag: dict[Partition, int] = field(default_factory=dict)
    paused: int = 0
    """Partitions that are paused until slower ones have caught up."""
    restores: int = 0
    """Partitions whose state was restored."""
    aborted: bool = False

    def count_outputs(self, outputs: Iterable[Output]) -> Iterator[Output]:
        """Yield the outputs unchanged, and count them."""
        for output in outputs:
            self.outputs[output.role] = self.outputs.get(output.role, 0) + 1
            self.output_bytes += len(output.value)
            yield output


class Loop:
    """Drives one stage on one client. Implements `Listener`."""

    def __init__(
        self,
        client: Client,
        stage: Stage,
        roles: Sequence[str],
        settings: Settings,
        clock: Callable[[], float],
        consent: Consent = NO_CONSENT,
        tables: Mapping[str, Callable[[bytes], None]] | None = None,
    ) -> None:
        self.client, self.stage, self.settings, self.clock = client, stage, settings, clock
        self._tables = Tables(settings, client, tables or {})
        self.recovery = Recovery(client, stage, settings, consent)
        self.roles = list(roles)
        self.owned: set[Partition] = set()
        self.on_commit: Callable[[Report], None] = lambda report: None
        self.failure: BaseException | None = None
        self.ready = False
        self.lag: int | None = None
        """Records that the loop had not read at the last commit; None where that is not known yet."""
        self._report = Report()
        self._stale: set[Partition] = set()
        """Partitions that were revoked or sought back within the latest call of consume."""
        self._starts: dict[Partition, int] = {}
        """Where reading began in each partition, or began again."""
        self._aborts = 0
        """Commits in a row that were aborted."""
        self._most = 10 * FEWEST
        """Messages that the next call of consume requests."""
        self._count = 0
        self._last_commit = clock()
        self._stopping: Callable[[], bool] = lambda: False
        self._leaving = False
        self._left_out = False
        """Whether the client handed out messages that the stage has not processed: it is ahead of the stage."""
        self._piece = CONSUME
        """Messages that a stage processes in about `PIECE_S`."""
        self._come_back()
        self._last_seen: dict[Partition, float] = {}
        client.subscribe(self.roles, self)

    # --- the loop ---

    def run(self, stopping: Callable[[], bool]) -> None:
        """Run until `stopping`, then commit a last time unless something is wrong. The caller closes the client."""
        self._stopping = stopping
        try:
            while not stopping():
                self.tick()
            if self.owned:
                self.commit()
        finally:
            self._leaving = True  # uncommitted work must stay uncommitted when the group takes the partitions

    def tick(self, timeout_s: float = POLL_S) -> None:
        """Consume once, and commit when a commit is due."""
        self._come_back()
        batches = self._consume(timeout_s)
        started, before = self.clock(), self._count
        for role, messages in batches:
            parts = {(role, number) for number in set(map(_partition, messages))}
            if not parts <= self.owned:  # revoked while the client fetched the message
                messages = [m for m in messages if (role, m.partition()) in self.owned]
            messages = self.recovery.ours(role, messages)
            self._step(role, messages)
            self._last_seen.update(dict.fromkeys(parts & self.owned, started))
        now = self.clock()
        if (taken := self._count - before) and now > started:
            self._piece = max(FEWEST, int(taken * PIECE_S / (now - started)))
        self._report.step_s += now - started
        if now - started > STEP_S:
            self._most = max(self._most // 2, FEWEST)
        elif now - started < STEP_S / 10:
            self._most = min(2 * self._most, CONSUME)
        if self._due(now):
            self.commit()

    def _step(self, role: str, messages: Sequence[Message]) -> None:
        """Process messages. A worker that must stop meanwhile leaves the rest to the next owner."""
        for start in range(0, len(messages), self._piece):
            if self._stopping():
                self._left_out = True
                return
            piece = messages[start : start + self._piece]
            self.stage.process(role, piece)
            self._count += len(piece)
            self._report.messages[role] = self._report.messages.get(role, 0) + len(piece)

    def _consume(self, timeout_s: float) -> Iterable[Batch]:
        """Messages, without those that were dequeued before this call sought back or gave up their partition."""
        self._stale.clear()
        batches = self.client.consume(self._most, timeout_s)
        self._raise_failure()
        if not self._stale:
            return batches
        fresh, again = list[Batch](), set[Partition]()
        for role, messages in batches:
            left_out = self._stale & {(role, number) for number in map(_partition, messages)}
            again |= left_out & self.owned
            fresh.append((role, [m for m in messages if (role, m.partition()) not in left_out]))
        if again:
            self.client.rewind({part: self._starts[part] for part in again})
        return [(role, messages) for role, messages in fresh if messages]

    def _due(self, now: float) -> bool:
        rules = self.settings.commit
        full = self._count >= rules.events or self.stage.buffered_bytes >= rules.bytes
        return bool(self.owned) and (full or (now - self._last_commit) * 1000 >= rules.interval)

    def commit(self, within: bool = False) -> None:
        """Commit everything since the last commit in one transaction.

        `within` a call of consume, the client may hold messages back. A worker that stops may hold messages, too, which
        the stage has not processed. The read position is then beyond those messages, and no offset may go there.
        """
        within = within or self._left_out
        self._come_back()
        started = self.clock()
        self._tables.follow()
        self.recovery.require_same_topics()
        status = dict.fromkeys(self.owned, UNKNOWN_STATUS) if within else self._status(started)
        report, self._report = self._report, Report()
        self._come_back(self.settings.kafka.transaction_timeout / 1000)
        try:
            self.client.transact(report.count_outputs(self.stage.flush(status)), self._offsets)
        except Aborted as aborted:
            report.aborted = True
            self._aborts += 1
            if self._aborts >= MOST_ABORTS:
                raise BrokerError(f"{self._aborts} commits in a row were aborted, at last: {aborted}") from aborted
            self._restart_from_committed()
        else:
            self._aborts = 0
            self.recovery.committed()
            self.stage.committed()
            if not within:  # a partition that is not known to be at its end looks as if it were far behind
                self.client.pause(ahead := self.stage.partitions_to_pause(status))
                report.paused = len(ahead)
        self._count, self._last_commit = 0, self.clock()
        if not within:
            self.lag = sum(report.lag.values())
        report.commit_s = self._last_commit - started
        self.on_commit(report)
        self._come_back()

    def _come_back(self, extra_s: float = 0.0) -> None:
        """Record progress. The next step may take `http.hung_after`, and `extra_s` more where it needs longer."""
        self._due_back = self.clock() + self.settings.http.hung_after / 1000 + extra_s

    def hung(self) -> str | None:
        """Why this worker counts as hung; None while it progresses in time or a restore advances. For other threads."""
        now, after = self.clock(), self.settings.http.hung_after / 1000
        late = now - max(self._due_back, self.client.moved + after)
        return f"the loop has not come back for {late + after:.0f} s" if late > 0 else None

    def _offsets(self, delivered: Sequence[int]) -> dict[Partition, Position]:
        return self.recovery.offsets(self.stage.offsets(delivered), self.owned)

    def _status(self, now: float) -> dict[Partition, PartitionStatus]:
        """At its end: the loop has read as far as the log goes. Idle: at its end, and no event for `idle_after`."""
        ends, positions = self.client.ends(self.owned), self.client.positions(self.owned)
        idle_after = self.settings.time.idle_after / 1000
        status: dict[Partition, PartitionStatus] = {}
        for partition in self.owned:
            lag = ends[partition] - positions[partition]
            self._report.lag[partition] = max(lag, 0)
            quiet = now - self._last_seen.setdefault(partition, now) >= idle_after
            status[partition] = PartitionStatus(
                lag <= 0, lag <= 0 and quiet, position=positions[partition], end=ends[partition]
            )
        return status

    def _restart_from_committed(self, lost: Sequence[Partition] = ()) -> None:
        """Return to the committed offsets in the same way as a restart."""
        partitions = sorted(self.owned)
        self._stale.update(partitions)
        self.stage.revoke([*partitions, *lost])
        if partitions:
            self.client.rewind(self._restore(partitions))

    def not_ready_reason(self, most: int | None = None) -> str | None:
        """Why this worker is not ready, or lags more than `most` records; None when it is. Other threads call it."""
        restored = self.client.restored
        if restored < 1:
            return f"restoring: {100 * restored:.0f} %"
        if not self.ready:
            return "no partitions yet"
        if most is None or (self.lag is not None and self.lag <= most):
            return None
        return "the lag is not known yet" if self.lag is None else f"lags by {self.lag:,} records"

    def _raise_failure(self) -> None:
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure

    # --- partitions; called within consume: an exception there would lose messages, so it is kept for `tick` ---

    def assigned(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """Restore the partitions, and own them."""
        try:
            starts = self._restore(partitions)
            self.owned |= set(partitions)
            self._last_seen.update(dict.fromkeys(partitions, self.clock()))
            log.info("assigned %s", _format_partitions(partitions))
            if not self.ready:
                log.info("ready")
            self.ready, self.lag = True, None
            return starts
        except StreamMonitorError as error:
            self.failure = error
            return {}

    def _restore(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        before = self.recovery.restores
        starts = self.recovery.restore(partitions, self._come_back)
        self._report.restores += self.recovery.restores - before
        self._starts |= starts
        return starts

    def revoked(self, partitions: Sequence[Partition]) -> None:
        """Commit finished work, then forget the partitions."""
        try:
            if self.failure is None and self.owned and not self._leaving:
                self.commit(within=True)
        except StreamMonitorError as error:
            self.failure = error
        self._give_up(partitions)
        self.stage.revoke(partitions)
        log.info("gave up %s", _format_partitions(partitions))

    def _give_up(self, partitions: Sequence[Partition]) -> None:
        """Others own these partitions: drop their messages and offsets."""
        self.owned -= set(partitions)
        self._stale.update(partitions)
        self.recovery.forget(partitions)

    def lost(self, partitions: Sequence[Partition]) -> None:
        """Forget without a commit: the loop reads everything again that it has read since the last commit."""
        self._give_up(partitions)
        log.warning("lost %s: the group went on without this worker", _format_partitions(partitions))
        try:
            self._restart_from_committed(partitions)
        except StreamMonitorError as error:
            self.failure = error


def _format_partitions(partitions: Iterable[Partition]) -> str:
    numbers: dict[str, list[int]] = defaultdict(list)
    for role, number in sorted(partitions):
        numbers[role].append(number)
    return ", ".join(f"{role} {' '.join(map(str, found))}" for role, found in numbers.items())
