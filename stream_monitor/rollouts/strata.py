"""Strata: what of two versions is compared with what, for it is alike in time, weight and age of labels.

Inputs: counts of panes, merged until each version has a value and both together have `LEAST` of them, never across a
decision and never over more than an hour. Labels: a grain of prediction time by age between two revisions; each
increment counts once. Labels that are pooled as they arrive deceive: in a ramp, with errors labelled later than right
answers, an equal candidate passes in more than half of the runs.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from stream_monitor.config.durations import HOUR
from stream_monitor.types import F64

LEAST = 20
"""Values of a stratum of inputs. With 2 of them a verdict takes twice as long."""
LABELLED = 0.95
"""Labels settle at the age by which the primary had this part of all it ever got."""


class Arms(NamedTuple):
    """Counts of both versions on the same values."""

    values: F64
    """(J,) ascending: 0 and 1, or the upper borders of bins; the last one is a cap."""
    primary: F64
    """(R, J)"""
    candidate: F64
    """(R, J)"""


class InputStratum(NamedTuple):
    """Values of a measure of predictions that came in [start, end)."""

    start: int
    end: int
    arms: Arms


class LabelStratum(NamedTuple):
    """Labels of predictions of one grain, read between two revisions."""

    grain: int
    """Start of the grain."""
    end: int
    age: int
    """Number of the revision at which they count."""
    arms: Arms


class SettledGrain(NamedTuple):
    """All labels of a grain at the age `settle`, and how many predictions it had."""

    grain: int
    end: int
    arms: Arms
    predictions: F64
    """(R, 2) of primary and candidate."""


class PaneMerger(msgspec.Struct):
    """Merges panes of one measure and segment to strata; the state is one stratum that waits."""

    start: int = 0
    end: int = 0
    values: np.ndarray | None = None
    primary: np.ndarray | None = None
    candidate: np.ndarray | None = None

    def add(self, pane: InputStratum) -> Iterator[InputStratum]:
        """Take in a pane; panes come in the order of time. Yield the strata that are full."""
        values = self.values
        if values is not None and (not np.array_equal(values, pane.arms.values) or pane.end - self.start > HOUR):
            yield from self.cut()
        if self.primary is None or self.candidate is None:
            self.start, (self.values, self.primary, self.candidate) = pane.start, pane.arms
        else:
            self.primary, self.candidate = self.primary + pane.arms.primary, self.candidate + pane.arms.candidate
        self.end = pane.end
        n_a, n_b = float(self.primary.sum()), float(self.candidate.sum())
        if n_a and n_b and n_a + n_b >= LEAST:
            yield from self.cut()

    def cut(self) -> Iterator[InputStratum]:
        """Yield the stratum that waits, as at a decision."""
        if self.values is not None and self.primary is not None and self.candidate is not None:
            yield InputStratum(self.start, self.end, Arms(self.values, self.primary, self.candidate))
        self.values = self.primary = self.candidate = None


class GrainLabels(msgspec.Struct):
    """Labels of one measure and segment by grain, until they settle: thousands of grains, each a few numbers."""

    settle: int
    """Number of the revision at which they count for a pass."""
    waiting: dict[int, tuple[list[float], list[float]]] = {}
    """By start of a grain: labels of primary and candidate so far, on the values of every stratum."""

    def add(self, stratum: LabelStratum, predictions: F64) -> SettledGrain | None:
        """Take in what a revision added, 0 included, in the order of age; return the grain at the age `settle`."""
        if stratum.age > self.settle:
            return None
        values, primary, candidate = stratum.arms
        before = self.waiting.pop(stratum.grain, None)
        if before is not None:
            primary, candidate = primary + np.array([before[0]]), candidate + np.array([before[1]])
        if stratum.age < self.settle:
            self.waiting[stratum.grain] = primary[0].tolist(), candidate[0].tolist()
            return None
        return SettledGrain(stratum.grain, stratum.end, Arms(values, primary, candidate), predictions)


def settle_age(labelled: Sequence[float], ages: Sequence[int]) -> int:
    """The first age at which the primary had nearly all labels that it ever got; the last one where none is known.

    `labelled`: labels of finished grains by each of the ages.

    >>> settle_age([700, 960, 1000], [0, 3_600_000, 86_400_000])
    3600000
    >>> settle_age([0, 0, 0], [0, 3_600_000, 86_400_000])
    86400000
    """
    if not labelled or labelled[-1] <= 0:
        return ages[-1]
    return ages[bisect_left(list(labelled), LABELLED * labelled[-1])]
