"""Checks whether keys lie in the partitions where a partitioner puts them.

Labels join predictions only if both producers place ids in the same way. Describe checks a few keys of each batch, at
no measurable cost. The check affects no result; it explains why labels do not join.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from scipy.special import betainc

from stream_monitor.stages.contract import Message

SAMPLE = 16
"""Keys of a batch that are checked."""
ENOUGH = 200
TOLERATED = 0.01
"""Share of misplaced keys, of at least `ENOUGH`, that is not reported."""
LEVEL = 1e-6
"""Level of the test that at most the tolerated share is misplaced: of 200 keys 13 must be misplaced to reject it. The
level is small because each commit tests again. A wrong partitioner of two partitions misplaces half of the keys."""

_MASK = 0xFFFFFFFF


def murmur2(key: bytes) -> int:
    """MurmurHash2 (Appleby 2008) with the seed of Kafka's Java client, 32 bits unsigned."""
    mixer, whole = 0x5BD1E995, len(key) & ~3
    value = 0x9747B28C ^ len(key)
    for offset in range(0, whole, 4):
        word = int.from_bytes(key[offset : offset + 4], "little") * mixer & _MASK
        word = (word ^ word >> 24) * mixer & _MASK
        value = value * mixer & _MASK ^ word
    if whole < len(key):
        value = (value ^ int.from_bytes(key[whole:], "little")) * mixer & _MASK
    value = (value ^ value >> 13) * mixer & _MASK
    return value ^ value >> 15


PARTITIONERS: dict[str, Callable[[bytes, int], int]] = {
    "murmur2": lambda key, count: (murmur2(key) & 0x7FFFFFFF) % count,
    "crc32": lambda key, count: zlib.crc32(key) % count,
}
"""By the name in `topics.partitioner`: Java's default partitioner, and that of librdkafka for keys."""


@dataclass(slots=True)
class KeyPlacement:
    """The checked keys of one topic."""

    keys: int = 0
    fits: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PARTITIONERS, 0))
    """By partitioner: the number of keys that lie where it would put them."""

    def observe(self, messages: Sequence[Message], count: int) -> None:
        """Check the first of these messages, of a topic with `count` partitions."""
        for message in messages[:SAMPLE]:
            key = message.key() or b""
            self.keys += 1
            for name, place in PARTITIONERS.items():
                self.fits[name] += bool(key) and place(key, count) == message.partition()

    def misplaced(self, partitioner: str) -> int:
        """Number of keys that do not lie where this partitioner would put them."""
        return self.keys - self.fits[partitioner]

    @property
    def partitioners(self) -> frozenset[str]:
        """The partitioners that may have placed the keys; several if few keys differ, none if none fits."""
        return frozenset(name for name in self.fits if not _too_many(self.misplaced(name), self.keys))


def _too_many(misplaced: int, keys: int) -> bool:
    """Whether more than the tolerated share of keys is misplaced, by an exact binomial test."""
    return misplaced > 0 and float(betainc(misplaced, keys - misplaced + 1, TOLERATED)) < LEVEL


def placement_problem(seen: Mapping[str, KeyPlacement], configured: str, rekey: bool) -> str | None:
    """The message about the keys of the topics, by role; None if all is well or too few keys were checked."""
    partitioners = {role: placed.partitioners for role, placed in seen.items() if placed.keys >= ENOUGH}
    if rekey:
        partitioners = {role: names for role, names in partitioners.items() if role == "predictions"}
    astray = [role for role, names in partitioners.items() if not names]
    if astray:
        counts = ", ".join(
            f"{seen[role].misplaced(configured):,} of {seen[role].keys:,} keys of {role}" for role in astray
        )
        return f"{counts} are not where {configured} puts them: key events by prediction id, with one partitioner"
    if partitioners and not frozenset.intersection(*partitioners.values()):
        each = ", ".join(f"{role} by {' or '.join(sorted(names))}" for role, names in partitioners.items())
        return f"keys are placed by different partitioners, so labels miss their predictions: {each}"
    if rekey and configured not in (placed := partitioners.get("predictions", frozenset((configured,)))):
        return (
            f"predictions are placed by {' or '.join(sorted(placed))}, rekeyed labels by {configured}: "
            "set topics.partitioner"
        )
    return None
