"""Edges that a judge published once, for a replay of a log whose profiles are counted on them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from stream_monitor.judge.timelines.state import TimelineState
from stream_monitor.profiles.bin_catalog import BinCatalog
from stream_monitor.profiles.bins import BinEdges


class EdgeUse(Enum):
    """When the published edges of a measure are used."""

    ACTIVE = "active"
    """At once: the last ones."""
    IN_TURN = "in_turn"
    """At once: the first ones, and the next ones after each reset."""
    WHEN_MADE = "when_made"
    """When the measure's baseline is complete, if this version would make others: a former version made those."""


@dataclass(frozen=True)
class KnownEdges:
    """The published edges, and when they are used."""

    catalog: BinCatalog = field(default_factory=BinCatalog)
    use: EdgeUse = EdgeUse.WHEN_MADE

    def apply(self, model: str, timeline: TimelineState) -> None:
        """Let a timeline use the published edges of its measures."""
        former = self.catalog.former(model, timeline.name)
        for measure, edges in self.catalog.of(model, timeline.name).edges.items():
            versions = {**former.get(measure, {}), edges.version: edges.edges}
            if self.use is not EdgeUse.WHEN_MADE:
                if measure not in timeline.edges:
                    version = min(versions) if self.use is EdgeUse.IN_TURN else edges.version
                    is_last = version == edges.version
                    timeline.edges[measure] = edges if is_last else BinEdges(version, versions[version])
                versions.pop(timeline.edges[measure].version, None)
            if versions:
                timeline.former_edges[measure] = versions
