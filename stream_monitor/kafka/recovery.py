"""Where a stage goes on from: committed offsets, its change logs, and whether the topics are still the same.

A position says what it stands on: the ids of the topics, and records that are skipped. Whoever goes on checks it, and
what is committed next says it again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence

from stream_monitor.config.settings import Settings
from stream_monitor.errors import RestoreError
from stream_monitor.kafka.identity import grown, growth, ids_in, ids_of, lost_offset, made_anew, named, refusal
from stream_monitor.kafka.interface import Client, Topic
from stream_monitor.kafka.skips import checked_skips, place_of, recorded, skips_of
from stream_monitor.stages.contract import Consent, Message, Partition, Position, Skip, Stage

log = logging.getLogger(__name__)

CATALOG = "baselines"
"""A topic that is only told what a stage remembers: made anew, it is filled again."""


class Recovery:
    """The beginnings of one worker."""

    def __init__(self, client: Client, stage: Stage, settings: Settings, consent: Consent) -> None:
        self.client, self.stage, self.settings = client, stage, settings
        self._accept, self._skips = consent.new_topics, set(consent.skips)
        """Records that are left out, as a person said at this start or a former one."""
        self.restores = 0
        """Partitions whose state was read back."""
        self._topics: dict[str, Topic] = {}
        """Those that what is committed stands on, as they were when partitions were assigned last."""
        self._ids: dict[str, str] = {}
        """Of these topics, as they are committed."""
        self._anew: set[str] = set()
        """Roles of topics that were found to be made anew then."""
        self._unnamed: dict[Partition, Position] = {}
        """What was committed without the ids that hold now, by a former version or with a topic that is gone."""

    def restore(self, partitions: Sequence[Partition], alive: Callable[[], None]) -> dict[Partition, int]:
        """Let the stage own partitions; where reading begins in each. `alive` is called now and then.

        Raises:
            RestoreError: nobody can prove that nothing would be lost.
        """
        positions = self._recognised(self.client.committed(partitions))
        self._skips = checked_skips(self._skips.union(*(skips_of(p.metadata) for p in positions.values())))
        logs = {}
        for partition, position in positions.items():
            alive()
            start = self.stage.restore_offset(partition, position)
            if start is not None:
                logs[partition[1]] = self._read_log(partition, position, start)
        self.restores += len(logs)
        starts = self.stage.assign(positions, logs)
        if CATALOG in self._anew:
            log.warning("%s was made anew: it is filled again", self.settings.topic(CATALOG))
            self.stage.tell_again(CATALOG)
        return starts

    def _read_log(self, partition: Partition, position: Position, start: int) -> list[tuple[int, bytes]]:
        role, number = self.stage.changelog, partition[1]
        records = self.client.read_log(role, number, start, self.stage.keyed)
        kept = [record for record in records if not self._skipped(Skip(role, number, record[0]))]
        if kept and not position.metadata and not self._begins_anew(partition, kept):
            raise RestoreError(lost_offset(self.settings, partition, role))
        return kept

    def _begins_anew(self, partition: Partition, records: Sequence[tuple[int, bytes]]) -> bool:
        """Whether a partition without an offset is of a topic that was made anew, and somebody said to go on."""
        if not self._accept:
            return False
        former = self.stage.source_of([value for _, value in records])
        return partition[0] in self._anew or former not in ("", self._topics[partition[0]].id)

    def _recognised(self, committed: dict[Partition, Position]) -> dict[Partition, Position]:
        """What is committed, unless it is of a topic that was made anew: RestoreError, or that one from its start."""
        gone = self._look(committed)
        refused = sorted(self._anew & set(self.stage.stands_on))
        if not refused:
            return committed
        if not self._accept:
            raise RestoreError(refusal(self.settings, refused, self._topics))
        log.warning("going on with topics that were made anew: %s", ", ".join(map(self.settings.topic, refused)))
        fresh = {p for p in committed if p[0] in gone[p] or (p[0] in refused and not committed[p].metadata)}
        starts = self.client.beginnings(fresh)
        return {
            part: Position(starts.get(part, position.offset), "")
            if part in fresh or self.stage.changelog in gone[part]
            else position
            for part, position in committed.items()
        }

    def _look(self, committed: Mapping[Partition, Position]) -> dict[Partition, set[str]]:
        """Find out what the topics are now; of each position the roles whose topics it does not stand on any more."""
        roles, former = (*self.stage.stands_on, CATALOG), self._ids
        if self._topics:
            self.require_same_topics()
        self._topics = topics = self.client.topics(roles)
        self._ids = ids_in(self.settings, topics)
        self.stage.know_sources({role: topic.id for role, topic in topics.items() if topic.id is not None})
        gone = {part: made_anew(self.settings, ids_of(p.metadata), roles, topics) for part, p in committed.items()}
        self._anew = set[str]().union(made_anew(self.settings, former, [CATALOG], topics), *gone.values())
        for part, position in committed.items():
            self._unnamed.pop(part, None)
            if position.metadata and ids_of(position.metadata) != self._ids:
                self._unnamed[part] = position
        return gone

    def require_same_topics(self) -> None:
        """RestoreError when a topic was made anew or got more partitions while this worker ran.

        Nothing that was read of another topic, or by a number that means another partition now, may be committed.
        """
        topics, known = self.client.topics(self.stage.stands_on), self._topics
        if anew := made_anew(self.settings, self._ids, self.stage.stands_on, topics):
            raise RestoreError(refusal(self.settings, sorted(anew), topics))
        if more := grown(known, topics):
            raise RestoreError(growth(self.settings, sorted(more), known, topics))

    # --- what is skipped ---

    def ours(self, role: str, messages: Sequence[Message]) -> Sequence[Message]:
        """The messages without those that are skipped."""
        if not self._skips:
            return messages
        return [m for m in messages if not self._skipped(Skip(role, m.partition(), m.offset()))]

    def _skipped(self, place: Skip) -> bool:
        if place not in self._skips:
            return False
        log.warning("skipped %s, as --skip-record said", place_of(self.settings, *place))
        return True

    # --- the commit ---

    def offsets(
        self, finished: Mapping[Partition, Position], owned: Collection[Partition]
    ) -> dict[Partition, Position]:
        """What the stage has finished, with what it stands on; positions that do not say so yet are written again."""
        again = {partition: position for partition, position in self._unnamed.items() if partition in owned}
        return {
            partition: recorded(named(position, self._ids), self._skips)
            for partition, position in (again | dict(finished)).items()
        }

    def committed(self) -> None:
        """All positions say what they stand on."""
        self._unnamed.clear()

    def forget(self, partitions: Sequence[Partition]) -> None:
        """Others own these: no offset of them is ours to commit."""
        for partition in partitions:
            self._unnamed.pop(partition, None)
