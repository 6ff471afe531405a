"""The baselines of a timeline: those being built, and the active ones.

A baseline is built from the first values of a measure. A reset forgets baselines from a pane on. The module `edges` has
the life of the edges that baselines are counted on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import numpy as np

from stream_monitor.baselines.baseline import (
    Baseline,
    BaselineBuilder,
    PaneCounts,
    category_counts,
    rebin,
)
from stream_monitor.baselines.pinned import PinnedMeasure
from stream_monitor.detect.windows.overdispersion import Dispersion
from stream_monitor.judge.baselines.recent import RecentBaselines
from stream_monitor.judge.detection.sequential import SequentialDetectors
from stream_monitor.judge.panes.pane import Pane
from stream_monitor.judge.timelines.builder_feed import BuilderFeed
from stream_monitor.judge.timelines.edges import EdgePhase, MeasureEdges
from stream_monitor.judge.timelines.first_values import never_before
from stream_monitor.judge.timelines.state import CatalogUpdate, TimelineRules, TimelineState
from stream_monitor.profiles.bin_catalog import BaselineRecord, EdgesRecord
from stream_monitor.profiles.bins import BinEdges
from stream_monitor.profiles.names import ALL_SEGMENTS, END
from stream_monitor.profiles.records import ResetRecord
from stream_monitor.types import I64
from stream_monitor.wire.msgpack_arrays import pack


class BaselineManager:
    """Builds, activates, pins and resets the baselines and edges of a timeline. The data lies in `TimelineState`."""

    def __init__(
        self,
        state: TimelineState,
        rules: TimelineRules,
        sequential: SequentialDetectors,
        recent: RecentBaselines,
        edges: MeasureEdges,
    ) -> None:
        self.state, self.rules, self.sequential, self.recent = state, rules, sequential, recent
        self._edges = edges
        self._feed = BuilderFeed(state, [spec.size for spec in rules.windows], edges, sequential.learns)

    # --- panes ---

    def fill(self, pane: Pane) -> Iterator[CatalogUpdate]:
        """Add a closed pane to the baselines that are being built, and activate those that are full."""
        groups, touched = list(self.state.ids.groups), set[tuple[str, str]]()
        if self._feed.has_new_rows(pane):
            touched = self._feed.add(pane, groups)
        yield from self._edges.requests()
        builders = self.state.builders
        for group, count in pane.accepted.items():
            segment = groups[group][1]
            builders.events[segment] = builders.events.get(segment, 0) + count
        if not touched:
            return
        end = pane.start + self.rules.pane_ms
        full = [key for key in touched if self._feed.is_complete(key, end, self.rules)]
        for key in sorted(full, key=lambda key: (key[0] != ALL_SEGMENTS, key)):
            yield from self._complete(key, end, pane)

    # --- baselines ---

    def _complete(self, key: tuple[str, str], since: int, pane: Pane | None = None) -> Iterator[CatalogUpdate]:
        segment, name = key
        name_of_first = f"first-{min(self._feed.values(key), self.rules.first)}"
        builder = self.state.builders.by_key.pop(key)
        edges = self.state.edges.get(name)
        if builder.numeric and self._edges.phase(name) is not EdgePhase.ACTIVE:
            edges = self._edges.next(name, builder)
            yield from self._edges.activate(name, edges, pane)
        else:
            yield from self._edges.keep(name)
        builder.events += self.state.builders.events.get(segment, 0) - builder.left_out
        builder.events -= builder.events_before  # a baseline is about the time in which the measure has values
        if never_before(builder, self.rules.first):
            for cusums in self.state.share_cusums.values():
                cusums.forget(name)
        baseline = self.state.baselines.shared[key] = builder.finish(name_of_first, since, edges)
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

    def _forget_windows(self, name: str) -> None:
        """Forget what the windows so far have shown of a measure, because it gets another baseline."""
        for scatter in self.state.dispersion.values():
            scatter.forget(name)
        for cusums in self.state.share_cusums.values():
            cusums.forget(name)

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

        A feature with nothing but arrays or objects gets none; its length or norm gets one.
        """
        for key, builder in sorted(
            self.state.builders.by_key.items(), key=lambda item: (item[0][0] != ALL_SEGMENTS, item[0])
        ):
            if builder.n or builder.categorical:
                yield from self._complete(key, self.state.closed_until)

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
            yield self._edges.notice(name)
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
            if edges is None or self._edges.phase(name) is EdgePhase.REBUILDING or pinned.centroid is not None:
                ordinal = 1 if edges is None else edges.ordinal + 1
                yield from self._edges.activate(name, BinEdges.of(pinned.borders, ordinal, pinned.tail))
            elif not np.array_equal(edges.edges, pinned.borders):
                ends = baseline.low, baseline.high
                baseline.counts = rebin(baseline.counts, pinned.borders, edges.edges, ends)
                baseline.approximate = True
        self.state.baselines.pin(version, pinned.segment, name, baseline)
        if pinned.centroid is not None:
            baseline.previous = None  # open windows hold distances to two centroids: do not judge them
        self._forget_windows(name)
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
                    yield self._edges.notice(name)

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
                self._forget_windows(name)
                self.sequential.pin(version, (segment, name), groups)
                yield self._removal_notice(version, (segment, name), None)
        if reset.version is None:
            for key in sorted({*baselines.shared, *builders.by_key}):
                if reset.covers(None, *key):
                    baselines.shared.pop(key, None)
                    builders.by_key[key] = BaselineBuilder(events=-builders.events.get(key[0], 0))
                    self.recent.forget(key)
                    self._forget_windows(key[1])
                    self.sequential.pin(None, key, groups)
                    yield self._removal_notice(None, key, start)
        if reset.renews_edges:
            self._edges.rebuild(reset.measure)
        self._feed.restart()

    def _removal_notice(self, version: str | None, key: tuple[str, str], since: int | None) -> CatalogUpdate:
        timeline, (segment, name) = self.state.name, key
        return CatalogUpdate(timeline, BaselineRecord(self.rules.model, timeline, version, segment, name, b"", since))
