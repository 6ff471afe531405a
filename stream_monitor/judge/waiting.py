"""Closed panes that wait to be merged into the windows they lie in: many at once, and when does not show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stream_monitor.describe.profiles import CategoricalRows, NumericRows
from stream_monitor.detect.numbers import Stacked
from stream_monitor.events.chained import chain
from stream_monitor.judge.panes import Pane, Placed
from stream_monitor.judge.tallies import Rows, Tally, add_counted, spread

PARTS = 64
"""Most parts that wait."""
PART_BYTES = 200_000
"""Bytes of all that wait; the last may be beyond."""


class Came:
    """What came in some panes, for every window that they lie in."""

    def __init__(self, panes: Sequence[Pane]) -> None:
        last = panes[-1]  # groups and measures only become more
        self.measures = last.measures
        self.counts = np.zeros((last.groups, 3), np.int64)
        if cells := [cell for pane in panes for cell in pane.cells]:
            groups, counts = zip(*cells, strict=True)
            np.add.at(self.counts, np.array(groups), np.array(counts))
        self.binned = [one for pane in panes for one in pane.binned]
        """(group, measure, counts) of values that came without bins."""
        self.numbers = _numbers(panes)
        self.categories = _categories([placed for pane in panes for placed in pane.parts if placed.layout.keys])


class Waiting:
    """The panes of a lane that no window has taken in yet."""

    def __init__(self) -> None:
        self.panes: list[Pane] = []
        self._parts = self._bytes = 0

    def add(self, pane: Pane) -> bool:
        """Let a pane wait; whether it is time to merge what does."""
        self.panes.append(pane)
        for placed in pane.parts:
            self._parts += 1
            self._bytes += placed.part.nbytes
        return self._parts >= PARTS or self._bytes >= PART_BYTES

    def take(self) -> Came | None:
        """All that waits; None where nothing does."""
        panes, self.panes = self.panes, []
        self._parts = self._bytes = 0
        return Came(panes) if panes else None


def _numbers(panes: Sequence[Pane]) -> Stacked | None:
    parts = [(at, placed) for at, pane in enumerate(panes) for placed in pane.parts if len(placed.layout.group)]
    if not parts:
        return None
    number: dict[int, int] = {}
    tables = {id(placed.part.delta.numeric): placed.part.delta.numeric for _, placed in parts}
    rows = chain(NumericRows, [*tables.values()])
    rows.demand("n", "cell", "name", "mean", "m2", "low", "high", "bin_ptr", more=1)
    rows.demand("bin_at", "bin_n")
    which = [number.setdefault(id(placed.part.delta.numeric), len(number)) for _, placed in parts]
    sizes = np.array([len(placed.layout.group) for _, placed in parts])
    table, pane = np.repeat(which, sizes), np.repeat([at for at, _ in parts], sizes)
    row = spread(rows.start("n")[which] + [placed.layout.numeric.start for _, placed in parts], sizes)
    ptr, begin, has = rows.ints("bin_ptr"), rows.start("bin_at")[table], rows.size("bin_at")[table]
    first, last = begin + ptr[row + table], begin + np.minimum(ptr[row + table + 1], has)
    group, measure = (np.concatenate([getattr(p.layout, name) for _, p in parts]) for name in ("group", "measure"))
    mean, m2, low, high = (rows.floats(name)[row] for name in ("mean", "m2", "low", "high"))
    moments = rows.ints("n")[row], mean, m2, low, high
    return Stacked.of((pane, group, measure), moments, (first, last, rows.ints("bin_at"), rows.ints("bin_n")))


def _categories(parts: Sequence[Placed]) -> dict[tuple[int, str], Tally]:
    if not parts:
        return {}
    number: dict[int, int] = {}
    tables: dict[int, CategoricalRows] = {}
    rows = list[Rows]()
    for placed in parts:
        table, layout = placed.part.delta.categorical, placed.layout
        tables[id(table)] = table
        rows.append(Rows(number.setdefault(id(table), len(number)), layout.categorical.start, layout.keys))
    return add_counted([*tables.values()], rows)
