"""The facts about an app's topics that describe must know, and what a person accepts."""

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
    """Partition counts, and other facts about the topics."""

    inputs: int
    observations: int
    profiles: int
    rekey: bool = False
    """A rekey stage comes first."""
    health: bool = True
    """The topic `health` exists."""
    decisions: bool = True
    """The topic `decisions` exists."""
    accept_repartition: bool = False
    """Continue although ids have moved away from their predictions."""
    accept_new_topics: bool = False
    """Continue although topics were created again: read them from their beginning."""
    skips: Collection[Skip] = ()
    """Records on our own topics that workers leave out."""

    @property
    def consent(self) -> Consent:
        """What a person accepts for this start of the workers."""
        return Consent(self.accept_new_topics, [Skip(*skip) for skip in self.skips])

    def partitions(self, role: str) -> int:
        """The partition count of an input topic."""
        return self.observations if role == "observations" else self.inputs


def partition_of(model: str, partitions: int) -> int:
    """The `profiles` partition that holds all records of a model."""
    return xxhash.xxh3_64_intdigest(model.encode()) % partitions
