"""The rows of the recent past: samples of slices of event time, and the baselines that are merged of them.

Slices lie in lines and are chosen as those of single measures are, see `history`. Of a slice the rows of smallest hash
are kept, few of an hour of the week, for there are 672 of these.

Bytes a model, of 15 numbers and 5 categories: rolling, 7 days and a gap of one, 250 rows in each of 33 slices, 1.4 MB;
hours of the week 1.8 MB in the first week, 7.2 MB when all four are there.
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
"""Rows of a slice, of smallest hash."""
LEAST_ROWS = 100
"""No recent baseline has less: not an hour's, then that of all days, then the first rows judge."""


class SampledSlice(msgspec.Struct):
    """The rows of a slice that was taken in."""

    start: int
    rows: Rows


class MergedRows(NamedTuple):
    """A baseline that was made of slices of rows."""

    name: str
    since: int
    """Start of its oldest slice, epoch ms."""
    rows: Rows


class RowsHistory(msgspec.Struct):
    """The slices that were taken in."""

    lines: dict[int, list[SampledSlice]] = {}
    """Of each line the newest, oldest first."""
    begun: int = EMPTY
    """Start of the first slice that was taken in, epoch ms; `EMPTY` before."""

    def slice_count(self, plan: SlicePlan, start: int) -> int:
        """How many slices the line of a slice that starts at `start` has."""
        return len(self.lines.get(line_of(plan, start), ()))

    def add(self, plan: SlicePlan, start: int, parts: Sequence[Rows]) -> None:
        """Take a slice in, later than all of its line: the rows of one or more versions."""
        self.begun = start if self.begun == EMPTY else self.begun
        kept = self.lines.setdefault(line_of(plan, start), [])
        kept.append(SampledSlice(start, merge(parts, SLICE_ROWS[plan.kind])))
        del kept[: -plan.depth]

    def baseline_for(self, plan: SlicePlan, span: tuple[int, int]) -> MergedRows | None:
        """What judges a window (start, size); None: the first rows do.

        A rolling baseline judges from 500 rows on, or `baseline.first` where that is less, or when all of its slices
        are there.
        """
        if not self.lines:
            return None
        for name, lines, _, meant in choices(plan, self._stamp(plan), self.begun, span):
            chosen = [self.lines[lines[line]][at] for line, at in np.argwhere(meant).tolist()]
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
