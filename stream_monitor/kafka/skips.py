"""Foreign records on our own topics that a person lets workers skip, because they end a worker at each start.

The metadata of the committed offsets records the skips. Every later start, and every other reader of the topic, leaves
the same records out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import orjson

from stream_monitor.config.settings import Settings
from stream_monitor.errors import SettingsError
from stream_monitor.stages.contract import Position, Skip

SKIPPABLE = ("profiles", "pending", "state")
MOST = 64
"""The most skipped records that the metadata of an offset names. A topic with more of them is no longer ours."""


def parse_skips(settings: Settings, texts: Iterable[str]) -> frozenset[Skip]:
    """Records by TOPIC/PARTITION/OFFSET; SettingsError where the topic of one is not ours."""
    roles = {settings.topic(role): role for role in SKIPPABLE}
    found = set()
    for text in texts:
        topic, _, place = text.partition("/") if text.count("/") == 2 else ("", "", "")
        partition, _, offset = place.partition("/")
        if topic not in roles or not (_is_number(partition) and _is_number(offset)):
            raise SettingsError(
                f"--skip-record {text}: TOPIC/PARTITION/OFFSET is expected, as the error of a worker names it; topics "
                f"are {', '.join(roles)}"
            )
        found.add(Skip(roles[topic], int(partition), int(offset)))
    if len(found) > MOST:
        raise SettingsError(f"--skip-record names {len(found)} records; at most {MOST} can be skipped")
    return frozenset(found)


def _is_number(text: str) -> bool:
    return text.isdecimal() and text.isascii() and len(text) <= 18


def skips_of(metadata: str) -> set[Skip]:
    """The skips that the metadata of an offset records."""
    return {Skip(*skip) for skip in orjson.loads(metadata or "{}").get("skipped", ())}


def recorded(position: Position, skips: Collection[Skip]) -> Position:
    """The same position, with the skips in its metadata."""
    if not skips:
        return position
    metadata = orjson.loads(position.metadata or "{}") | {"skipped": [list(skip) for skip in sorted(skips)]}
    return Position(position.offset, orjson.dumps(metadata).decode())


def checked_skips(skips: set[Skip]) -> set[Skip]:
    """SettingsError when there are more skips than the metadata of an offset can name."""
    if len(skips) > MOST:
        raise SettingsError(f"{len(skips)} records are skipped, and at most {MOST} can be: choose another app name")
    return skips


def place_of(settings: Settings, role: str, partition: int, offset: int) -> str:
    """A record in the form that `--skip-record` takes."""
    return f"{settings.topic(role)}/{partition}/{offset}"
