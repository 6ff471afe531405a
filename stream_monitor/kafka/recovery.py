"""The point from which a stage resumes: committed offsets, its change logs, and whether the topics are the same.

A position names the ids of the topics on which it depends, and the records that are skipped. A worker that resumes
checks them, and its next commit names them again.
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
"""The judge only publishes here what it also remembers: when the topic is created again, the judge fills it again."""


class Recovery:
    """Finds where one worker's partitions begin."""

    def __init__(self, client: Client, stage: Stage, settings: Settings, consent: Consent) -> None:
        self.client, self.stage, self.settings = client, stage, settings
        self._accept, self._skips = consent.new_topics, set(consent.skips)
        """Records to skip, as a person ordered at this start or a former one."""
        self.restores = 0
        """Partitions whose state was restored."""
        self._topics: dict[str, Topic] = {}
        """The topics on which the commits depend, as they were when partitions were last assigned."""
        self._ids: dict[str, str] = {}
        """The ids of these topics, as they are committed."""
        self._anew: set[str] = set()
        """Roles of topics that had been created again at that time."""
        self._unnamed: dict[Partition, Position] = {}
        """Positions committed without the ids that hold now: by a former version, or with a topic that is gone."""

    def restore(self, partitions: Sequence[Partition], alive: Callable[[], None]) -> dict[Partition, int]:
        """Let the stage own partitions; returns where reading begins in each. Calls `alive` now and then.

        Raises:
            RestoreError: nothing can prove that no record would be lost.
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
        """Whether a partition without an offset is of a topic that was created again, and a person accepted that."""
        if not self._accept:
            return False
        former = self.stage.source_of([value for _, value in records])
        return partition[0] in self._anew or former not in ("", self._topics[partition[0]].id)

    def _anew_elsewhere(self) -> set[str]:
        """Roles of topics that were created again, by the offsets of all partitions of the group.

        A rebalance may first give a worker the partitions whose offsets went with their topic, and no others.
        """
        topics = self._topics
        parts = [(role, n) for role in self.stage.stands_on if role in topics for n in range(topics[role].partitions)]
        positions = self.client.committed(parts).values()
        return set[str]().union(*(made_anew(self.settings, ids_of(p.metadata), topics, topics) for p in positions))

    def _recognised(self, committed: dict[Partition, Position]) -> dict[Partition, Position]:
        """The committed positions. RestoreError when topics were created again; with consent, their start instead."""
        gone = self._look(committed)
        if self._accept and not all(position.metadata for position in committed.values()):
            self._anew |= self._anew_elsewhere()
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
        """Look up the current topics. Returns, by partition, the roles whose topics its position no longer matches."""
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
        """RestoreError when a topic was created again or got more partitions while this worker ran.

        Nothing that was read of another topic, or under a number that now means another partition, may be committed.
        """
        topics, known = self.client.topics(self.stage.stands_on), self._topics
        if anew := made_anew(self.settings, self._ids, self.stage.stands_on, topics):
            raise RestoreError(refusal(self.settings, sorted(anew), topics))
        if more := grown(known, topics):
            raise RestoreError(growth(self.settings, sorted(more), known, topics))

    # --- skips ---

    def ours(self, role: str, messages: Sequence[Message]) -> Sequence[Message]:
        """The messages without the skipped ones."""
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
        """The positions that the stage has finished, with ids and skips. Positions without them are written again."""
        again = {partition: position for partition, position in self._unnamed.items() if partition in owned}
        return {
            partition: recorded(named(position, self._ids), self._skips)
            for partition, position in (again | dict(finished)).items()
        }

    def committed(self) -> None:
        """All positions now name their ids and skips."""
        self._unnamed.clear()

    def forget(self, partitions: Sequence[Partition]) -> None:
        """Others own these partitions: this worker must not commit their offsets."""
        for partition in partitions:
            self._unnamed.pop(partition, None)
