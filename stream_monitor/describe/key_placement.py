"""Whether keys lie where a partitioner puts them: labels meet predictions only where both producers place ids alike.

A few keys of each batch are looked at, so this costs the hot loop nothing that could be measured. It changes no
result; it says why labels do not join.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from scipy.special import betainc

from stream_monitor.stages.contract import Message

SAMPLE = 16
"""Keys of a batch that are looked at."""
ENOUGH = 200
TOLERATED = 0.01
"""Share of misplaced keys, of at least `ENOUGH`, that is not worth a word."""
LEVEL = 1e-6
"""So seldom as many keys are misplaced when no more than the tolerated share is: at 200 keys 13 of them. It is asked
again at each commit, which a level so small allows for. A wrong partitioner of two partitions misplaces half."""

_MASK = 0xFFFFFFFF


def murmur2(key: bytes) -> int:
    """MurmurHash2 (Appleby 2008) with the seed of Kafka's Java client, 32 bits unsigned."""
    mixer, whole = 0x5BD1E995, len(key) & ~3
    value = 0x9747B28C ^ len(key)
    for at in range(0, whole, 4):
        word = int.from_bytes(key[at : at + 4], "little") * mixer & _MASK
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
"""By the name in `topics.partitioner`: Java's default, and librdkafka's for keys."""


@dataclass(slots=True)
class KeyPlacement:
    """Keys of one topic that were looked at."""

    keys: int = 0
    fits: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PARTITIONERS, 0))
    """By partitioner: those that lie where it would put them."""

    def observe(self, messages: Sequence[Message], count: int) -> None:
        """Look at the first of these, of a topic with `count` partitions."""
        for message in messages[:SAMPLE]:
            key = message.key() or b""
            self.keys += 1
            for name, place in PARTITIONERS.items():
                self.fits[name] += bool(key) and place(key, count) == message.partition()

    def misplaced(self, partitioner: str) -> int:
        """Keys that lie elsewhere than this partitioner would put them."""
        return self.keys - self.fits[partitioner]

    @property
    def partitioners(self) -> frozenset[str]:
        """Those that may have placed the keys; several where few keys differ, none where none fits."""
        return frozenset(name for name in self.fits if not _too_many(self.misplaced(name), self.keys))


def _too_many(misplaced: int, keys: int) -> bool:
    """Whether more than the tolerated share is misplaced, by an exact binomial test."""
    return misplaced > 0 and float(betainc(misplaced, keys - misplaced + 1, TOLERATED)) < LEVEL


def placement_problem(seen: Mapping[str, KeyPlacement], configured: str, rekey: bool) -> str | None:
    """What to tell a user of the topics' keys, by role; None when all is well or too little was seen."""
    found = {role: placed.partitioners for role, placed in seen.items() if placed.keys >= ENOUGH}
    if rekey:
        found = {role: names for role, names in found.items() if role == "predictions"}
    astray = [role for role, names in found.items() if not names]
    if astray:
        told = ", ".join(
            f"{seen[role].misplaced(configured):,} of {seen[role].keys:,} keys of {role}" for role in astray
        )
        return f"{told} are not where {configured} puts them: key events by prediction id, with one partitioner"
    if found and not frozenset.intersection(*found.values()):
        told = ", ".join(f"{role} by {' or '.join(sorted(names))}" for role, names in found.items())
        return f"keys are placed by different partitioners, so labels miss their predictions: {told}"
    if rekey and configured not in (placed := found.get("predictions", frozenset((configured,)))):
        return (
            f"predictions are placed by {' or '.join(sorted(placed))}, rekeyed labels by {configured}: "
            "set topics.partitioner"
        )
    return None
