"""The transactional loop: consume, step, and at each commit one transaction of outputs and input offsets.

The commit, in this order (docs/architecture.md has the same list):

 1. begin the transaction
 2. produce dead letters, change log, deltas, watermarks, outputs: the first are sent while the next are made
 3. flush, so that a new owner that reads the log's end sees all that can still commit
 4. send our own processed offsets, each with the metadata that a restart needs
 5. commit

Only then does the stage forget what it published. An aborted commit leads back to the committed offsets by the same way
as a restart; an unknown or fenced one ends the process, and the next start learns the truth from the offsets.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import methodcaller

from stream_monitor.errors import BrokerError, FormatError, RestoreError, StreamMonitorError
from stream_monitor.kafka.client import Aborted, Batch, Client, TableRecord, Topic
from stream_monitor.kafka.identity import grown, growth, ids_in, ids_of, lost_offset, made_anew, named, refusal
from stream_monitor.kafka.skips import checked_skips, place_of, recorded, skips_of
from stream_monitor.settings import Settings
from stream_monitor.stages import Consent, Message, Output, Partition, PartitionStatus, Position, Stage

log = logging.getLogger(__name__)

FEWEST, CONSUME = 50, 5_000
"""Messages that are asked for at once: fewer where a step takes long, more where it does not."""
STEP_S = 5.0
"""A step should take no longer: commits, heartbeats and signals wait for it."""
PIECE_S = 1.0
"""A stage is given no more at once than it takes in this long: a signal to stop waits for it."""
_partition = methodcaller("partition")
POLL_S = 0.2
MOST_ABORTS = 10
"""So many in a row are no accident: a person, or a supervisor's pause between starts, must help."""
TOLD = "baselines"
"""A topic that is only told what a stage remembers: made anew, it is filled again."""
NO_CONSENT = Consent()
UNTOLD = PartitionStatus(at_end=False, idle=False)
"""Of a partition whose client has taken messages that it has not handed out: its position is ahead of us."""


@dataclass(slots=True)
class Report:
    """What one commit did; what telemetry counts."""

    messages: dict[str, int] = field(default_factory=dict)
    outputs: dict[str, int] = field(default_factory=dict)
    output_bytes: int = 0
    step_s: float = 0.0
    commit_s: float = 0.0
    lag: dict[Partition, int] = field(default_factory=dict)
    paused: int = 0
    """Partitions that wait until slower ones have caught up."""
    restores: int = 0
    """Partitions whose state was read back."""
    aborted: bool = False

    def counted(self, outputs: Iterable[Output]) -> Iterator[Output]:
        """The outputs as they go by."""
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
    ) -> None:
        self.client, self.stage, self.settings, self.clock = client, stage, settings, clock
        self._accept, self._skips = consent.new_topics, set(consent.skips)
        """Records that are left out, as a person said at this start or a former one."""
        self.roles = list(roles)
        self.owned: set[Partition] = set()
        self.on_commit: Callable[[Report], None] = lambda report: None
        self.on_table: Callable[[bytes], None] | None = None
        self.failure: BaseException | None = None
        self.ready = False
        self.lag: int | None = None
        """Records that were not read yet at the last commit; None where that is not known yet."""
        self._report = Report()
        self._stale: set[Partition] = set()
        """Partitions that were given up or sought back within the latest call of consume."""
        self._starts: dict[Partition, int] = {}
        """Where reading began in each partition, or began again."""
        self._ids: dict[str, str] = {}
        """Of these topics, as they are committed."""
        self._topics: dict[str, Topic] = {}
        """Those that what is committed stands on, as they were when partitions were assigned first."""
        self._anew: set[str] = set()
        """Roles of topics that were found to be made anew when partitions were assigned last."""
        self._unnamed: dict[Partition, Position] = {}
        """What was committed without the ids that hold now, by a former version or with a topic that is gone."""
        self._aborts = 0
        """Commits in a row that were aborted."""
        self._most = 10 * FEWEST
        """Messages that the next call of consume asks for."""
        self._count = 0
        self._last_commit = clock()
        self._stopping: Callable[[], bool] = lambda: False
        self._leaving = False
        self._left_out = False
        """Messages that the client has handed out were not taken in: its position is ahead of us."""
        self._piece = CONSUME
        """Messages that a stage takes in about `PIECE_S`."""
        self._come_back()
        self._last_seen: dict[Partition, float] = {}
        client.subscribe(self.roles, self)

    # --- the loop ---

    def run(self, stopping: Callable[[], bool]) -> None:
        """Until `stopping`; leaves with a last commit, or without one where something is wrong; the caller closes."""
        self._stopping = stopping
        try:
            while not stopping():
                self.tick()
            if self.owned:
                self.commit(within=self._left_out)
        finally:
            self._leaving = True  # what is not committed by now must not be when the group takes the partitions

    def tick(self, timeout_s: float = POLL_S) -> None:
        """Consume once, and commit when it is time."""
        self._come_back()
        batches = self._consume(timeout_s)
        started, before = self.clock(), self._count
        for role, messages in batches:
            parts = {(role, number) for number in set(map(_partition, messages))}
            if not parts <= self.owned:  # revoked while the message was on its way
                messages = [m for m in messages if (role, m.partition()) in self.owned]
            if self._skips:
                messages = [m for m in messages if not self._skipped(role, m.partition(), m.offset())]
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
        """Take in messages; a worker that is to stop meanwhile leaves the rest to whoever comes next."""
        for start in range(0, len(messages), self._piece):
            if self._stopping():
                self._left_out = True
                return
            piece = messages[start : start + self._piece]
            self.stage.step(role, piece)
            self._count += len(piece)
            self._report.messages[role] = self._report.messages.get(role, 0) + len(piece)

    def _skipped(self, role: str, number: int, offset: int) -> bool:
        if (role, number, offset) not in self._skips:
            return False
        log.warning("skipped %s, as --skip-record said", place_of(self.settings, role, number, offset))
        return True

    def _consume(self, timeout_s: float) -> Iterable[Batch]:
        """Messages; none that were dequeued before their partition was sought back or given up within the call."""
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
        full = self._count >= rules.events or self.stage.held >= rules.bytes
        return bool(self.owned) and (full or (now - self._last_commit) * 1000 >= rules.interval)

    def commit(self, within: bool = False) -> None:
        """One transaction of everything since the last; `within` a call of consume, which may hold messages back.

        So it is, too, when a worker stops with messages in hand that it has not taken in.
        """
        self._come_back()
        started = self.clock()
        if self.on_table is not None:
            for record in self.client.table(TOLD):
                self._learn(record, self.on_table)
        self._demand_same_topics()
        status = dict.fromkeys(self.owned, UNTOLD) if within else self._status(started)
        report, self._report = self._report, Report()
        self._come_back(self.settings.kafka.transaction_timeout / 1000)
        try:
            self.client.transact(report.counted(self.stage.flush(status)), self._offsets)
        except Aborted as aborted:
            report.aborted = True
            self._aborts += 1
            if self._aborts >= MOST_ABORTS:
                raise BrokerError(f"{self._aborts} commits in a row were aborted, at last: {aborted}") from aborted
            self._start_over()
        else:
            self._aborts = 0
            self._unnamed.clear()
            self.stage.committed()
            if not within:  # what is not known to be at its end looks as if it were far behind
                self.client.pause(ahead := self.stage.ahead(status))
                report.paused = len(ahead)
        self._count, self._last_commit = 0, self.clock()
        if not within:
            self.lag = sum(report.lag.values())
        report.commit_s = self._last_commit - started
        self.on_commit(report)
        self._come_back()

    def _come_back(self, extra_s: float = 0.0) -> None:
        """Come this far; what follows may take `http.hung_after`, and `extra_s` where it is known to need more."""
        self._due_back = self.clock() + self.settings.http.hung_after / 1000 + extra_s

    def hung(self) -> str | None:
        """Why this worker is taken to hang; None while it comes back in time, or a restore moves. For other threads."""
        now, after = self.clock(), self.settings.http.hung_after / 1000
        late = now - max(self._due_back, self.client.moved + after)
        return f"the loop has not come back for {late + after:.0f} s" if late > 0 else None

    def _learn(self, record: TableRecord, on_table: Callable[[bytes], None]) -> None:
        """Take in a record of `baselines`; only speed depends on them, so one that is not ours is left out."""
        try:
            on_table(record.value)
        except FormatError as error:
            where = f"{self.settings.topic(TOLD)}/{record.partition} offset {record.offset}"
            log.warning("%s holds a record that is not ours, which is left out: %s", where, error)

    def _offsets(self, delivered: Sequence[int]) -> dict[Partition, Position]:
        """What the stage has finished, with the ids of the topics that it stands on."""
        again = {partition: position for partition, position in self._unnamed.items() if partition in self.owned}
        finished = again | self.stage.offsets(delivered)
        return {
            partition: recorded(named(position, self._ids), self._skips) for partition, position in finished.items()
        }

    def _demand_same_topics(self) -> None:
        """RestoreError when a topic was made anew or got more partitions while this worker ran.

        Nothing that was read of another topic, or by a number that means another partition now, may be committed.
        """
        topics, known = self.client.topics(self.stage.stands_on), self._topics
        if anew := made_anew(self.settings, self._ids, self.stage.stands_on, topics):
            raise RestoreError(refusal(self.settings, sorted(anew), topics))
        if more := grown(known, topics):
            raise RestoreError(growth(self.settings, sorted(more), known, topics))

    def _status(self, now: float) -> dict[Partition, PartitionStatus]:
        """At its end: read as far as the log goes. Idle: at its end, and nothing came for `idle_after`."""
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

    def _start_over(self, lost: Sequence[Partition] = ()) -> None:
        """Back to the committed offsets by the way of a restart."""
        partitions = sorted(self.owned)
        self._stale.update(partitions)
        self.stage.drop([*partitions, *lost])
        if partitions:
            self.client.rewind(self._restore(partitions))

    def unready(self, most: int | None = None) -> str | None:
        """Why this worker is not ready, or lags more than `most` records; None when it is. Called by other threads."""
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
        """Restore and own."""
        try:
            starts = self._restore(partitions)
            self.owned |= set(partitions)
            self._last_seen.update(dict.fromkeys(partitions, self.clock()))
            log.info("assigned %s", _told(partitions))
            if not self.ready:
                log.info("ready")
            self.ready, self.lag = True, None
            return starts
        except StreamMonitorError as error:
            self.failure = error
            return {}

    def _restore(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        positions = self._recognised(self.client.committed(partitions))
        self._skips = checked_skips(self._skips.union(*(skips_of(p.metadata) for p in positions.values())))
        logs = {}
        for partition, position in positions.items():
            self._come_back()
            start = self.stage.log_start(partition, position)
            if start is not None:
                records = self.client.read_log(self.stage.changelog, partition[1], start, self.stage.keyed)
                records = [r for r in records if not self._skipped(self.stage.changelog, partition[1], r[0])]
                if records and not position.metadata and not self._begins_anew(partition, records):
                    raise RestoreError(lost_offset(self.settings, partition, self.stage.changelog))
                logs[partition[1]] = records
        self._report.restores += len(logs)
        starts = self.stage.assign(positions, logs)
        if TOLD in self._anew:
            log.warning("%s was made anew: it is filled again", self.settings.topic(TOLD))
            self.stage.tell_again(TOLD)
        self._starts |= starts
        return starts

    def _begins_anew(self, partition: Partition, records: Sequence[tuple[int, bytes]]) -> bool:
        """Whether a partition without an offset is of a topic that was made anew, and somebody said to go on."""
        if not self._accept:
            return False
        former = self.stage.source_of([value for _, value in records])
        return partition[0] in self._anew or former not in ("", self._topics[partition[0]].id)

    def _recognised(self, committed: dict[Partition, Position]) -> dict[Partition, Position]:
        """What is committed, unless it is of a topic that was made anew: RestoreError, or that one from its start."""
        roles, former = (*self.stage.stands_on, TOLD), self._ids
        if self._topics:
            self._demand_same_topics()
        self._topics = topics = self.client.topics(roles)
        self._ids = ids_in(self.settings, topics)
        self.stage.know_sources({role: topic.id for role, topic in topics.items() if topic.id is not None})
        gone = {part: made_anew(self.settings, ids_of(p.metadata), roles, topics) for part, p in committed.items()}
        self._anew = set[str]().union(made_anew(self.settings, former, [TOLD], topics), *gone.values())
        for part, position in committed.items():
            self._unnamed.pop(part, None)
            if position.metadata and ids_of(position.metadata) != self._ids:
                self._unnamed[part] = position
        refused = sorted(self._anew & set(self.stage.stands_on))
        if not refused:
            return committed
        if not self._accept:
            raise RestoreError(refusal(self.settings, refused, topics))
        log.warning("going on with topics that were made anew: %s", ", ".join(map(self.settings.topic, refused)))
        fresh = {p for p in committed if p[0] in gone[p] or (p[0] in refused and not committed[p].metadata)}
        starts = self.client.beginnings(fresh)
        return {
            part: Position(starts.get(part, position.offset), "")
            if part in fresh or self.stage.changelog in gone[part]
            else position
            for part, position in committed.items()
        }

    def revoked(self, partitions: Sequence[Partition]) -> None:
        """Commit what is finished, then forget."""
        try:
            if self.failure is None and self.owned and not self._leaving:
                self.commit(within=True)
        except StreamMonitorError as error:
            self.failure = error
        self._give_up(partitions)
        self.stage.drop(partitions)
        log.info("gave up %s", _told(partitions))

    def _give_up(self, partitions: Sequence[Partition]) -> None:
        """Others own these: neither a message nor an offset of them is ours any more."""
        self.owned -= set(partitions)
        self._stale.update(partitions)
        for partition in partitions:
            self._unnamed.pop(partition, None)

    def lost(self, partitions: Sequence[Partition]) -> None:
        """Forget without a commit: what was taken in of all partitions since the last one is read again."""
        self._give_up(partitions)
        log.warning("lost %s: the group went on without this worker", _told(partitions))
        try:
            self._start_over(partitions)
        except StreamMonitorError as error:
            self.failure = error


def _told(partitions: Iterable[Partition]) -> str:
    numbers: dict[str, list[int]] = defaultdict(list)
    for role, number in sorted(partitions):
        numbers[role].append(number)
    return ", ".join(f"{role} {' '.join(map(str, found))}" for role, found in numbers.items())
