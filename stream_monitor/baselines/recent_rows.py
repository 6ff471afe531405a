"""Recent baselines of sampled rows: the rows of slices of event time, and the baselines merged from them.

Slices are kept in lines and chosen as those of single measures are, see `recent`. A slice keeps its rows with the
smallest hashes. An hour of the week keeps few rows, because there are 672 such slices.

Memory of a model with 15 numbers and 5 categories: 1.4 MB for `rolling` with 7 days and a gap of one day (250 rows in
each of 33 slices); for `hour_of_week` 1.8 MB in the first week, and 7.2 MB with all four weeks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from stream_monitor.baselines.recent import EMPTY, SlicePlan, choices, line_of
from stream_monitor.baselines.sampled_rows import BASELINE_ROWS, ENOUGH, Rows, merge
from stream_monitor.types import I64

SLICE_ROWS = {"rolling": 250, "hour_of_week": 64}
"""Most rows of a slice; those with the smallest hashes are kept."""
LEAST_ROWS = 100
"""Fewest rows of a recent baseline. If the hour of the week has fewer, that hour of all days judges; if this has
fewer, the first rows."""


class SampledSlice(msgspec.Struct):
    """The sampled rows of one slice."""

    start: int
    rows: Rows


class MergedRows(NamedTuple):
    """A baseline that was merged from slices of rows."""

    name: str
    since: int
    """Start of its oldest slice, epoch ms."""
    rows: Rows


class RowsHistory(msgspec.Struct):
    """The slices that the judge took in."""

    lines: dict[int, list[SampledSlice]] = {}
    """The newest slices of each line, oldest first."""
    begun: int = EMPTY
    """Start of the first slice ever taken in, epoch ms; `EMPTY` before."""

    def slice_count(self, plan: SlicePlan, start: int) -> int:
        """Number of slices in the line of the slice that starts at `start`."""
        return len(self.lines.get(line_of(plan, start), ()))

    def add(self, plan: SlicePlan, start: int, parts: Sequence[Rows]) -> None:
        """Take in a slice that is later than all others of its line; `parts` are the rows of one or more versions."""
        self.begun = start if self.begun == EMPTY else self.begun
        kept = self.lines.setdefault(line_of(plan, start), [])
        kept.append(SampledSlice(start, merge(parts, SLICE_ROWS[plan.kind])))
        del kept[: -plan.depth]

    def baseline_for(self, plan: SlicePlan, span: tuple[int, int]) -> MergedRows | None:
        """The baseline that judges a window (start, size); None: the first rows do.

        A rolling baseline judges once it has 500 rows (`baseline.first` rows if that is less), or all of its slices.
        """
        if not self.lines:
            return None
        for name, lines, _, meant in choices(plan, self._stamp(plan), self.begun, span):
            chosen = [self.lines[lines[line]][place] for line, place in np.argwhere(meant).tolist()]
            if not chosen:
                continue
            rows = merge([one.rows for one in chosen], BASELINE_ROWS)
            full = plan.kind != "rolling" or len(chosen) == plan.keep
            if len(rows) >= (LEAST_ROWS if full else min(plan.least, ENOUGH)):
                return MergedRows(name, min(one.start for one in chosen), rows)
        return None

    def _stamp(self, plan: SlicePlan) -> I64:
        """(lines, slices) start of each slice, `EMPTY` where there is none."""
        stamp = np.full((plan.lines, plan.depth), EMPTY, np.int64)
        for line, kept in self.lines.items():
            stamp[line, : len(kept)] = [one.start for one in kept]
        return stamp
