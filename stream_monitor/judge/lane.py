"""One clock of one model: panes close in event-time order, fill baselines, feed detectors and windows.

The order of work when a watermark comes is fixed, so that no batching can show: windows that end at or before the next
pane are finished, then the pane is closed, and at last the windows that the watermark has passed are finished. Windows
are finished, or found empty, in the order of their ends, the shorter first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from stream_monitor.describe.cells import ALL
from stream_monitor.describe.clocks import END, NEVER
from stream_monitor.describe.edges import Edges
from stream_monitor.describe.knowledge import BaselineRecord, EdgesRecord, Notice
from stream_monitor.describe.measures import Lane as LaneName
from stream_monitor.describe.measures import base_of
from stream_monitor.describe.profiles import NEW_CATEGORIES, UNKNOWN_CATEGORIES, Delta
from stream_monitor.detect.baselines import Baseline, Baselines, Filling, keep_categories, rebinned
from stream_monitor.detect.grid import Grid, Step
from stream_monitor.detect.history import Plan
from stream_monitor.detect.numbers import NumberRows
from stream_monitor.detect.pinned import PinnedMeasure
from stream_monitor.durations import Pace
from stream_monitor.events.arrays import pack
from stream_monitor.judge.admission import admit_groups, admit_measures, groups_of
from stream_monitor.judge.panes import Ids, Pane, Part, Places, merge, split
from stream_monitor.judge.recent import Names, Recent, RecentState
from stream_monitor.judge.sequential import Found, Known, SequentialDetectors, SequentialRules, SequentialState
from stream_monitor.judge.windows import Slides, Window
from stream_monitor.settings import CapSettings


class Filler(msgspec.Struct):
    """All baselines in the making of a lane, by (segment, measure), and the events of their segments so far."""

    by_key: dict[tuple[str, str], Filling] = {}
    events: dict[str, int] = {}


class LaneState(msgspec.Struct):
    """Everything a lane remembers; a snapshot writes just this."""

    name: LaneName
    windows: list[Window]
    """The parts, one a window size, that are being filled: see `windows.Slides`."""
    closed: int = NEVER
    """All panes that start before this have closed."""
    lively: dict[int, int] = {}
    """By window size: the end of the last window, as long as the one after it may be the first empty one."""
    ids: Ids = msgspec.field(default_factory=lambda: Ids({}, {}))
    open: dict[int, list[Part]] = {}
    filler: Filler = msgspec.field(default_factory=Filler)
    baselines: Baselines = msgspec.field(default_factory=Baselines)
    edges: dict[str, Edges] = {}
    sequential: SequentialState = msgspec.field(default_factory=SequentialState)
    recent: RecentState = msgspec.field(default_factory=RecentState)
    earlier: dict[int, list[Window]] = {}
    """By window size: the parts before those of `windows`, oldest first; none of tumbling windows."""

    @property
    def waiting(self) -> bool:
        """Whether panes or windows wait to be published."""
        return bool(self.open or self.earlier) or not all(window.empty for window in self.windows)


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
class Learned:
    """Edges or categories that describe should know of, or a baseline that came into force."""

    lane: LaneName
    record: Notice


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


Happening = Finished | Emptied | Rang | Learned | Closed | Ripe | Step
"""A `Step` is to be taken, see `Grid.step`, before the next happening is asked for."""


@dataclass(frozen=True, slots=True)
class LaneRules:
    """What a lane needs of the settings."""

    model: str
    pane_ms: int
    windows: Sequence[Pace]
    first: int
    caps: CapSettings
    limits: Mapping[str, tuple[float, ...]]
    sequential: SequentialRules
    recent: Plan | None = None


class Lane:
    """Behaviour around a `LaneState`."""

    def __init__(self, state: LaneState, rules: LaneRules, grid: Grid) -> None:
        self.state, self.rules = state, rules
        self.sequential = SequentialDetectors(state.sequential, rules.sequential, grid)
        names = Names(state.ids, state.baselines, state.edges)
        self.recent = Recent(state.recent, rules.recent, names, rules.windows)
        kept = state.windows, state.earlier, state.lively
        self.slides = [Slides(pace, at, *kept) for at, pace in enumerate(rules.windows)]
        self.slide_of = {pace.size: pace.slide for pace in rules.windows}
        """By window size."""
        self._filled = np.zeros((0, 0), np.bool_)
        self._filled_categories: set[tuple[int, str]] = set()
        self._places = Places(state.ids)

    def feed(self, delta: Delta) -> None:
        """Keep a delta's parts until their panes close; what comes for a closed pane is moved or only counted."""
        for pane, part in split(delta):
            if pane < self.state.closed:
                self._feed_closed(part)
            else:
                self.state.open.setdefault(pane, []).append(part)

    def _feed_closed(self, part: Part) -> None:
        if self.state.name != "input":  # labels and feedback are dear: they count in the first pane not yet closed
            self.state.open.setdefault(self.state.closed, []).append(part)
            return
        admit_groups([part], self.state.ids, self.rules.caps)
        for cell, group in enumerate(groups_of(part, self.state.ids).tolist(), part.first):
            if group < 0:
                continue
            for window in self.state.windows:
                window.begin(self.state.closed)
                window.add_after_idle(group + 1, group, int(part.delta.counts[cell].sum()))

    def advance(self, watermark: int, last: int = END) -> Iterator[Happening]:
        """Close every pane that ends at or before the watermark, oldest first.

        `last` is the time of the newest event anywhere; it matters where the watermark is END, see `Slides.due`.
        """
        size = self.rules.pane_ms
        if not (self.state.lively or self.state.waiting):
            self.state.closed = max(self.state.closed, watermark - watermark % size)
            return
        for start in sorted(pane for pane in self.state.open if pane + size <= watermark):
            yield from self._finish(start)
            self.state.closed = start + size
            yield from self._close(self._merge(start, self.state.open.pop(start)))
        yield from self._finish(watermark, last)
        if watermark >= END:
            self.state.earlier.clear()
        self.state.closed = max(self.state.closed, watermark - watermark % size)

    def _finish(self, until: int, last: int = END) -> Iterator[Happening]:
        while (next_one := _first_due(self.slides, until, last)) is not None:
            end, size, slides = next_one
            window = slides.finish(end, self._trim)
            if window is None:
                yield Emptied(self, end - size, size)
                continue
            self._settle(window)
            if self.recent.ripe(end - 1):
                yield Ripe(self, end - 1)
            yield Finished(self, window)
        if self.recent.ripe(until):
            yield Ripe(self, until)

    def preview(self, last: int) -> Iterator[Finished]:
        """Windows as they stand up to the time of the `last` event, open panes included; looking changes nothing."""
        for slides in self.slides:
            view = slides.copy()
            for start in sorted(self.state.open):
                yield from self._shown(view, start, END)
                view.filling.begin(start)
                view.filling.add(self._merge(start, self.state.open[start]))
            yield from self._shown(view, END, last)

    def _shown(self, view: Slides, until: int, last: int) -> Iterator[Finished]:
        while (end := view.due(until, last)) is not None:
            window = view.finish(end, self._trim)
            if window is not None:
                self._settle(window)
                yield Finished(self, window)

    def catch_up(self) -> None:
        """Merge what waits to be merged, before a snapshot."""
        for window in (*self.state.windows, self.state.recent.filling):
            if window is not None:
                window.catch_up()

    # --- a pane ---

    def _merge(self, start: int, parts: list[Part]) -> Pane:
        ids = self.state.ids
        admit_groups(parts, ids, self.rules.caps)
        parts = admit_measures(parts, self._places, self.rules.caps.measures)
        return merge(start, [(part, groups_of(part, ids)) for part in parts], self._places, self.state.edges)

    def _close(self, pane: Pane) -> Iterator[Happening]:
        yield from self._fill(pane)
        for window in self.state.windows:
            window.begin(pane.start)
            window.add(pane)
            if not window.later.categories:
                self._trim(window)
            self._settle(window)
        self.recent.add(pane, self._trim)
        yield Closed(self, pane)
        if self.sequential.active:
            yield from self._detect(pane)

    def _trim(self, window: Window) -> None:
        window.trim(self._categories, UNKNOWN_CATEGORIES)

    def _settle(self, window: Window) -> None:
        """Bin the values that wait in a window for the edges of their measures, where there are such by now."""
        if window.values:
            names = list(self.state.ids.measures)
            for measure in sorted({measure for _, measure in window.values}):
                if (edges := self.state.edges.get(names[measure])) is not None:
                    window.settle_values(measure, edges)

    # --- baselines ---

    def _fill(self, pane: Pane) -> Iterator[Happening]:
        groups = list(self.state.ids.groups)
        touched = self._fill_numbers(pane, groups) | self._fill_categories(pane, groups)
        filler = self.state.filler
        for (_, segment), count in zip(groups, pane.counts[:, 0].tolist(), strict=False):
            if count:
                filler.events[segment] = filler.events.get(segment, 0) + count
        full = [key for key in touched if filler.by_key[key].total >= self.rules.first]
        for key in sorted(full, key=lambda key: (key[0] != ALL, key)):
            yield from self._complete(key, pane.start + self.rules.pane_ms)

    def _filling(self, segment: str, measure: str) -> Filling | None:
        """The baseline in the making, None for one that is made."""
        key = segment, measure
        if key in self.state.baselines.shared:
            return None
        return self.state.filler.by_key.setdefault(key, Filling())

    def _fill_numbers(self, pane: Pane, groups: list[tuple[str, str]]) -> set[tuple[str, str]]:
        rows, touched = pane.numbers, set[tuple[str, str]]()
        unfilled = self._unfilled(rows)
        names = list(self.state.ids.measures) if unfilled else []
        for row in unfilled:
            group, measure = int(rows.group[row]), int(rows.measure[row])
            segment, name = groups[group][1], names[measure]
            filling = self._filling(segment, name)
            if filling is None:
                self._filled[group, measure] = True
                continue
            ends = float(rows.low[row]), float(rows.high[row])
            filling.add_moments(int(rows.n[row]), float(rows.mean[row]), float(rows.m2[row]), ends)
            filling.add_values(pane.start, pane.values.get((group, measure), []))
            bins = slice(int(rows.bin_ptr[row]), int(rows.bin_ptr[row + 1]))
            if bins.stop > bins.start:
                filling.add_counts(pane.start, rows.bin_at[bins], rows.bin_n[bins], self.sequential.learns)
            touched.add((segment, name))
        return touched

    def _unfilled(self, rows: NumberRows) -> list[int]:
        """Rows whose baseline is not known to be made: after a while none, and none costs nothing."""
        shape = len(self.state.ids.groups), len(self.state.ids.measures)
        if self._filled.shape != shape:
            grown = np.zeros(shape, np.bool_)
            grown[: self._filled.shape[0], : self._filled.shape[1]] = self._filled
            self._filled = grown
        filled = self._filled[rows.group, rows.measure]
        return [] if np.count_nonzero(filled) == len(filled) else np.flatnonzero(~filled).tolist()

    def _fill_categories(self, pane: Pane, groups: list[tuple[str, str]]) -> set[tuple[str, str]]:
        touched = set[tuple[str, str]]()
        for at in [at for at in pane.categories if at not in self._filled_categories]:
            (group, name), (n, names, counts) = at, pane.categories[at]
            segment, feature = groups[group][1], base_of(name)
            of_kind = name.startswith("kind(") and feature is not None
            filling = self._filling(segment, feature if of_kind and feature is not None else name)
            if filling is None:
                self._filled_categories.add(at)
            elif of_kind:
                filling.other += n
            else:
                filling.add_categories(names, counts, n)
                filling.categories = keep_categories(filling.categories, frozenset(), 16 * NEW_CATEGORIES)
                touched.add((segment, name))
        return touched

    def _complete(self, key: tuple[str, str], since: int) -> Iterator[Happening]:
        segment, name = key
        filling = self.state.filler.by_key.pop(key)
        edges = self.state.edges.get(name)
        if filling.numeric and edges is None:
            edges = filling.edges(self.rules.limits.get(name, ()))
            yield self._learn_edges(name, edges)
        filling.events = self.state.filler.events.get(segment, 0)
        baseline = self.state.baselines.shared[key] = filling.finish(f"first-{self.rules.first}", since, edges)
        if segment == ALL:
            baseline.weights = self._weights(name, baseline)
        if edges is not None and self.sequential.learns:
            self.sequential.learn(key, baseline, filling.panes(edges.borders))
        yield from self._tell(None, key, baseline)

    def _weights(self, name: str, baseline: Baseline) -> dict[str, int]:
        """Values of each segment in the baseline of all events, which is the first of a measure's to be made."""
        segments = sorted({segment for _, segment in self.state.ids.groups} - {ALL})
        found = {s: self.state.filler.by_key.get((s, name)) for s in segments}
        numeric = baseline.counts is not None
        return {s: filling.n if numeric else filling.categorical for s, filling in found.items() if filling is not None}

    def complete_all(self) -> Iterator[Happening]:
        """Make baselines of what came so far: the end of `baseline build`."""
        for key in sorted(self.state.filler.by_key, key=lambda key: (key[0] != ALL, key)):
            yield from self._complete(key, self.state.closed)

    def _learn_edges(self, name: str, edges: Edges) -> Learned:
        self.state.edges[name] = edges
        return Learned(
            self.state.name, EdgesRecord(self.rules.model, self.state.name, name, edges.version, edges.borders)
        )

    def _tell(self, version: str | None, key: tuple[str, str], baseline: Baseline) -> Iterator[Learned]:
        lane, model, (segment, name) = self.state.name, self.rules.model, key
        if segment == ALL and baseline.categories is not None:
            yield Learned(lane, EdgesRecord(model, lane, name, 1, categories=sorted(self._categories(name))))
        payload = pack(msgspec.structs.replace(baseline, previous=None))
        yield Learned(lane, BaselineRecord(model, lane, version, segment, name, payload))

    def _categories(self, name: str) -> frozenset[str]:
        """Categories of a measure that some baseline of all events names."""
        baselines = self.state.baselines
        found = [b for (_, s, m), b in baselines.by_version.items() if (s, m) == (ALL, name)]
        found += [b] if (b := baselines.shared.get((ALL, name))) is not None else []
        return frozenset().union(*(b.categories or () for b in found))

    def pin(self, version: str | None, pinned: PinnedMeasure) -> Iterator[Learned]:
        """Put a pinned baseline in force from the first pane not yet closed; detectors on its measure start anew.

        Its borders become the measure's edges when there are none; otherwise its counts move to those there are.
        """
        name, key = pinned.measure, (pinned.segment, pinned.measure)
        baseline = msgspec.structs.replace(pinned.baseline, since=self.state.closed, previous=None, pinned=True)
        if pinned.borders is not None and baseline.counts is not None:
            edges = self.state.edges.get(name)
            if edges is None:
                yield self._learn_edges(name, Edges(1, pinned.borders))
            elif not np.array_equal(edges.borders, pinned.borders):
                ends = baseline.low, baseline.high
                baseline.counts = rebinned(baseline.counts, pinned.borders, edges.borders, ends)
                baseline.approximate = True
        self.state.baselines.pin(version, pinned.segment, name, baseline)
        if version is None:
            self.state.filler.by_key.pop(key, None)
            self.recent.forget(key)
        self.sequential.pin(version, key, list(self.state.ids.groups))
        yield from self._tell(version, key, baseline)

    def _detect(self, pane: Pane) -> Iterator[Happening]:
        ids = self.state.ids
        known = Known(list(ids.groups), list(ids.measures), self.state.baselines, self.state.edges, self.recent)
        for said in self.sequential.detect(pane, pane.start + self.rules.pane_ms, known):
            yield Rang(self, pane.start, said) if isinstance(said, Found) else said


def _first_due(all_slides: Sequence[Slides], until: int, last: int) -> tuple[int, int, Slides] | None:
    """(end, size, slides) of the window that ends first, of those the shortest."""
    due = [(end, s.pace.size, s) for s in all_slides if (end := s.due(until, last)) is not None]
    return min(due, key=lambda one: one[:2], default=None)
