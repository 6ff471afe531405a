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

from stream_monitor.profiles.names import NEVER
from stream_monitor.profiles.records import PerformanceDelta
from stream_monitor.rollouts.strata import Arms, LabelStratum
from stream_monitor.types import F64

RATES: F64 = np.array([0.0, 1.0])
PRIMARY, CANDIDATE = 0, 1

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


class DueLabels(NamedTuple):
    """What a watermark allows to judge."""

    ts: int
    """The event time from which it may be judged."""
    measure: str
    segment: str
    stratum: LabelStratum
    predictions: F64
    """(1, 2)"""


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
    left_out: int = 0
    """Values of signals that are neither 0 nor 1."""

    @property
    def losses(self) -> dict[str, int]:
        """By what they were: labels and signals that count for nothing."""
        counts = {
            "corrected labels": sum(self.corrected),
            "labels after their grain had settled": self.late,
            "values of signals that are neither 0 nor 1": self.left_out,
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

    def _add(self, delta: PerformanceDelta, cell: int, key: LaneKey, arm: int, n: int, total: float) -> None:
        start = int(delta.window[cell])
        known = start if delta.known is None else int(delta.known[cell])
        age = bisect_left(self.ages, known - start)
        if age > self.settle or self._end(start, self.settle) <= self.watermark:
            self.late += n
            return
        grain = self._grain(start)
        age = max(age, grain.due)
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
            for measure in self.measures:
                for segment, counts in grain.predictions.items():
                    sums = grain.labels.get((measure, segment), {}).pop(number, [0, 0, 0, 0])
                    arms = Arms(RATES, *(np.array([[n - hits, hits]], float) for n, hits in (sums[:2], sums[2:])))
                    stratum = LabelStratum(start, start + self.grain_ms, number, arms)
                    yield DueLabels(ts, measure, segment, stratum, np.array([counts], float))
            grain.due = number + 1
            if number == self.settle:
                del self.grains[start]
