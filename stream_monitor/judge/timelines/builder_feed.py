"""Adds closed panes to the baselines that are being built."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stream_monitor.baselines.baseline import BaselineBuilder, keep_categories
from stream_monitor.config.detection import LEAST_FIRST
from stream_monitor.judge.panes.pane import Pane
from stream_monitor.judge.timelines.edges import EdgePhase, MeasureEdges
from stream_monitor.judge.timelines.state import TimelineRules, TimelineState
from stream_monitor.profiles.categories import NEW_CATEGORIES
from stream_monitor.profiles.measures import LABEL, base_of
from stream_monitor.profiles.numeric_table import PaneRows


class BuilderFeed:
    """Finds the rows of a pane whose baseline is not complete, and adds them to their builders.

    It remembers which rows are complete, so that most panes need no work. A reset makes it forget that.
    """

    def __init__(self, state: TimelineState, sizes: Sequence[int], edges: MeasureEdges, learns: bool) -> None:
        self.state, self._sizes, self._edges, self._learns = state, sizes, edges, learns
        self._version = 0
        """The number of resets so far."""
        self._is_built = np.zeros((0, 0), np.bool_)
        self._filled_categories: set[tuple[int, str]] = set()

    def restart(self) -> None:
        """Look at all rows again: a reset has forgotten baselines."""
        self._version += 1
        self._is_built[:] = False
        self._filled_categories.clear()

    def values(self, key: tuple[str, str]) -> int:
        """The number of values that a baseline being built has."""
        builder = self.state.builders.by_key[key]
        if (self.state.name, key[1]) == ("label", LABEL):  # booleans are counted twice: as numbers and categories
            return max(builder.n, builder.categorical) + builder.other
        return builder.total

    def is_complete(self, key: tuple[str, str], end: int, rules: TimelineRules) -> bool:
        """Whether a baseline being built has enough values; the pane that ends at `end` (epoch ms) is in it."""
        values, began = self.values(key), self.state.builders.by_key[key].began
        if values >= rules.first:
            return True
        late = rules.first_within is not None and began is not None and end - began >= rules.first_within
        return late and values >= LEAST_FIRST

    def has_new_rows(self, pane: Pane) -> bool:
        """Whether a pane has rows that were not seen complete since the last reset."""
        return any(placed.row_index.made != self._version for placed in pane.parts)

    def add(self, pane: Pane, groups: list[tuple[str, str]]) -> set[tuple[str, str]]:
        """Add a pane to the baselines that are being built; the (segment, measure) of those that grew."""
        rows = self._rows_to_fill(pane.numbers)
        keys = dict.fromkeys(key for key in pane.categorical if key not in self._filled_categories)
        if not rows and not keys:  # later panes with the same rows need no check until the next reset
            for placed in pane.parts:
                placed.row_index.made = self._version
            return set()
        return self._add_numbers(pane, rows, groups) | self._add_categories(pane, list(keys), groups)

    def _builder(self, segment: str, measure: str, pane: int) -> BaselineBuilder | None:
        """The builder of a baseline, for values of a pane; None when the baseline is complete."""
        key = segment, measure
        if key in self.state.baselines.shared:
            return None
        builder = self.state.builders.by_key.setdefault(key, BaselineBuilder())
        if builder.began is None:
            builder.began = pane
            if not builder.total:
                builder.events_before = builder.events + self.state.builders.events.get(segment, 0)
        return builder

    def _add_numbers(self, pane: Pane, unfilled: list[int], groups: list[tuple[str, str]]) -> set[tuple[str, str]]:
        rows, touched = pane.numbers, set[tuple[str, str]]()
        names = list(self.state.ids.measures) if unfilled else []
        for row in unfilled:
            group, measure = int(rows.group[row]), int(rows.measure[row])
            segment, name = groups[group][1], names[measure]
            builder = self._builder(segment, name, pane.start)
            if builder is None:
                self._is_built[group, measure] = True
                continue
            n, values = int(rows.n[row]), pane.values.get((group, measure), [])
            known = sum(map(len, values))
            phase = self._edges.phase(name)
            if phase is EdgePhase.REBUILDING or (phase is EdgePhase.NONE and known < n):
                builder.add_only_values(pane.start, values, n)
                if phase is EdgePhase.NONE:  # the model was forgotten and has come back
                    self._edges.ask(name)
                if values:
                    touched.add((segment, name))
                continue
            ends = float(rows.low[row]), float(rows.high[row])
            builder.add_moments(n, float(rows.mean[row]), float(rows.m2[row]), ends)
            builder.add_values(pane.start, values)
            bins = slice(int(rows.bin_ptr[row]), int(rows.bin_ptr[row + 1]))
            if bins.stop > bins.start:
                builder.add_counts(pane.start, rows.bin_at[bins].copy(), rows.bin_n[bins].copy(), self._learns)
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

    def _add_categories(
        self, pane: Pane, unfilled: list[tuple[int, str]], groups: list[tuple[str, str]]
    ) -> set[tuple[str, str]]:
        touched = set[tuple[str, str]]()
        tallies = pane.tallies() if unfilled else {}
        for row in unfilled:
            (group, name), (n, categories, counts) = row, tallies[row]
            segment, feature = groups[group][1], base_of(name)
            of_kind = name.startswith("kind(") and feature is not None
            builder = self._builder(segment, feature if of_kind and feature is not None else name, pane.start)
            if builder is None:
                self._filled_categories.add(row)
            elif of_kind:
                builder.other += n
                touched.add((segment, str(feature)))
            else:
                builder.add_categories(categories, counts, n)
                builder.tally(pane.start, self._sizes, (categories, counts, n))
                builder.categories = keep_categories(builder.categories, frozenset(), 16 * NEW_CATEGORIES)
                touched.add((segment, name))
        return touched
