"""Labels and signals of both versions by the grain of their prediction and by age, until the watermark passes that age.

A performance delta tells the grain of the prediction and the grain in which the label became known. Their distance is
the age, so the moment at which a label was read does not matter. The labels of a grain at one age become a stratum once
the watermark has passed that age. A label that comes later still counts at the grain's next age.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec
import numpy as np

from stream_monitor.profiles.names import ALL_SEGMENTS, NEVER
from stream_monitor.profiles.pairs import ANSWERS, DISTANCES, ERRORS, LEFT_OUT, PairDelta
from stream_monitor.profiles.records import PerformanceDelta
from stream_monitor.rollouts.plan import ABSOLUTE_ERROR, AGREES, ERROR
from stream_monitor.rollouts.strata import Arms, LabelStratum
from stream_monitor.types import F64

RATES: F64 = np.array([0.0, 1.0])
PRIMARY, CANDIDATE = 0, 1
MEASURES = {ANSWERS: AGREES, ERRORS: ERROR, DISTANCES: ABSOLUTE_ERROR, LEFT_OUT: "left_out"}
"""The measure that each kind of pairs is about."""

LaneKey = tuple[str, str]
"""Measure and segment."""


class Grain(msgspec.Struct):
    """The predictions of one grain, and their labels."""

    due: int = 0
    """Number of the next age."""
    predictions: dict[str, list[int]] = {}
    """By segment: those of the primary and of the candidate."""
    labels: dict[LaneKey, dict[int, list[float]]] = {}
    """By measure and segment, and by number of the age: labels and hits of the primary, then of the candidate."""
    pairs: dict[LaneKey, dict[int, dict[int, int]]] = {}
    """By measure and segment, by number of the age, and by bin: pairs of both versions, the primary's as the first."""


class DueLabels(NamedTuple):
    """What a watermark allows to judge."""

    ts: int
    """The event time from which it may be judged."""
    measure: str
    segment: str
    stratum: LabelStratum
    predictions: F64
    """(1, 2)"""
    pairs: dict[int, int]
    """By bin; empty where no request has two answers."""


class LabelGrains(msgspec.Struct):
    """The grains that wait for their labels."""

    grain_ms: int
    ages: list[int]
    """ms after the end of a grain, ascending."""
    settle: int
    """Number of the age at which labels count for a pass. Later ones count for nothing."""
    measures: list[str]
    """Those of the guards that wait for labels or feedback."""
    watermark: int = NEVER
    grains: dict[int, Grain] = {}
    """By the start of the grain."""
    corrected: list[int] = msgspec.field(default_factory=lambda: [0, 0])
    """Corrections of labels of the primary and of the candidate; the first label of a prediction is what counts."""
    late: int = 0
    """Labels that came after the age at which their grain had settled."""
    late_pairs: int = 0
    """Pairs that became known after it."""
    left_out: int = 0
    """Values of signals that are neither 0 nor 1."""
    unequal: int = 0
    """Pairs that have no label in common, or none that can be compared with both answers."""

    @property
    def losses(self) -> dict[str, int]:
        """By what they were: labels and signals that count for nothing."""
        counts = {
            "corrected labels": sum(self.corrected),
            "labels after their grain had settled": self.late,
            "pairs after their grain had settled": self.late_pairs,
            "values of signals that are neither 0 nor 1": self.left_out,
            "pairs without a label that can be compared with both answers": self.unequal,
        }
        return {what: count for what, count in counts.items() if count}

    def count(self, start: int, segment: str, primary: int, candidate: int) -> None:
        """Add predictions of a pane that starts at `start` (epoch ms)."""
        counts = self._grain(start - start % self.grain_ms).predictions.setdefault(segment, [0, 0])
        counts[PRIMARY] += primary
        counts[CANDIDATE] += candidate

    def feed(self, delta: PerformanceDelta, arms: Mapping[str, int], since: int) -> None:
        """Take in labels and signals of grains from `since` on; `arms` is the arm of each version."""
        chosen = {
            cell: arms[version]
            for cell, (version, grain) in enumerate(zip(delta.version, delta.window.tolist(), strict=True))
            if version in arms and grain >= since
        }
        if not chosen:
            return
        rows = zip(delta.cell.tolist(), delta.name.tolist(), delta.n.tolist(), delta.total.tolist(), strict=True)
        for cell, name, n, total in rows:
            key = delta.names[name], delta.segment[cell]
            if cell in chosen and key[0] in self.measures:
                if delta.corrected is not None and delta.corrected[cell]:
                    self.corrected[chosen[cell]] += 1
                else:
                    self._add(delta, cell, key, chosen[cell], n, total)

    def feed_pairs(self, delta: PairDelta, primary: str, candidate: str, since: int) -> None:
        """Take in pairs of two versions, of requests of the primary in grains from `since` on."""
        starts = {
            cell: (int(delta.window[cell]), False) if one == primary else (int(delta.other_window[cell]), True)
            for cell, (one, other) in enumerate(zip(delta.first, delta.second, strict=True))
            if {one, other} == {primary, candidate}
        }
        rows = (column.tolist() for column in (delta.cell, delta.kind, delta.bin, delta.n))
        for cell, kind, at, n in zip(*rows, strict=True):
            start, swapped = starts.get(cell, (NEVER, False))
            if start < since:
                continue
            measure = MEASURES[kind]
            if measure in self.measures or kind == LEFT_OUT:
                at = _swapped(kind, at) if swapped else at
                self._add_pairs((measure, delta.segment[cell]), start, int(delta.known[cell]), (at, n))

    def _add_pairs(self, key: LaneKey, start: int, known: int, counted: tuple[int, int]) -> None:
        at, n = counted
        age = bisect_left(self.ages, known - start)
        if age > self.settle or self._end(start, self.settle) <= self.watermark:
            self.late_pairs += n if key[1] == ALL_SEGMENTS else 0
            return
        grain = self._grain(start)
        bins = grain.pairs.setdefault(key, {}).setdefault(max(age, grain.due), {})
        bins[at] = bins.get(at, 0) + n

    def _add(self, delta: PerformanceDelta, cell: int, key: LaneKey, arm: int, n: int, total: float) -> None:
        start = int(delta.window[cell])
        known = start if delta.known is None else int(delta.known[cell])
        age = bisect_left(self.ages, known - start)
        if age > self.settle or self._end(start, self.settle) <= self.watermark:
            self.late += n
            return
        grain = self._grain(start)
        age = max(age, grain.due)
        if key[0] == ABSOLUTE_ERROR:
            total = 0  # pairs tell the distances; here it matters only how many labels there are
        if not 0 <= total <= n or total != int(total):
            self.left_out += n
            return
        sums = grain.labels.setdefault(key, {}).setdefault(age, [0, 0, 0, 0])
        sums[2 * arm] += n
        sums[2 * arm + 1] += total

    def _end(self, start: int, age: int) -> int:
        """The event time at which a grain has this age."""
        return start + self.grain_ms + self.ages[age]

    def _grain(self, start: int) -> Grain:
        return self.grains.setdefault(start, Grain())

    def take(self, watermark: int) -> Iterator[DueLabels]:
        """The strata that are due at a watermark of labels, in the order of event time.

        The watermark must not be above the time up to which panes are closed: a grain's predictions are known by then.
        """
        self.watermark = max(self.watermark, watermark)
        due = sorted(
            (self._end(start, number), start, number)
            for start, grain in self.grains.items()
            for number in range(grain.due, self.settle + 1)
            if self._end(start, number) <= watermark
        )
        for ts, start, number in due:
            grain = self.grains[start]
            self.unequal += sum(grain.pairs.get((MEASURES[LEFT_OUT], ALL_SEGMENTS), {}).pop(number, {}).values())
            for measure in self.measures:
                for segment, counts in grain.predictions.items():
                    sums = grain.labels.get((measure, segment), {}).pop(number, [0, 0, 0, 0])
                    arms = Arms(RATES, *(np.array([[n - hits, hits]], float) for n, hits in (sums[:2], sums[2:])))
                    stratum = LabelStratum(start, start + self.grain_ms, number, arms)
                    pairs = grain.pairs.get((measure, segment), {}).pop(number, {})
                    yield DueLabels(ts, measure, segment, stratum, np.array([counts], float), pairs)
            grain.due = number + 1
            if number == self.settle:
                del self.grains[start]


def _swapped(kind: int, at: int) -> int:
    """The bin where the second version comes first."""
    return 2 * (at % 2) + at // 2 if kind == ERRORS else -at if kind == DISTANCES else at
