"""One clock of one model: panes close in event-time order, fill baselines, feed detectors and windows.

The order of work when a watermark comes is fixed, so that no batching can show: windows that end at or before the next
pane are finished, then the pane is closed, and at last the windows that the watermark has passed are finished. Windows
are finished, or found empty, in the order of their ends, the shorter first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec

from stream_monitor.baselines.pinned import PinnedMeasure
from stream_monitor.detect.cusum.bank import Grid, Step
from stream_monitor.judge.baselines.centroids import Centroids, embedded
from stream_monitor.judge.baselines.recent import Names, Recent
from stream_monitor.judge.detection.multivariate import Joint, of_pane
from stream_monitor.judge.detection.sequential import Found, Known, SequentialDetectors
from stream_monitor.judge.panes.admission import admit_groups, admit_measures, groups_of
from stream_monitor.judge.panes.merge_queue import Came, Held, Waiting
from stream_monitor.judge.panes.open_panes import OpenBytes, nbytes_of
from stream_monitor.judge.panes.pane import Pane, Part, Placed, Places, demand_sound, events_of, split
from stream_monitor.judge.panes.windows import Slides, Window
from stream_monitor.judge.timelines.baseline_manager import Normal
from stream_monitor.judge.timelines.state import LaneRules, LaneState, Learned
from stream_monitor.profiles.categories import UNKNOWN_CATEGORIES
from stream_monitor.profiles.delta import Delta
from stream_monitor.profiles.measures import base_of, is_distance
from stream_monitor.profiles.names import END, NEVER
from stream_monitor.profiles.records import ResetRecord


@dataclass(frozen=True, slots=True)
class Finished:
    """A window that has ended."""

    lane: Lane
    window: Window


@dataclass(frozen=True, slots=True)
class Rang:
    """A sequential detector found a change at a pane, or says that one is over."""

    lane: Lane
    pane: int
    found: Found


@dataclass(frozen=True, slots=True)
class Closed:
    """A pane has closed; its counts by group."""

    lane: Lane
    pane: Pane


@dataclass(frozen=True, slots=True)
class Emptied:
    """The first window without anything after one that had something."""

    lane: Lane
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Ripe:
    """Slices of the recent past have waited for their windows until now: `lane.recent.settle` takes them in."""

    lane: Lane
    until: int


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A reset holds from the pane on that starts at `start`: these measures, where it covers them, lost a baseline."""

    lane: Lane
    reset: ResetRecord
    start: int
    measures: frozenset[str]


SLACK = 2
"""How many times too many categories an open window may have."""

Happening = Finished | Emptied | Rang | Learned | Closed | Ripe | Forgotten | Step
"""A `Step` is to be taken, see `Grid.step`, before the next happening is asked for."""


class Lane:
    """Behaviour around a `LaneState`."""

    def __init__(self, state: LaneState, rules: LaneRules, grid: Grid, held: OpenBytes | None = None) -> None:
        self.state, self.rules, self._held = state, rules, OpenBytes() if held is None else held
        self.sequential = SequentialDetectors(state.sequential, rules.sequential, grid)
        names = Names(state.ids, state.baselines, state.edges)
        self.recent = Recent(state.recent, rules.recent, names, rules.windows)
        kept = state.windows, state.earlier, state.lively
        self.slides = [Slides(pace, at, *kept) for at, pace in enumerate(rules.windows)]
        self.slide_of = {pace.size: pace.slide for pace in rules.windows}
        """By window size."""
        self.waiting = Waiting()
        self.normal = Normal(state, rules, self.sequential, self.recent, self.catch_up)
        self.joint = Joint(state.joint, rules.first, self.recent.rows)
        self.centroids = Centroids(state.centroids, state.pinned_centroids, rules.first)
        self._shortest = min(self.slides, key=lambda slides: slides.pace)
        size, slide = self._shortest.pace
        self._kept = size if rules.sequential.names and size == slide else None
        """Of windows of this size the last is kept."""
        if self._kept is None:
            state.finished = None
        self._places = Places(state.ids)
        self._rests = False
        """Nothing has come since nothing was left to be told."""
        self._next_end = NEVER
        """No window ends before this."""

    def feed(self, delta: Delta) -> None:
        """Keep a delta's parts until their panes close; what comes for a closed pane is moved or only counted."""
        self._rests = False
        for pane, part in split(delta):
            if pane < self.state.closed:
                self._feed_closed(part)
            else:
                self._hold(pane, part)

    def pin(self, version: str | None, pinned: PinnedMeasure) -> Iterator[Learned]:
        """Put a pinned baseline in force; one of distances only with its centroid, which is one for all versions."""
        feature = base_of(pinned.measure) if self.state.name == "input" and is_distance(pinned.measure) else None
        if feature is not None:
            if pinned.centroid is None or version is not None or not self.centroids.takes(feature, pinned.centroid):
                return
            self.centroids.pin(feature, pinned.centroid)
        yield from self.normal.pin(version, pinned)

    def _feed_closed(self, part: Part) -> None:
        if self.state.name != "input":  # labels and feedback are dear: they count in the first pane not yet closed
            self._hold(self.state.closed, part)
            return
        admit_groups([part], self.state.ids, self.rules.caps)
        self.state.after_idle += events_of(part)
        for cell, group in enumerate(groups_of(part, self.state.ids).tolist(), part.first):
            if group < 0:
                continue
            for window in self.state.windows:
                window.begin(self.state.closed)
                window.add_after_idle(group + 1, group, int(part.delta.counts[cell].sum()))

    def _hold(self, pane: int, part: Part) -> None:
        self.state.open.setdefault(pane, []).append(part)
        self._held.nbytes += nbytes_of(part)

    def _take(self, pane: int) -> list[Part]:
        parts = self.state.open.pop(pane)
        self._held.nbytes -= sum(map(nbytes_of, parts))
        return parts

    def rest(self, watermark: int) -> bool:
        """Pass a watermark up to which nothing is to be closed or told, as in a lane that nothing came for."""
        state = self.state
        self._rests = self._rests or not (state.lively or state.waiting)
        if self._rests:
            state.closed = max(state.closed, watermark - watermark % self.rules.pane_ms)
        return self._rests

    def advance(self, watermark: int, last: int = END) -> Iterator[Happening]:
        """Close every pane that ends at or before the watermark, oldest first.

        `last` is the time of the newest event anywhere; it matters where the watermark is END, see `Slides.due`.
        """
        size = self.rules.pane_ms
        for start in sorted(pane for pane in self.state.open if pane + size <= watermark):
            if start >= self._next_end or self.recent.plan is not None:  # else nothing ends: most panes
                yield from self._finish(start)
            for reset in self.normal.due(start):
                measures = self.normal.meant(reset)
                self.centroids.forget(reset)
                yield from self.normal.forget(reset, start)
                yield Forgotten(self, reset, start, measures | self.joint.forget(reset))
            self.state.closed = start + size
            yield from self._close(*self._pane(start, self._take(start)))
        yield from self._finish(watermark, last)
        if watermark >= END:
            self.state.earlier.clear()
        self.state.closed = max(self.state.closed, watermark - watermark % size)

    def _finish(self, until: int, last: int = END) -> Iterator[Happening]:
        if until < self._next_end:
            yield from self._ripen(until)
            return
        while (next_one := _first_due(self.slides, until, last)) is not None:
            end, size, slides = next_one
            self.catch_up()
            window = slides.finish(end, self._trim)
            if window is None:
                yield Emptied(self, end - size, size)
                continue
            self._settle(window)
            if size == self._kept:
                self.state.finished = msgspec.structs.replace(window, values={}, categories={}, sampled={})
            yield from self._ripen(end - 1)
            yield Finished(self, window)
        self._next_end = min(until - until % pace.slide + pace.slide for pace in self.rules.windows)
        yield from self._ripen(until)

    def _ripen(self, until: int) -> Iterator[Ripe]:
        if self.recent.plan is None:
            return
        if self.recent.ends(until):
            self.catch_up()
        if self.recent.ripe(until, self.joint.in_force):
            yield Ripe(self, until)

    def preview(self, last: int) -> Iterator[Finished]:
        """Windows as they stand up to the time of the `last` event, open panes included; looking changes nothing."""
        self.catch_up()
        ids, places = self.state.ids, self._places
        self.state.ids = ids.copy()
        self._places = Places(self.state.ids)
        try:
            yield from self._preview(last)
        finally:
            self.state.ids, self._places = ids, places

    def _preview(self, last: int) -> Iterator[Finished]:
        for slides in self.slides:
            view = slides.copy()
            for start in sorted(self.state.open):
                yield from self._shown(view, start, END)
                view.filling.begin(start)
                pane, moved = self._pane(start, self.state.open[start])
                view.filling.add(pane)
                view.filling.take(Came([Held.of(pane)]))
                view.filling.approximate |= moved
                self._settle(view.filling)
            yield from self._shown(view, END, last)

    def _shown(self, view: Slides, until: int, last: int) -> Iterator[Finished]:
        while (end := view.due(until, last)) is not None:
            window = view.finish(end, self._trim)
            if window is not None:
                self._settle(window)
                yield Finished(self, window)

    def catch_up(self) -> None:
        """Let windows take in what waits: before somebody looks at them, or they are written."""
        came = self.waiting.take()
        if came is None:
            return
        filling = self.state.recent.filling
        for window in (*self.state.windows, *([filling] if filling is not None else [])):
            window.take(came)
            self._trim(window, SLACK)

    def retained(self) -> list[list[Window]]:
        """By window size: the slices that are kept, oldest first, the last of which holds the pane that closed last."""
        self.catch_up()
        chains = [[*slides.earlier.get(slides.pace.size, ()), slides.filling] for slides in self.slides]
        if self.state.finished is not None:
            chains.append([self.state.finished, self._shortest.filling])
        return chains

    # --- a pane ---

    def _pane(self, start: int, parts: list[Part]) -> tuple[Pane, set[int]]:
        """A pane of its parts, and the numbers of measures of which some counts were moved from former edges."""
        ids = self.state.ids
        parts, names = self.normal.on_edges(parts)
        known = [self._places.known(part) for part in parts]
        strange = [part for part, found in zip(parts, known, strict=True) if found is None]
        others = iter(self._place(strange)) if strange else iter(())
        placed = [found or next(others) for found in known]
        rows = of_pane(placed, ids.names)
        vectors = embedded(placed, rows) if rows else []
        if vectors and (far := self.centroids.distances(start, vectors, list(ids.groups))) is not None:
            placed += self._place([far])
        pane = Pane(start, placed, ids, self.normal.settled_edges)
        pane.rows, pane.vectors = rows, vectors
        return pane, {ids.measures[name] for name in names if name in ids.measures}

    def _place(self, parts: list[Part]) -> list[Placed]:
        ids, caps = self.state.ids, self.rules.caps
        for part in parts:
            if part.whole or part.rows is None:  # else its delta was looked at when it was split
                demand_sound(part.delta)
        admit_groups(parts, ids, caps)
        admitted = admit_measures(parts, self._places, caps.measures)
        return [self._places.placed(part, groups_of(part, ids)) for part in admitted]

    def _close(self, pane: Pane, moved: set[int]) -> Iterator[Happening]:
        for window in self.state.windows:
            window.begin(pane.start)
            window.approximate |= moved
            window.add(pane)
        self.recent.add(pane)
        if self.waiting.add(pane):
            self.catch_up()
        yield from self.normal.fill(pane)
        self.joint.fill(pane, pane.start + self.rules.pane_ms)
        if pane.vectors:
            self.centroids.fill(pane, pane.start + self.rules.pane_ms)
        for window in self.state.windows:
            self._settle(window)
        yield Closed(self, pane)
        if self.sequential.active:
            yield from self._detect(pane)

    def _trim(self, window: Window, slack: int = 1) -> None:
        """Bound the categories that a window keeps; those that are left in the end do not depend on when."""
        window.trim(partial(self.normal.categories, start=window.start), UNKNOWN_CATEGORIES, slack)

    def _settle(self, window: Window) -> None:
        """Bin the values that wait in a window for the edges of their measures, where there are such by now."""
        if window.values:
            names = list(self.state.ids.measures)
            for measure in sorted({measure for _, measure in window.values}):
                if (edges := self.state.edges.get(names[measure])) is not None:
                    window.settle_values(measure, edges)

    def _detect(self, pane: Pane) -> Iterator[Happening]:
        ids = self.state.ids
        known = Known(list(ids.groups), list(ids.measures), self.state.baselines, self.state.edges, self.recent)
        for said in self.sequential.detect(pane, pane.start + self.rules.pane_ms, known):
            yield Rang(self, pane.start, said) if isinstance(said, Found) else said


def _first_due(all_slides: Sequence[Slides], until: int, last: int) -> tuple[int, int, Slides] | None:
    """(end, size, slides) of the window that ends first, of those the shortest."""
    due = [(end, s.pace.size, s) for s in all_slides if (end := s.due(until, last)) is not None]
    return min(due, key=lambda one: one[:2], default=None)
