"""The error before a change, and the errors since then that can be compared with it.

Labels that come early may have another error than labels that come late. So the error before the change is known by
rung: of the labels that took no longer. Predictions since the change are compared by how long they have waited.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from stream_monitor.detect.error_rise import Stratum, dispersion_of
from stream_monitor.judge.metrics.label_history import (
    ByRung,
    ErrorHistory,
    ErrorKey,
    ErrorSums,
    add_to,
    complete_rung,
    lag_of,
    variance_of,
)

MOST_RUNGS = 64
"""The rung of a baseline, which holds labels of any age."""


class Level(msgspec.Struct):
    """The error before the change."""

    variance: float
    expected: dict[int, ErrorSums]
    """By rung: errors of labels of this age or younger."""
    dispersion: float = 1.0
    """The overdispersion f of the sums of grains."""

    @property
    def mean(self) -> float:
        """The mean error, of labels of any age."""
        whole = self.expected[max(self.expected)]
        return whole.total / whole.n

    def delay(self, grain: int) -> int | None:
        """An upper bound (ms) of the median delay of labels, in whole grains; None if it is not known."""
        most = max(sums.n for sums in self.expected.values())
        rungs = [rung for rung, sums in sorted(self.expected.items()) if 2 * sums.n >= most and rung != MOST_RUNGS]
        return grain * (lag_of(rungs[0]) + 1) if rungs else None


def level_of(
    histories: Mapping[ErrorKey, ErrorHistory], key: ErrorKey, until: int, grain: int, least: int
) -> Level | None:
    """The error of labels that became known before `until`: of the version, or else of all versions.

    It needs `least` labels. None: there are fewer.
    """
    own = [histories[key]]
    all_versions = [history for other, history in sorted(histories.items()) if other[1:] == key[1:]]
    for chosen in (own, all_versions):
        expected: ByRung = {}
        for history in chosen:
            for rung, sums in history.reference(until, grain).items():
                expected.setdefault(rung, ErrorSums()).add(sums)
        expected = {rung: sums for rung, sums in expected.items() if sums.n >= least}
        if expected:
            variance = variance_of(expected[max(expected)], key[2] == "error")
            return Level(variance, expected, dispersion_of(_slices(chosen, until), variance))
    return None


def level_of_baseline(mean: float, std: float, n: int) -> Level:
    """The error of a baseline, for labels of any age."""
    return Level(std * std, {MOST_RUNGS: ErrorSums(n, n * mean, n * (mean * mean + std * std))})


def strata_of(history: ErrorHistory, level: Level, span: tuple[int, int], at: int, grain: int) -> Sequence[Stratum]:
    """The errors of predictions in [start, end) whose labels were known at `at`, by how long they have waited."""
    start, end = span
    by_age: ByRung = {}
    for prediction, parts in sorted(history.by_prediction.items()):
        if start <= prediction and prediction + grain <= end:
            waited = complete_rung((at - prediction) // grain - 1)
            age = max((rung for rung in level.expected if rung <= waited), default=min(level.expected))
            if age <= waited or age == MOST_RUNGS:
                for rung in sorted(rung for rung in parts if rung <= min(age, waited)):
                    by_age.setdefault(age, ErrorSums()).add(parts[rung])
    strata = []
    for age, sums in sorted(by_age.items()):
        before = level.expected[age]
        strata.append(Stratum(sums.n, sums.total, sums.squares, before.total / before.n, before.n))
    return strata


def _slices(histories: Iterable[ErrorHistory], until: int) -> list[dict[int, tuple[int, float]]]:
    """By grain in which labels became known, before `until`: (n, total) by rung."""
    slices: dict[int, ByRung] = {}
    for history in histories:
        for known, parts in history.by_known.items():
            for rung, part in parts.items():
                if known < until:
                    add_to(slices, known, rung, part)
    return [{rung: (sums.n, sums.total) for rung, sums in parts.items()} for _, parts in sorted(slices.items())]
