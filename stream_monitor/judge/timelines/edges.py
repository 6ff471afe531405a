"""The edges of a timeline's measures, and their life.

A measure's first baseline makes its edges, and counts lie on them from then on. A reset that forgets all baselines of a
measure lets the next baseline build new edges. Until then windows count on the present edges, and describe is asked for
values. Before describe has read this request, it still sends counts on the present edges. The new baseline leaves them
out, because their values are unknown, and keeps only their number. Once the new edges exist, later counts on former
edges are moved to them.

| phase | what happens | next phase | what describe is told |
|---|---|---|---|
| NONE | the first baseline with numbers is complete (`activate`) | ACTIVE | the edges |
| NONE | counts come on edges that are not known here (`ask`) | NONE | version 0, once: send values |
| NONE | a baseline is pinned (`activate`) | ACTIVE | the edges |
| ACTIVE | counts come on edges that are not known here | ACTIVE | the edges, once: a former version made others |
| ACTIVE | a reset of all baselines is scheduled | ACTIVE | the edges, and the pane until which it may count on them |
| ACTIVE | the reset takes effect (`rebuild`) | REBUILDING | nothing more |
| ACTIVE | a baseline of another centroid is pinned (`activate`) | ACTIVE | the former edges, and the new ones |
| REBUILDING | the next baseline is complete or pinned (`activate`) | ACTIVE | the former edges, and the new ones |
| REBUILDING | the next baseline has no numbers (`keep`) | ACTIVE | the edges, without an end |
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import Enum

from stream_monitor.baselines.baseline import BaselineBuilder
from stream_monitor.judge.panes.pane import Pane, PanePart
from stream_monitor.judge.panes.rebinning import Move, move_pane, move_window, on_present_edges, unknown_edges
from stream_monitor.judge.timelines.state import CatalogUpdate, TimelineRules, TimelineState
from stream_monitor.profiles.bin_catalog import EdgesRecord
from stream_monitor.profiles.bins import BinEdges
from stream_monitor.profiles.delta import NumericRows
from stream_monitor.profiles.names import NEVER

KEPT_EDGES = 8
"""How many former versions of a measure's edges are kept. Of counts on older versions only the moments remain."""

KEPT_LISTS = 256
"""Lists of versions that are known to be the active ones."""


class EdgePhase(Enum):
    """Where a measure's edges are in their life."""

    NONE = "none"
    ACTIVE = "active"
    REBUILDING = "rebuilding"


class MeasureEdges:
    """Makes, renews and announces edges. The data lies in `TimelineState`.

    `flush_merges` merges the queued panes into their windows.
    """

    def __init__(self, state: TimelineState, rules: TimelineRules, flush_merges: Callable[[], None]) -> None:
        self.state, self.rules, self._flush_merges = state, rules, flush_merges
        self._asked: dict[str, bool] = {}
        """Measures that need values from describe; True once it was told so."""
        self._tell_again = set[str]()
        self._checked: dict[int, tuple[list[str], list[int]]] = {}
        """Names and versions of deltas, by id of the list of versions: all of them are the active ones."""

    def phase(self, name: str) -> EdgePhase:
        """The phase of a measure's edges."""
        if name in self.state.edges_to_rebuild:
            return EdgePhase.REBUILDING
        return EdgePhase.ACTIVE if name in self.state.edges else EdgePhase.NONE

    def on_present(self, parts: list[PanePart]) -> tuple[list[PanePart], set[str]]:
        """The parts with their counts on the active edges, and the measures whose counts were moved to get there."""
        if all(self._is_present(part.delta.numeric) for part in parts):
            return parts, set()
        edges, former = self.state.edges, self.state.former_edges
        self._tell_again |= unknown_edges(parts, edges, former) - self.state.told_again - self.state.edges_to_rebuild
        return on_present_edges(parts, edges, former)

    def _is_present(self, rows: NumericRows) -> bool:
        """Whether no row is counted on other edges than the active ones. Nearly all tables share a few lists."""
        versions, edges = rows.edges, self.state.edges
        known = self._checked.get(id(versions))
        if known is not None and known[0] is rows.names and known[1] is versions:
            return True
        for name, version in zip(rows.names, versions, strict=True):
            if version and name in edges and version != edges[name].version:
                return False
        if len(self._checked) >= KEPT_LISTS:
            self._checked.clear()
        self._checked[id(versions)] = rows.names, versions
        return True

    @property
    def settled(self) -> Mapping[str, BinEdges]:
        """The edges on which values are binned at once; measures whose edges are being rebuilt are left out."""
        edges, renewing = self.state.edges, self.state.edges_to_rebuild
        return {name: edges[name] for name in edges if name not in renewing} if renewing else edges

    def next(self, name: str, builder: BaselineBuilder) -> BinEdges:
        """The next edges of a measure: a later known version, because profiles may be counted on it, or new ones."""
        present, former = self.state.edges.get(name), self.state.former_edges.get(name, {})
        later = [version for version in former if present is None or version > present.version]
        made = builder.edges(self.rules.limits.get(name, ()), 1 if present is None else present.ordinal + 1)
        return made if not later or made.version in later else BinEdges(min(later), former[min(later)])

    def keep(self, name: str) -> Iterator[CatalogUpdate]:
        """Keep the present edges: the measure's new baseline has no numbers, so it needs none."""
        if self.phase(name) is EdgePhase.REBUILDING:
            self.state.edges_to_rebuild.remove(name)
            yield self.notice(name)

    def rebuild(self, measure: str | None) -> None:
        """A reset forgot all baselines of a measure, or of all measures (None): the next baselines build new edges."""
        self.state.edges_to_rebuild |= {name for name in self.state.edges if measure in (None, name)}

    def ask(self, name: str) -> None:
        """Counts came on edges that are not known here: describe must send values."""
        self._asked.setdefault(name, False)

    def requests(self) -> Iterator[CatalogUpdate]:
        """One request to describe for each measure that needs values, or whose edges describe must be told again."""
        for name in sorted(name for name, sent in self._asked.items() if not sent):
            self._asked[name] = True
            yield CatalogUpdate(self.state.name, EdgesRecord(self.rules.model, self.state.name, name, 0))
        for name in sorted(self._tell_again):
            yield self.notice(name)
        self.state.told_again |= self._tell_again
        self._tell_again = set()

    def activate(self, name: str, edges: BinEdges, pane: Pane | None = None) -> Iterator[CatalogUpdate]:
        """Activate these edges. Move the counts of open windows and of the closing pane to them."""
        previous = self.state.edges.get(name)
        self._asked.pop(name, None)
        self._checked.clear()
        self.state.told_again.discard(name)
        self.state.edges[name] = edges
        self.state.edges_to_rebuild.discard(name)
        if previous is not None:
            versions = self.state.former_edges.setdefault(name, {})
            versions[previous.version] = previous.edges
            versions.pop(edges.version, None)
            if len(versions) > KEPT_EDGES:
                del versions[min(versions)]
            self._move(name, Move(previous.edges, edges.edges), pane)
            record = EdgesRecord(self.rules.model, self.state.name, name, previous.version, previous.edges, former=True)
            yield CatalogUpdate(self.state.name, record)
        yield self.notice(name)

    def _move(self, name: str, move: Move, pane: Pane | None) -> None:
        measure = self.state.ids.measures.get(name)
        if measure is None:
            return
        self._flush_merges()  # queued panes, and the closing pane, are counted on the former edges
        parts = [part for parts in self.state.closed_parts.values() for part in parts]
        last_tumbling = [] if self.state.last_tumbling is None else [self.state.last_tumbling]
        for window in [*self.state.windows, *parts, *last_tumbling]:
            move_window(window, measure, move)
        if pane is not None:
            move_pane(pane, measure, move)

    def notice(self, name: str) -> CatalogUpdate:
        """The edges of a measure for describe, with the pane until which describe may count on them."""
        timeline, edges = self.state.name, self.state.edges[name]
        ends = [r.since for r in self.state.resets if r.renews_edges and r.measure in (None, name)]
        until = NEVER if name in self.state.edges_to_rebuild else min(ends, default=None)
        return CatalogUpdate(
            timeline,
            EdgesRecord(self.rules.model, timeline, name, edges.version, edges.edges, until=until, tail=edges.tail),
        )
