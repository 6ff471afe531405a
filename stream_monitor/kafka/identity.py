"""Which topics a committed offset is of: their ids (KIP-516) travel in its metadata.

A topic that is deleted and made again has the same name, and offsets of the old one mean nothing in it. What a group
committed names the ids of all topics that it stands on, so whoever goes on from it can tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import orjson
import xxhash

from stream_monitor.config.settings import Settings
from stream_monitor.kafka.interface import Topic
from stream_monitor.stages.contract import Partition, Position

Topics = Mapping[str, Topic]
"""By role; topics that do not exist are absent."""

CONSEQUENCES = {
    "pending": "predictions that wait for their labels are gone",
    "state": "the judges' baselines and open alerts are gone",
}
FALLBACK = "what nobody had read of the old one is gone"


def ids_in(settings: Settings, topics: Topics) -> dict[str, str]:
    """The ids of topics that have one, by a hash of their names: that a role gets another topic is no loss."""
    return {_key(settings, role): topic.id for role, topic in topics.items() if topic.id is not None}


def _key(settings: Settings, role: str) -> str:
    return xxhash.xxh32_hexdigest(settings.topic(role).encode())


def named(position: Position, ids: Mapping[str, str]) -> Position:
    """The same position, with the ids of the topics in its metadata."""
    metadata = orjson.loads(position.metadata or "{}") | ({"ids": dict(ids)} if ids else {})
    return Position(position.offset, orjson.dumps(metadata).decode())


def ids_of(metadata: str) -> dict[str, str]:
    """The ids in the metadata of a position; none where a former version committed it."""
    found = orjson.loads(metadata or "{}").get("ids", {})
    return {str(topic): str(topic_id) for topic, topic_id in found.items()}


def made_anew(settings: Settings, known: Mapping[str, str], roles: Iterable[str], topics: Topics) -> set[str]:
    """Roles whose topic has another id than the known one, or is gone; a broker without ids tells nothing."""
    found = set()
    for role in roles:
        before, now = known.get(_key(settings, role)), topics.get(role)
        if before is not None and (now is None or (now.id is not None and now.id != before)):
            found.add(role)
    return found


def grown(known: Topics, topics: Topics) -> set[str]:
    """Roles of topics that have another number of partitions than when they were known."""
    return {role for role, topic in known.items() if role in topics and topics[role].partitions != topic.partitions}


def refusal(settings: Settings, roles: Iterable[str], topics: Topics) -> str:
    """Why a worker stops at topics that were made anew, and how to go on."""
    lines = []
    for role in roles:
        what = "was deleted and made anew" if role in topics else "was deleted"
        lines.append(f"{settings.topic(role)} {what} since the last commit: {CONSEQUENCES.get(role, FALLBACK)}")
    return (
        "; ".join(lines) + ". `run --accept-new-topics` goes on: it reads a new topic from its beginning and keeps "
        "what the other topics hold. Or choose another app name to begin anew."
    )


def growth(settings: Settings, roles: Iterable[str], known: Topics, topics: Topics) -> str:
    """Why a worker stops when topics get more partitions while it runs, and how to go on."""
    told = ", ".join(
        f"{settings.topic(role)} {known[role].partitions} (now {topics[role].partitions})" for role in roles
    )
    moved = "models have moved between judges: choose another app name to begin anew"
    if "profiles" not in roles:
        moved = "ids have moved away from their predictions: `run --accept-repartition` goes on, and labels miss those"
    return f"topics had other numbers of partitions when this worker started: {told}. {moved}"


def lost_offset(settings: Settings, partition: Partition, changelog: str) -> str:
    """Why a worker stops at a partition without an offset whose change log holds something.

    Whoever read it from its beginning would count everything a second time.
    """
    topic, number = settings.topic(partition[0]), partition[1]
    return (
        f"{topic}/{number}: the committed offset is gone, but {settings.topic(changelog)}/{number} holds what was "
        "committed with it. The group's offsets have expired, or the topic was made anew. If it was made anew, "
        "`run --accept-new-topics` reads it from its beginning. Or choose another app name to begin anew."
    )
