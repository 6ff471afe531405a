"""The edges of many measures, laid out for the compiled loops that count by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from stream_monitor.kernels.numba_backend import compiled, inlined
from stream_monitor.profiles.bins import DOUBLINGS, BinEdges
from stream_monitor.profiles.tails import NO_TAIL
from stream_monitor.types import F64, I64


class KnownBins:
    """What describe knows of a model's timeline from the judge: edges and baseline categories by measure."""

    def __init__(
        self, edges: Mapping[str, BinEdges] | None = None, categories: Mapping[str, frozenset[str]] | None = None
    ) -> None:
        self.edges, self.categories = dict(edges or {}), dict(categories or {})
        self._borders: dict[tuple[str, ...], EdgeTable] = {}
        self._until: dict[str, int] = {}
        self._without: tuple[frozenset[str], KnownBins] | None = None

    def add_edges(self, measure: str, edges: BinEdges, until: int | None = None) -> None:
        """Take in the edges of a measure; from the pane that starts at `until` on, values are not counted on them."""
        self.edges[measure] = edges
        self._until.pop(measure, None)
        if until is not None:
            self._until[measure] = until
        self._borders.clear()
        self._without = None

    def drop_edges(self, measure: str) -> None:
        """Forget the edges of a measure, because the judge has none and wants values."""
        self.edges.pop(measure, None)
        self._until.pop(measure, None)
        self._borders.clear()
        self._without = None

    def at(self, pane: int) -> KnownBins:
        """The same for values up to the pane that starts at `pane`, without edges that are not valid there any more."""
        over = frozenset(measure for measure, until in self._until.items() if until <= pane)
        if not over:
            return self
        if self._without is None or self._without[0] != over:
            left = {measure: edges for measure, edges in self.edges.items() if measure not in over}
            self._without = over, KnownBins(left, self.categories)
        return self._without[1]

    def borders(self, measures: tuple[str, ...]) -> EdgeTable:
        """The edges of these measures; the table is cached, because most commits have the same measures."""
        table = self._borders.get(measures)
        if table is None:
            if len(self._borders) >= KEPT_TABLES:
                self._borders.clear()
            table = self._borders[measures] = EdgeTable.of([self.edges.get(name) for name in measures])
        return table


GUIDES = 256


@dataclass(frozen=True, slots=True)
class EdgeTable:
    """The concatenated edges of several measures, with tables that give the edge at which a search begins.

    The table may also concatenate the edges of several models that have the same measures.
    """

    borders: F64
    first: I64
    """(measures + 1,): the index at which each measure's edges begin; a measure without edges has none."""
    guides: npt.NDArray[np.uint8]
    """(measures, GUIDES): for each of GUIDES even steps over the body of the edges, the first edge to try."""
    tails: F64
    """(measures,): the start of each measure's tail, or `NO_TAIL`."""

    @classmethod
    def of(cls, edges: Sequence[BinEdges | None]) -> EdgeTable:
        """The table of measures in this order; None for a measure without edges."""
        each = [e.edges if e is not None else np.empty(0) for e in edges]
        table = cls(
            np.concatenate([*each, np.empty(0)]),
            np.cumsum([0, *map(len, each)]),
            np.zeros((len(each), GUIDES), np.uint8),
            np.array([NO_TAIL if e is None else e.tail for e in edges], np.float64),
        )
        # pass the table's own array: the judge's arrays are read-only, a type for which numba would compile again
        for measure, (start, end) in enumerate(pairwise(table.first)):
            _guide(table.borders[start:end], table.guides[measure])
        return table

    @classmethod
    def chain(cls, models: Sequence[EdgeTable]) -> EdgeTable:
        """Concatenate the tables of several models, in this order."""
        if len(models) == 1:
            return models[0]
        starts = np.cumsum([0, *(len(model.borders) for model in models)])
        firsts = [model.first[:-1] + start for model, start in zip(models, starts, strict=False)]
        return cls(
            np.concatenate([model.borders for model in models]),
            np.concatenate([*firsts, starts[-1:]]),
            np.concatenate([model.guides for model in models]),
            np.concatenate([model.tails for model in models]),
        )


@inlined
def _body(borders: Any) -> Any:
    """(least, most) of the edges that are no doubling steps; the guide divides this range evenly."""
    outer = DOUBLINGS if len(borders) > 2 * DOUBLINGS + 1 else 0
    return borders[outer], borders[len(borders) - 1 - outer]


@compiled
def _guide(borders: Any, guide: Any) -> None:
    """Set, for each even step, the first edge that is not below the step's start; a search can begin there."""
    if len(borders) < 2:
        return
    least, most = _body(borders)
    place = 0
    for step in range(len(guide)):
        start = least + (most - least) / len(guide) * step
        while place < len(borders) and borders[place] < start:
            place += 1
        guide[step] = place


KEPT_TABLES = 4
"""Most sets of measures of a timeline whose tables are cached."""
