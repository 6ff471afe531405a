"""What describe must know of the topics of an app, and what a person lets it go on with."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import xxhash

from stream_monitor.stages.contract import (
    Consent,
    Skip,
)


@dataclass(frozen=True, slots=True)
class Topology:
    """Partition counts that describe must know."""

    inputs: int
    observations: int
    profiles: int
    rekey: bool = False
    """A rekey stage comes first."""
    health: bool = True
    """The topic `health` is there."""
    accept_repartition: bool = False
    """Go on although ids have moved away from their predictions."""
    accept_new_topics: bool = False
    """Go on although topics were made anew: read them from their beginning."""
    skips: Collection[Skip] = ()
    """Records of our own topics that are left out."""

    @property
    def consent(self) -> Consent:
        """What a person lets workers go on with."""
        return Consent(self.accept_new_topics, [Skip(*skip) for skip in self.skips])


def partition_of(model: str, partitions: int) -> int:
    """The `profiles` partition in which all of a model meets."""
    return xxhash.xxh3_64_intdigest(model.encode()) % partitions
