"""The baselines of a timeline (those being built and the active ones) and the edges that they are counted on.

The manager builds the edges of a measure from the values of its first baseline. A reset forgets baselines from a pane
on. If it forgets all baselines of a measure, the next baseline builds new edges. Until then windows count on the old
edges, and the manager asks describe for values. Before describe has read this request, it still sends counts on the old
edges. The new baseline leaves them out, because their values are unknown, and keeps only their number. Once the new
edges exist, later counts on old edges are moved to them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping

import msgspec
import numpy as np

from stream_monitor.baselines.baseline import (
    Baseline,
    BaselineBuilder,
    PaneCounts,
    category_counts,
    keep_categories,
    rebin,
)
from stream_monitor.baselines.pinned import PinnedMeasure
from stream_monitor.detect.windows.overdispersion import Dispersion
from stream_monitor.judge.baselines.recent import RecentBaselines
from stream_monitor.judge.detection.sequential import SequentialDetectors
from stream_monitor.judge.panes.pane import Pane, PanePart
from stream_monitor.judge.panes.rebinning import Move, move_pane, move_window, on_present_edges
from stream_monitor.judge.timelines.state import CatalogUpdate, TimelineRules, TimelineState
from stream_monitor.profiles.bin_catalog import BaselineRecord, EdgesRecord
from stream_monitor.profiles.bins import BinEdges
from stream_monitor.profiles.categories import NEW_CATEGORIES
from stream_monitor.profiles.measures import LABEL, base_of
from stream_monitor.profiles.names import ALL_SEGMENTS, END, NEVER
from stream_monitor.profiles.numeric_table import PaneRows
from stream_monitor.profiles.records import ResetRecord
from stream_monitor.types import I64
from stream_monitor.wire.msgpack_arrays import pack

KEPT_EDGES = 8
"""How many former versions of a measure's edges are kept. Of counts on older versions only the moments remain."""


CatchUp = Callable[[], None]
"""Merges the queued panes into their windows."""


class BaselineManager:
    """Builds, activates, pins and resets the baselines and edges of a timeline. The data lies in `TimelineState`."""

    def __init__(
        self,
        state: TimelineState,
        rules: TimelineRules,
        sequential: SequentialDetectors,
        recent: RecentBaselines,
        flush_merges: CatchUp,
    ) -> None:
        self.state, self.rules, self.sequential, self.recent = state, rules, sequential, recent
        self._flush_merges = flush_merges
        self._baseline_version = 0
        """The number of resets so far."""
        self._is_built = np.zeros((0, 0), np.bool_)
        self._filled_categories: set[tuple[int, str]] = set()
        self._sizes = [spec.size for spec in rules.windows]
        self._unknown_edges: dict[str, bool] = {}
        """Measures that have no edges here but arrived as bin counts; the value is True once describe was notified."""

    # --- panes ---

    def on_edges(self, parts: list[PanePart]) -> tuple[list[PanePart], set[str]]:
        """The parts with their counts on the active edges, and the measures whose counts were moved to get there."""
        if not (self.state.former_edges or self.state.edges_may_be_foreign):
            return parts, set()
        return on_present_edges(parts, self.state.edges, self.state.former_edges)

    @property
    def settled_edges(self) -> Mapping[str, BinEdges]:
        """The edges on which values are binned at once; measures whose edges are being rebuilt are left out."""
        edges, renewing = self.state.edges, self.state.edges_to_rebuild
        return {name: edges[name] for name in edges if name not in renewing} if renewing else edges

    def fill(self, pane: Pane) -> Iterator[CatalogUpdate]:
        """Add a closed pane to the baselines that are being built, and activate those that are full."""
        groups, touched = list(self.state.ids.groups), set[tuple[str, str]]()
        for placed in pane.parts:
            if placed.row_index.made != self._baseline_version:
                touched = yield from self._fill(pane, groups)
                break
        builders = self.state.builders
        for group, count in pane.accepted.items():
            segment = groups[group][1]
            builders.events[segment] = builders.events.get(segment, 0) + count
        if not touched:
            return
        full = [key for key in touched if self._values(key) >= self.rules.first]
        for key in sorted(full, key=lambda key: (key[0] != ALL_SEGMENTS, key)):
            yield from self._complete(key, pane.start + self.rules.pane_ms, pane)

    def _values(self, key: tuple[str, str]) -> int:
        builder = self.state.builders.by_key[key]
        if (self.state.name, key[1]) == ("label", LABEL):  # booleans are counted twice: as numbers and categories
            return max(builder.n, builder.categorical) + builder.other
        return builder.total

    def _fill(self, pane: Pane, groups: list[tuple[str, str]]) -> Generator[CatalogUpdate, None, set[tuple[str, str]]]:
        """Add a pane to the baselines that are being built; the (segment, measure) of those that grew."""
        rows = self._rows_to_fill(pane.numbers)
        keys = dict.fromkeys(key for key in pane.categorical if key not in self._filled_categories)
        if not rows and not keys:  # later panes with the same rows need no check until the next reset
            for placed in pane.parts:
                placed.row_index.made = self._baseline_version
            return set()
        touched = self._fill_numbers(pane, rows, groups) | self._fill_categories(pane, list(keys), groups)
        for name in sorted(name for name, notified in self._unknown_edges.items() if not notified):
            self._unknown_edges[name] = True
            yield CatalogUpdate(self.state.name, EdgesRecord(self.rules.model, self.state.name, name, 0))
        return touched

    def _builder(self, segment: str, measure: str) -> BaselineBuilder | None:
        """The builder of a baseline; None when the baseline is complete."""
        key = segment, measure
        if key in self.state.baselines.shared:
            return None
        return self.state.builders.by_key.setdefault(key, BaselineBuilder())

    def _fill_numbers(self, pane: Pane, unfilled: list[int], groups: list[tuple[str, str]]) -> set[tuple[str, str]]:
        rows, touched = pane.numbers, set[tuple[str, str]]()
        names = list(self.state.ids.measures) if unfilled else []
        for row in unfilled:
            group, measure = int(rows.group[row]), int(rows.measure[row])
            segment, name = groups[group][1], names[measure]
            builder = self._builder(segment, name)
            if builder is None:
                self._is_built[group, measure] = True
                continue
            n, values = int(rows.n[row]), pane.values.get((group, measure), [])
            known = sum(map(len, values))
            if name in self.state.edges_to_rebuild or (name not in self.state.edges and known < n):
                builder.add_only_values(pane.start, values, n)
                if name not in self.state.edges:  # the model was forgotten and has come back
                    self._unknown_edges.setdefault(name, False)
                if values:
                    touched.add((segment, name))
                continue
            ends = float(rows.low[row]), float(rows.high[row])
            builder.add_moments(n, float(rows.mean[row]), float(rows.m2[row]), ends)
            builder.add_values(pane.start, values)
            bins = slice(int(rows.bin_ptr[row]), int(rows.bin_ptr[row + 1]))
            if bins.stop > bins.start:
                builder.add_counts(
                    pane.start, rows.bin_at[bins].copy(), rows.bin_n[bins].copy(), self.sequential.learns
                )
            touched.add((segment, name))
        return touched

    def _rows_to_fill(self, rows: PaneRows) -> list[int]:
        """Rows whose baseline is not known to be complete."""
        shape = len(self.state.ids.groups), len(self.state.ids.measures)
        if self._is_built.shape != shape:
            grown = np.zeros(shape, np.bool_)
            grown[: self._is_built.shape[0], : self._is_built.shape[1]] = self._is_built
            self._is_built = grown
        return np.flatnonzero(~self._is_built[rows.group, rows.measure]).tolist()

    def _fill_categories(
        self, pane: Pane, unfilled: list[tuple[int, str]], groups: list[tuple[str, str]]
    ) -> set[tuple[str, str]]:
        touched = set[tuple[str, str]]()
        tallies = pane.tallies() if unfilled else {}
        for row in unfilled:
            (group, name), (n, categories, counts) = row, tallies[row]
            segment, feature = groups[group][1], base_of(name)
            of_kind = name.startswith("kind(") and feature is not None
            builder = self._builder(segment, feature if of_kind and feature is not None else name)
            if builder is None:
                self._filled_categories.add(row)
            elif of_kind:
                builder.other += n
            else:
                builder.add_categories(categories, counts, n)
                builder.tally(pane.start, self._sizes, (categories, counts, n))
                builder.categories = keep_categories(builder.categories, frozenset(), 16 * NEW_CATEGORIES)
                touched.add((segment, name))
        return touched

    # --- baselines ---

    def _complete(self, key: tuple[str, str], since: int, pane: Pane | None = None) -> Iterator[CatalogUpdate]:
        segment, name = key
        builder = self.state.builders.by_key.pop(key)
        edges = self.state.edges.get(name)
        if builder.numeric and (edges is None or name in self.state.edges_to_rebuild):
            edges = self._next_edges(name, builder)
            yield from self._learn_edges(name, edges, pane)
        elif edges is not None and name in self.state.edges_to_rebuild:  # it has become categorical
            self.state.edges_to_rebuild.remove(name)
            yield self._edges_notice(name)
        builder.events += self.state.builders.events.get(segment, 0) - builder.left_out
        baseline = self.state.baselines.shared[key] = builder.finish(f"first-{self.rules.first}", since, edges)
        if segment == ALL_SEGMENTS:
            baseline.weights = self._weights(name, baseline)
        if edges is not None and baseline.counts is not None:
            panes = builder.panes(edges.edges)
            self.sequential.learn(key, baseline, panes)
            self._learn_dispersion(key, baseline.counts, lambda size: panes)
        elif baseline.categories is not None:
            counts = category_counts(baseline, {}, 0)[0]
            self._learn_dispersion(key, counts, lambda size: builder.category_windows(size, baseline))
        yield from self._publish_baseline(None, key, baseline)

    def _learn_dispersion(self, key: tuple[str, str], counts: I64, panes: Callable[[int], PaneCounts]) -> None:
        """Estimate overdispersion from the windows of a baseline, before the first window is judged."""
        segment, name = key
        keys = [(group, name, "") for group, (_, s) in enumerate(self.state.ids.groups) if s == segment]
        least = self.rules.sequential.detection.min_count
        for spec in self.rules.windows:
            self.state.dispersion.setdefault(spec.size, Dispersion()).begin(
                keys, counts, panes(spec.size), (spec.size, least)
            )

    def _forget_dispersion(self, name: str) -> None:
        for scatter in self.state.dispersion.values():
            scatter.forget(name)

    def _weights(self, name: str, baseline: Baseline) -> dict[str, int]:
        """The number of values of each segment in the baseline of all events.

        The baseline of all events is the first of a measure's to be complete, so the values of the segments are still
        in their builders. Segments without a builder are left out.
        """
        segments = sorted({segment for _, segment in self.state.ids.groups} - {ALL_SEGMENTS})
        builders = {s: self.state.builders.by_key.get((s, name)) for s in segments}
        numeric = baseline.counts is not None
        return {s: b.n if numeric else b.categorical for s, b in builders.items() if b is not None}

    def complete_all(self) -> Iterator[CatalogUpdate]:
        """Complete all baselines with the values so far: the last step of `baseline build`.

        A feature with nothing but arrays or objects gets no baseline, as in a stream; its length or norm gets one.
        """
        for key, builder in sorted(
            self.state.builders.by_key.items(), key=lambda item: (item[0][0] != ALL_SEGMENTS, item[0])
        ):
            if builder.n or builder.categorical:
                yield from self._complete(key, self.state.closed_until)

    def _next_edges(self, name: str, builder: BaselineBuilder) -> BinEdges:
        """The next edges of a measure: a later known version, because profiles may be counted on it, or new ones."""
        present, former = self.state.edges.get(name), self.state.former_edges.get(name, {})
        later = [version for version in former if present is not None and version > present.version]
        if later:
            return BinEdges(min(later), former[min(later)])
        return builder.edges(self.rules.limits.get(name, ()), 1 if present is None else present.ordinal + 1)

    def _learn_edges(self, name: str, edges: BinEdges, pane: Pane | None = None) -> Iterator[CatalogUpdate]:
        """Activate these edges. Move the counts of open windows and of the closing pane to them."""
        previous = self.state.edges.get(name)
        self._unknown_edges.pop(name, None)
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
        yield self._edges_notice(name)

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

    def _edges_notice(self, name: str) -> CatalogUpdate:
        """The edges of a measure for describe, with the pane until which describe may count on them."""
        timeline, edges = self.state.name, self.state.edges[name]
        ends = [r.since for r in self.state.resets if r.renews_edges and r.measure in (None, name)]
        until = NEVER if name in self.state.edges_to_rebuild else min(ends, default=None)
        return CatalogUpdate(
            timeline, EdgesRecord(self.rules.model, timeline, name, edges.version, edges.edges, until=until)
        )

    def _publish_baseline(
        self, version: str | None, key: tuple[str, str], baseline: Baseline
    ) -> Iterator[CatalogUpdate]:
        timeline, model, (segment, name) = self.state.name, self.rules.model, key
        if segment == ALL_SEGMENTS and baseline.categories is not None:
            yield CatalogUpdate(
                timeline, EdgesRecord(model, timeline, name, 1, categories=sorted(self.categories(name)))
            )
        payload = pack(msgspec.structs.replace(baseline, previous=None))
        yield CatalogUpdate(timeline, BaselineRecord(model, timeline, version, segment, name, payload))

    def notices(self) -> Iterator[CatalogUpdate]:
        """Catalog records of all edges, former edges and baselines."""
        for name in self.state.edges:
            for version, edges in self.state.former_edges.get(name, {}).items():
                record = EdgesRecord(self.rules.model, self.state.name, name, version, edges, former=True)
                yield CatalogUpdate(self.state.name, record)
            yield self._edges_notice(name)
        for key, baseline in self.state.baselines.shared.items():
            yield from self._publish_baseline(None, key, baseline)
        for (version_name, segment, name), baseline in self.state.baselines.by_version.items():
            yield from self._publish_baseline(version_name, (segment, name), baseline)

    def categories(self, name: str, start: int = END) -> frozenset[str]:
        """The categories in those baselines of all events of a measure that were active by `start` (epoch ms).

        A window uses the categories known at its own start, because it may already have dropped a category that becomes
        known while it is open. Previous baselines count too: a part of a sliding window may begin after a pin although
        its window begins before the pin.
        """
        baselines = self.state.baselines
        baselines_of_all = [b for (_, s, m), b in baselines.by_version.items() if (s, m) == (ALL_SEGMENTS, name)]
        baselines_of_all += [b] if (b := baselines.shared.get((ALL_SEGMENTS, name))) is not None else []
        baselines_of_all += [b.previous for b in baselines_of_all if b.previous is not None]
        return frozenset().union(*(b.categories or () for b in baselines_of_all if b.since <= start))

    def pin(self, version: str | None, pinned: PinnedMeasure) -> Iterator[CatalogUpdate]:
        """Activate a pinned baseline from the first open pane on. Detectors on its measure restart.

        If the measure has no edges, or its edges are being rebuilt, the edges of the pinned baseline become its edges.
        Otherwise the pinned counts move to the measure's edges. A baseline with a centroid always brings its own edges,
        because the former edges fit distances to the former centroid.
        """
        name, key = pinned.measure, (pinned.segment, pinned.measure)
        baseline = msgspec.structs.replace(pinned.baseline, since=self.state.closed_until, previous=None, pinned=True)
        if pinned.borders is not None and baseline.counts is not None:
            edges = self.state.edges.get(name)
            if edges is None or name in self.state.edges_to_rebuild or pinned.centroid is not None:
                ordinal = 1 if edges is None else edges.ordinal + 1
                yield from self._learn_edges(name, BinEdges.of(pinned.borders, ordinal))
            elif not np.array_equal(edges.edges, pinned.borders):
                ends = baseline.low, baseline.high
                baseline.counts = rebin(baseline.counts, pinned.borders, edges.edges, ends)
                baseline.approximate = True
        self.state.baselines.pin(version, pinned.segment, name, baseline)
        if pinned.centroid is not None:
            baseline.previous = None  # open windows hold distances to two centroids: do not judge them
        self._forget_dispersion(name)
        if version is None:
            self.state.builders.by_key.pop(key, None)
            self.recent.forget(key)
        self.sequential.pin(version, key, list(self.state.ids.groups))
        yield from self._publish_baseline(version, key, baseline)

    # --- resets ---

    def schedule(self, reset: ResetRecord) -> Iterator[CatalogUpdate]:
        """Keep a reset until its pane closes, and ask describe to send values from that pane on."""
        reset = msgspec.structs.replace(reset, since=max(reset.since, self.state.closed_until))
        self.state.resets = [*(r for r in self.state.resets if not r.same_scope(reset)), reset]
        if reset.renews_edges:
            for name in sorted(self.state.edges):
                if reset.measure in (None, name):
                    yield self._edges_notice(name)

    def take_due(self, start: int) -> list[ResetRecord]:
        """Remove and return the resets that take effect by the pane that starts at `start`, oldest first."""
        due = [reset for reset in self.state.resets if reset.since <= start]
        if due:
            self.state.resets = [reset for reset in self.state.resets if reset.since > start]
        return sorted(due, key=lambda reset: reset.since)

    def affected_measures(self, reset: ResetRecord) -> frozenset[str]:
        """Measures with a baseline, complete or being built, that a reset covers."""
        baselines, builders = self.state.baselines, self.state.builders
        shared = {(None, *key) for key in (*baselines.shared, *builders.by_key)}
        return frozenset(key[2] for key in (*shared, *baselines.by_version) if reset.covers(*key))

    def forget(self, reset: ResetRecord, start: int) -> Iterator[CatalogUpdate]:
        """Apply a reset from the pane that starts at `start`: drop the baselines that it covers."""
        groups, baselines, builders = list(self.state.ids.groups), self.state.baselines, self.state.builders
        for version, segment, name in sorted(baselines.by_version):
            if reset.covers(version, segment, name):
                del baselines.by_version[version, segment, name]
                self._forget_dispersion(name)
                self.sequential.pin(version, (segment, name), groups)
                yield self._removal_notice(version, (segment, name), None)
        if reset.version is None:
            for key in sorted({*baselines.shared, *builders.by_key}):
                if reset.covers(None, *key):
                    baselines.shared.pop(key, None)
                    builders.by_key[key] = BaselineBuilder(events=-builders.events.get(key[0], 0))
                    self.recent.forget(key)
                    self._forget_dispersion(key[1])
                    self.sequential.pin(None, key, groups)
                    yield self._removal_notice(None, key, start)
        if reset.renews_edges:
            self.state.edges_to_rebuild |= {name for name in self.state.edges if reset.measure in (None, name)}
        self._baseline_version += 1
        self._is_built[:] = False
        self._filled_categories.clear()

    def _removal_notice(self, version: str | None, key: tuple[str, str], since: int | None) -> CatalogUpdate:
        timeline, (segment, name) = self.state.name, key
        return CatalogUpdate(timeline, BaselineRecord(self.rules.model, timeline, version, segment, name, b"", since))
