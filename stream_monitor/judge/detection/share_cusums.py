"""Quality tests whose evidence adds up over windows: CUSUMs of missing values, new categories and type changes.

The shares, their baselines and their overdispersion are those that the window tests compare (`window_evaluation`). Each
window size has rows of its own. Only windows that do not overlap count. A row exists while one of its statistics is
above 0, so a stream in which nothing is missing costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from stream_monitor.config.detection import WINDOW_TESTS, DetectionSettings
from stream_monitor.detect.cusum.shares import COLUMNS, CountedShare, ShareAlarm, ShareCusum, may_grow
from stream_monitor.detect.false_alarm_budget import quality_level
from stream_monitor.events.contracts import Finding
from stream_monitor.judge.detection.verdicts import Verdict, evidence_of
from stream_monitor.judge.detection.window_evaluation import MeasureComparison, tolerance
from stream_monitor.judge.panes.windows import Window

Way = Literal["up", "down"]
WAYS: Mapping[str, Sequence[Way]] = {
    "missing": ("up", "down"),
    "new_categories": ("up",),
    "type_change": ("up", "down"),
}
"""By test the directions that are followed; that fewer new categories come than expected is no news."""
ShareKey = tuple[int, str, str, Way]
"""(group, measure, test, direction)."""


class ShareCusums(msgspec.Struct):
    """The rows of a window size of a timeline."""

    rows: dict[ShareKey, ShareCusum] = {}

    def forget(self, measure: str) -> None:
        """Remove the rows of a measure, because it has a new baseline."""
        for key in [key for key in self.rows if key[1] == measure]:
            del self.rows[key]


def accumulate(
    states: dict[int, ShareCusums],
    window: Window,
    comparisons: Sequence[MeasureComparison],
    settings: DetectionSettings,
    sizes: int,
) -> Iterator[Verdict]:
    """Add a window's shares to the rows of its size; yield the outcome of each measure with an alarm that is not over.

    The window's share of the budget, of a timeline with `sizes` window sizes, is divided among the rows.
    """
    if window.start % window.size:  # overlapping windows hold the same values
        return
    state, level = states.setdefault(window.size, ShareCusums()), quality_level(settings, window.size, sizes)
    followed = [
        (comparison, test, way)
        for comparison in comparisons
        for test in comparison.shares
        if comparison.trials.get(test, 1) == 1 and tolerance(settings, test) < WINDOW_TESTS[test].largest
        for way in WAYS[test]
    ]
    threshold = math.log(max(len(followed) * COLUMNS, 1) / level)
    verdicts: dict[tuple[int, str], Verdict] = {}
    for comparison, test, way in followed:
        alarm, alarmed = _step(state, window.start, (comparison, test, way), (tolerance(settings, test), threshold))
        if not alarmed:
            continue
        key = comparison.group, comparison.measure
        verdict = verdicts.setdefault(key, Verdict(*key, "quality", [], doubtful=True))
        if alarm is not None:
            verdict.doubtful = False
            finding = _finding((comparison, test, way), alarm, tolerance(settings, test), threshold)
            verdict.findings.append(finding)
    yield from verdicts.values()


def _step(
    state: ShareCusums, start: int, row: tuple[MeasureComparison, str, Way], limits: tuple[float, float]
) -> tuple[ShareAlarm | None, bool]:
    """The alarm of a row at a window, and whether the row has an alarm that is not over.

    `limits` are its tolerance and its threshold.
    """
    comparison, test, way = row
    key: ShareKey = comparison.group, comparison.measure, test, way
    counted = CountedShare(*comparison.shares[test], comparison.share_factors.get(test, 1.0))
    if way == "down":
        counted = counted.complement()
    cusum = state.rows.get(key)
    if cusum is None:
        if not may_grow(counted, limits[0]):
            return None, False
        cusum = state.rows[key] = ShareCusum()
    alarm = cusum.add(counted, *limits, start)
    if cusum.idle:
        del state.rows[key]
    return alarm, cusum.alarmed


def _finding(row: tuple[MeasureComparison, str, Way], alarm: ShareAlarm, tolerated: float, threshold: float) -> Finding:
    comparison, test, way = row
    up, effect = way == "up", alarm.effect if way == "up" else -alarm.effect
    now = alarm.share if up else 1 - alarm.share
    shares = {"baseline": now - effect, "now": now, "n": alarm.n}
    return Finding(
        detector=test,
        score=effect,
        threshold=tolerated,
        direction=way,
        change_ts=alarm.began,
        evidence=evidence_of(comparison)
        | {"shares": shares, "cusum": {"statistic": alarm.statistic, "threshold": threshold}},
    )


def merge_verdicts(verdicts: Sequence[Verdict], accumulated: Iterator[Verdict]) -> list[Verdict]:
    """The verdicts of window tests, with those of the CUSUMs where the window alone tells less.

    A window that is rejected by itself keeps its findings. An alarm is a finding, and a measure with an alarm that is
    not over is not clean.
    """
    by_cause = {(verdict.group, verdict.measure, verdict.kind): verdict for verdict in verdicts}
    for verdict in accumulated:
        key = verdict.group, verdict.measure, verdict.kind
        if key not in by_cause or not by_cause[key].findings:
            by_cause[key] = verdict
    return list(by_cause.values())
