"""One timeline of one model: panes close in event-time order, fill baselines, and feed detectors and windows.

The order of work at a new watermark is fixed, so that batching of records does not affect the result. Before each pane,
the timeline finishes the windows that end at or before its start; then it closes the pane. After the last pane it
finishes the windows that end at or before the watermark. It finishes windows, or reports them empty, in the order of
their ends; of equal ends the shorter window comes first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial

import msgspec

from stream_monitor.baselines.pinned import PinnedMeasure
from stream_monitor.detect.cusum.bank import CusumBank, PaneBatch
from stream_monitor.judge.baselines.centroids import Centroids, collect_embeddings
from stream_monitor.judge.baselines.recent import Names, RecentBaselines
from stream_monitor.judge.detection.multivariate import Joint, pane_samples
from stream_monitor.judge.detection.sequential import SequentialContext, SequentialDetectors, SequentialFinding
from stream_monitor.judge.panes.admission import admit_groups, admit_measures, groups_of
from stream_monitor.judge.panes.merge_queue import MergeBatch, MergeQueue, QueuedPane
from stream_monitor.judge.panes.open_panes import OpenBytes, nbytes_of
from stream_monitor.judge.panes.pane import IndexedPart, Pane, PanePart, RowIndexCache, events_of, require_sound, split
from stream_monitor.judge.panes.windows import Window, WindowAssembler
from stream_monitor.judge.timelines.baseline_manager import BaselineManager
from stream_monitor.judge.timelines.edges import MeasureEdges
from stream_monitor.judge.timelines.state import CatalogUpdate, TimelineRules, TimelineState
from stream_monitor.profiles.categories import UNKNOWN_CATEGORIES
from stream_monitor.profiles.delta import Delta
from stream_monitor.profiles.measures import base_of, is_distance
from stream_monitor.profiles.names import END, NEVER
from stream_monitor.profiles.records import ResetRecord


@dataclass(frozen=True, slots=True)
class WindowClosed:
    """A window has ended."""

    timeline: Timeline
    window: Window


@dataclass(frozen=True, slots=True)
class ChangeDetected:
    """A sequential detector found a change at a pane, or found that a change is over."""

    timeline: Timeline
    pane: int
    found: SequentialFinding


@dataclass(frozen=True, slots=True)
class PaneClosed:
    """A pane has closed."""

    timeline: Timeline
    pane: Pane


@dataclass(frozen=True, slots=True)
class WindowEmpty:
    """An empty window: one of the first after a window with events."""

    timeline: Timeline
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class SlicesDue:
    """Slices are due: `timeline.recent.absorb_due_slices` adds them to the recent baselines."""

    timeline: Timeline
    until: int


@dataclass(frozen=True, slots=True)
class BaselinesReset:
    """A reset took effect at the pane that starts at `start`.

    `measures` lost a baseline in the versions and segments that the reset covers.
    """

    timeline: Timeline
    reset: ResetRecord
    start: int
    measures: frozenset[str]


SLACK = 2
"""An open window may hold this many times the final number of categories."""

TimelineEvent = (
    WindowClosed | WindowEmpty | ChangeDetected | CatalogUpdate | PaneClosed | SlicesDue | BaselinesReset | PaneBatch
)
"""The caller must pass a `PaneBatch` to `CusumBank.step` before it asks for the next event."""


class Timeline:
    """Closes the panes and windows of one timeline and yields what happened as `TimelineEvent`s.

    All data that must survive a restart lies in `TimelineState`.
    """

    def __init__(
        self, state: TimelineState, rules: TimelineRules, bank: CusumBank, held: OpenBytes | None = None
    ) -> None:
        self.state, self.rules, self._open_bytes = state, rules, OpenBytes() if held is None else held
        self.sequential = SequentialDetectors(state.sequential, rules.sequential, bank)
        names = Names(state.ids, state.baselines, state.edges)
        self.recent = RecentBaselines(state.recent, rules.recent, names, rules.windows)
        kept = state.windows, state.closed_parts, state.last_window_end, state.empty_windows
        self.assembler = [WindowAssembler(spec, index, *kept) for index, spec in enumerate(rules.windows)]
        self.slide_of = {spec.size: spec.slide for spec in rules.windows}
        """By window size: the slide."""
        self.merge_queue = MergeQueue()
        self.edges = MeasureEdges(state, rules, self.flush_merges)
        self.baseline_manager = BaselineManager(state, rules, self.sequential, self.recent, self.edges)
        self.joint = Joint(state.joint, rules.first, self.recent.rows)
        self.centroids = Centroids(state.centroids, state.pinned_centroids, rules.first)
        self._shortest = min(self.assembler, key=lambda assembler: assembler.spec)
        size, slide = self._shortest.spec
        self._kept_size = size if rules.sequential.names and size == slide else None
        """The timeline keeps the last finished window of this size; None: it keeps none."""
        if self._kept_size is None:
            state.last_tumbling = None
        self._places = RowIndexCache(state.ids)
        self._rests = False
        """True when the timeline is drained: nothing open, nothing to report."""
        self._next_end = NEVER
        """No window ends before this event time."""

    def feed(self, delta: Delta) -> None:
        """Keep a delta's parts until their panes close.

        A part for a closed pane moves to the next pane (labels, feedback, observations) or is only counted (inputs).
        """
        self._rests = False
        for pane, part in split(delta):
            if pane < self.state.closed_until:
                self._feed_closed_pane(part)
            else:
                self._hold(pane, part)

    def pin(self, version: str | None, pinned: PinnedMeasure) -> Iterator[CatalogUpdate]:
        """Activate a pinned baseline.

        A baseline of distances needs its centroid, and all versions share that centroid. The pin is ignored without a
        centroid, for a single version, or if the centroid's length is not that of the embeddings.
        """
        feature = base_of(pinned.measure) if self.state.name == "input" and is_distance(pinned.measure) else None
        if feature is not None:
            if pinned.centroid is None or version is not None or not self.centroids.takes(feature, pinned.centroid):
                return
            self.centroids.pin(feature, pinned.centroid)
        yield from self.baseline_manager.pin(version, pinned)

    def _feed_closed_pane(self, part: PanePart) -> None:
        if self.state.name != "input":  # labels and feedback are scarce: count them in the first open pane
            self._hold(self.state.closed_until, part)
            return
        admit_groups([part], self.state.ids, self.rules.caps)
        self.state.after_idle += events_of(part)
        for cell, group in enumerate(groups_of(part, self.state.ids).tolist(), part.first):
            if group < 0:
                continue
            for window in self.state.windows:
                window.begin(self.state.closed_until)
                window.add_after_idle(group + 1, group, int(part.delta.counts[cell].sum()))

    def _hold(self, pane: int, part: PanePart) -> None:
        self.state.open_panes.setdefault(pane, []).append(part)
        self._open_bytes.nbytes += nbytes_of(part)

    def _take(self, pane: int) -> list[PanePart]:
        parts = self.state.open_panes.pop(pane)
        self._open_bytes.nbytes -= sum(map(nbytes_of, parts))
        return parts

    def rest(self, watermark: int) -> bool:
        """Move the watermark of a drained timeline. Return False when there may be something to close or report."""
        state = self.state
        self._rests = self._rests or not (state.last_window_end or state.waiting)
        if self._rests:
            state.closed_until = max(state.closed_until, watermark - watermark % self.rules.pane_ms)
        return self._rests

    def advance(self, watermark: int, last: int = END) -> Iterator[TimelineEvent]:
        """Close every pane that ends at or before the watermark, oldest first.

        `last` is the time of the newest event of this timeline in any partition. It matters only when the watermark is
        END, see `WindowAssembler.due`.
        """
        size = self.rules.pane_ms
        newest = last if self.state.name == "feedback" else END  # signals may be counted later than they come
        for start in sorted(pane for pane in self.state.open_panes if pane + size <= watermark and pane <= newest):
            if start >= self._next_end or self.recent.plan is not None:  # before most panes no window ends
                yield from self._finish(start)
            for reset in self.baseline_manager.take_due(start):
                measures = self.baseline_manager.affected_measures(reset)
                self.centroids.forget(reset)
                yield from self.baseline_manager.forget(reset, start)
                yield BaselinesReset(self, reset, start, measures | self.joint.forget(reset))
            self.state.closed_until = start + size
            yield from self._close(*self._pane(start, self._take(start)))
        yield from self._finish(watermark, last)
        if watermark >= END:
            self.state.closed_parts.clear()
        self.state.closed_until = max(self.state.closed_until, watermark - watermark % size)

    def _finish(self, until: int, last: int = END) -> Iterator[TimelineEvent]:
        if until < self._next_end:
            yield from self._due_slices(until)
            return
        while (due := _first_due(self.assembler, until, last)) is not None:
            end, size, assembler = due
            self.flush_merges()
            window = assembler.finish(end, self._trim)
            if window is None:
                yield WindowEmpty(self, end - size, size)
                continue
            self._bin_values(window)
            if size == self._kept_size:
                self.state.last_tumbling = msgspec.structs.replace(window, values={}, categories={}, sampled={})
            yield from self._due_slices(end - 1)
            yield WindowClosed(self, window)
        self._next_end = min(until - until % spec.slide + spec.slide for spec in self.rules.windows)
        yield from self._due_slices(until)

    def _due_slices(self, until: int) -> Iterator[SlicesDue]:
        if self.recent.plan is None:
            return
        if self.recent.ends(until):
            self.flush_merges()
        if self.recent.has_due_slices(until, self.joint.in_force):
            yield SlicesDue(self, until)

    def preview(self, last: int) -> Iterator[WindowClosed]:
        """The open windows as they are now, up to the time of the `last` event and with the open panes.

        They belong to a copy of the timeline, which may get groups and measures that this one does not have yet.
        """
        self.flush_merges()
        view = copy(self)
        view.state = msgspec.structs.replace(self.state, ids=self.state.ids.copy())
        view._places = RowIndexCache(view.state.ids)
        for assembler in self.assembler:
            yield from view._open_windows(assembler.copy(), last)

    def _open_windows(self, assembler: WindowAssembler, last: int) -> Iterator[WindowClosed]:
        for start in sorted(self.state.open_panes):
            yield from self._finished_windows(assembler, start, END)
            assembler.current.begin(start)
            pane, moved = self._pane(start, self.state.open_panes[start])
            assembler.current.add(pane)
            assembler.current.take(MergeBatch([QueuedPane.of(pane)]))
            assembler.current.approximate |= moved
            self._bin_values(assembler.current)
        yield from self._finished_windows(assembler, END, last)

    def _finished_windows(self, assembler: WindowAssembler, until: int, last: int) -> Iterator[WindowClosed]:
        while (end := assembler.due(until, last)) is not None:
            window = assembler.finish(end, self._trim)
            if window is not None:
                self._bin_values(window)
                yield WindowClosed(self, window)

    def flush_merges(self) -> None:
        """Merge the queued panes into their windows. This must precede every read or snapshot of a window."""
        batch = self.merge_queue.take()
        if batch is None:
            return
        filling = self.state.recent.filling
        for window in (*self.state.windows, *([filling] if filling is not None else [])):
            window.take(batch)
            self._trim(window, SLACK)

    def retained(self) -> list[list[Window]]:
        """By window size: the retained windows or parts, oldest first. The last one holds the newest closed pane."""
        self.flush_merges()
        chains = [
            [*assembler.closed_parts.get(assembler.spec.size, ()), assembler.current] for assembler in self.assembler
        ]
        if self.state.last_tumbling is not None:
            chains.append([self.state.last_tumbling, self._shortest.current])
        return chains

    # --- a pane ---

    def _pane(self, start: int, parts: list[PanePart]) -> tuple[Pane, set[int]]:
        """The pane made of these parts, and the numbers of the measures with counts moved from former edges."""
        ids = self.state.ids
        parts, names = self.edges.on_present(parts)
        known = [self._places.known(part) for part in parts]
        unknown = [part for part, indexed in zip(parts, known, strict=True) if indexed is None]
        newly_placed = iter(self._place(unknown)) if unknown else iter(())
        placed = [indexed or next(newly_placed) for indexed in known]
        rows = pane_samples(placed, ids.names)
        vectors = collect_embeddings(placed, rows) if rows else []
        if vectors and (distances := self.centroids.distances(start, vectors, list(ids.groups))) is not None:
            placed += self._place([distances])
        pane = Pane(start, placed, ids, self.edges.settled)
        pane.rows, pane.vectors = rows, vectors
        return pane, {ids.measures[name] for name in names if name in ids.measures}

    def _place(self, parts: list[PanePart]) -> list[IndexedPart]:
        ids, caps = self.state.ids, self.rules.caps
        for part in parts:
            if part.whole or part.rows is None:  # otherwise `split` has checked its delta
                require_sound(part.delta)
        admit_groups(parts, ids, caps)
        admitted = admit_measures(parts, self._places, caps.measures)
        return [self._places.placed(part, groups_of(part, ids)) for part in admitted]

    def _close(self, pane: Pane, moved: set[int]) -> Iterator[TimelineEvent]:
        for window in self.state.windows:
            window.begin(pane.start)
            window.approximate |= moved
            window.add(pane)
        self.recent.add(pane)
        if self.merge_queue.add(pane):
            self.flush_merges()
        yield from self.baseline_manager.fill(pane)
        self.joint.fill(pane, pane.start + self.rules.pane_ms)
        if pane.vectors:
            self.centroids.fill(pane, pane.start + self.rules.pane_ms)
        for window in self.state.windows:
            self._bin_values(window)
        yield PaneClosed(self, pane)
        if self.sequential.active:
            yield from self._detect(pane)

    def _trim(self, window: Window, slack: int = 1) -> None:
        """Limit the categories that a window keeps. The final categories do not depend on when this is called."""
        window.trim(partial(self.baseline_manager.categories, start=window.start), UNKNOWN_CATEGORIES, slack)

    def _bin_values(self, window: Window) -> None:
        window.bin_values(self.state.ids.measures, self.state.edges)

    def _detect(self, pane: Pane) -> Iterator[TimelineEvent]:
        ids = self.state.ids
        context = SequentialContext(
            list(ids.groups), list(ids.measures), self.state.baselines, self.state.edges, self.recent
        )
        for output in self.sequential.detect(pane, pane.start + self.rules.pane_ms, context):
            yield ChangeDetected(self, pane.start, output) if isinstance(output, SequentialFinding) else output


def _first_due(assemblers: Sequence[WindowAssembler], until: int, last: int) -> tuple[int, int, WindowAssembler] | None:
    """(end, size, assembler) of the window that ends first; of equal ends, the shortest."""
    due = [(end, s.spec.size, s) for s in assemblers if (end := s.due(until, last)) is not None]
    return min(due, key=lambda item: item[:2], default=None)
