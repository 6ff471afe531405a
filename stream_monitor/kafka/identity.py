"""The topics to which a committed offset belongs: its metadata holds their ids (KIP-516).

A topic that is deleted and created again has the same name, but the old offsets mean nothing in it. A group therefore
commits the ids of all topics on which its offsets depend. A worker that resumes from the offsets compares the ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import orjson
import xxhash

from stream_monitor.config.settings import Settings
from stream_monitor.kafka.interface import Topic
from stream_monitor.stages.contract import Partition, Position

Topics = Mapping[str, Topic]
"""Topics by role. Topics that do not exist are absent."""

CONSEQUENCES = {
    "pending": "predictions that wait for their labels are gone",
    "state": "the judges' baselines and open alerts are gone",
}
FALLBACK = "what nobody had read of the old one is gone"


def ids_in(settings: Settings, topics: Topics) -> dict[str, str]:
    """The ids of the topics that have one, by a hash of the topic name: another topic for a role then loses nothing."""
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
    """Roles whose topic is gone or has another id than the known one. A broker without ids gives no evidence."""
    found = set()
    for role in roles:
        before, now = known.get(_key(settings, role)), topics.get(role)
        if before is not None and (now is None or (now.id is not None and now.id != before)):
            found.add(role)
    return found


def grown(known: Topics, topics: Topics) -> set[str]:
    """Roles of topics whose number of partitions differs from the known one."""
    return {role for role, topic in known.items() if role in topics and topics[role].partitions != topic.partitions}


def refusal(settings: Settings, roles: Iterable[str], topics: Topics) -> str:
    """Why a worker stops when topics were created again, and how to continue."""
    lines = []
    for role in roles:
        what = "was deleted and made anew" if role in topics else "was deleted"
        lines.append(f"{settings.topic(role)} {what} since the last commit: {CONSEQUENCES.get(role, FALLBACK)}")
    return (
        "; ".join(lines) + ". `run --accept-new-topics` goes on: it reads a new topic from its beginning and keeps "
        "what the other topics hold. Or choose another app name to begin anew."
    )


def growth(settings: Settings, roles: Iterable[str], known: Topics, topics: Topics) -> str:
    """Why a worker stops when topics get more partitions while it runs, and how to continue."""
    summary = ", ".join(
        f"{settings.topic(role)} {known[role].partitions} (now {topics[role].partitions})" for role in roles
    )
    moved = "models have moved between judges: choose another app name to begin anew"
    if "profiles" not in roles:
        moved = "ids have moved away from their predictions: `run --accept-repartition` goes on, and labels miss those"
    return f"topics had other numbers of partitions when this worker started: {summary}. {moved}"


def lost_offset(settings: Settings, partition: Partition, changelog: str) -> str:
    """Why a worker stops at a partition without an offset whose change log holds records.

    A worker that read the partition from its beginning would count every event a second time.
    """
    topic, number = settings.topic(partition[0]), partition[1]
    return (
        f"{topic}/{number}: the committed offset is gone, but {settings.topic(changelog)}/{number} holds what was "
        "committed with it. The group's offsets have expired, or the topic was made anew. If it was made anew, "
        "`run --accept-new-topics` reads it from its beginning. Or choose another app name to begin anew."
    )
