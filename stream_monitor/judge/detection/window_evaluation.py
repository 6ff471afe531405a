"""Compares a finished window with the baselines.

`run_tests` runs the window tests on counts, and the quality tests (`missing`, `new_categories`, `type_change`) on
shares. `control_false_discoveries` then decides which measures get findings.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from stream_monitor.baselines.baseline import Baseline, Baselines, category_counts, category_order, expected_counts
from stream_monitor.baselines.recent import MergedBaseline
from stream_monitor.config.detection import DetectionSettings
from stream_monitor.detect.windows.binned import Compared
from stream_monitor.detect.windows.overdispersion import Dispersion, Key, believed_factors
from stream_monitor.detect.windows.shares import share
from stream_monitor.detect.windows.tests import ON_WIDTHS, TESTS, TOLERANCE
from stream_monitor.judge.baselines.recent import other_values
from stream_monitor.judge.panes.windows import Window
from stream_monitor.profiles.bins import BINS, BinEdges
from stream_monitor.profiles.measures import Group, TimelineName, base_of, group_of, kind_of
from stream_monitor.profiles.quantiles import NO_VALUES, Extent
from stream_monitor.types import F64, I64

Kind = Literal["drift", "limit", "quality", "silence"]
Numbered = Mapping[str, int] | None
Shares = tuple[int, int, int, int]
"""(hits of the baseline, its values, hits of the window, its values)."""
ROWS = 128
"""The number of measures that are tested in one pass; their counts fit in a processor's cache."""
QUALITY_TESTS = ("missing", "new_categories", "type_change")


@dataclass(slots=True)
class MeasureComparison:
    """One measure of one group in one window, compared with its baseline."""

    group: int
    measure: str
    baseline: Baseline
    base: I64 | F64
    """Counts of the baseline; fractions where they are those that other values are expected to have."""
    now: I64
    borders: F64 | None
    categories: dict[str, int] | None = None
    recent: bool = False
    """Whether the baseline is a recent one."""
    factor: float = 1.0
    """Overdispersion f: by how much the counts of windows vary more than independent values would."""
    shares: dict[str, Shares] = field(default_factory=dict)
    """The shares that the quality tests compare, by test."""
    share_factors: dict[str, float] = field(default_factory=dict)
    """Overdispersion of each of these shares."""
    trials: dict[str, int] = field(default_factory=dict)
    """By quality test, the number of shares from which it takes the largest; 1 if it is not here."""
    scores: dict[str, float] = field(default_factory=dict)
    p: dict[str, float] = field(default_factory=dict)
    evidence: dict[str, Any] | None = None
    """Replaces the evidence that is computed from counts."""
    extent: Extent = NO_VALUES
    """The ends and moments of the window's numbers."""
    measure_group: Group = "input"
    """Of a numeric measure: measures of software get tests of their own."""
    few: bool = False
    """Fewer values than `min_count`, in enough events: only the tests of missing values and of types judge it."""

    @property
    def is_whole(self) -> bool:
        """Whether all tests that its baseline allows judge it; one of arrays and objects allows two."""
        return not self.few or bool(self.baseline.kinds and not self.baseline.n)

    @property
    def base_counts(self) -> I64:
        """`base` of a numeric measure: whole numbers."""
        return self.base.astype(np.int64)

    @property
    def order(self) -> I64:
        """(BINS,) the bins in the order in which neighbours are merged to groups."""
        return category_order(tuple(self.baseline.categories or ()) if self.borders is None else ())

    @property
    def widths(self) -> F64:
        """Bin widths in baseline standard deviations; the outer bins have none."""
        widths = np.zeros(BINS)
        if self.borders is not None and self.baseline.std:
            widths[1 : len(self.borders)] = np.diff(self.borders) / self.baseline.std
            widths[0] = 0.0
        return widths


@dataclass(slots=True)
class EvaluationContext:
    """The names, baselines and edges of a timeline that a window is judged with."""

    groups: Sequence[tuple[str, str]]
    measures: Sequence[str]
    baselines: Baselines
    edges: Mapping[str, BinEdges]
    timeline: TimelineName
    recent: Callable[[tuple[str, str], str, tuple[int, int]], MergedBaseline | None]
    """The recent baseline of a (version, segment) and measure for a span (start, size); None: use the first one."""


def comparisons_of(window: Window, context: EvaluationContext, minimum: int) -> list[MeasureComparison]:
    """The measures of a window that can be judged: they have `minimum` values and a baseline active at its start."""
    comparisons: list[MeasureComparison] = []
    judged = np.argwhere(window.numbers.n >= minimum).tolist() if window.numbers.n.size else []
    for group, measure in judged:
        name = context.measures[measure]
        baseline = context.baselines.active_at(context.groups[group], name, window.start)
        if baseline is not None and baseline.counts is not None and name in context.edges:
            borders, now = context.edges[name].edges, window.numbers.counts[group, measure]
            extent = window.extent(group, measure, context.edges[name])
            comparison = MeasureComparison(group, name, baseline, baseline.counts, now, borders, extent=extent)
            comparison.measure_group = group_of(context.timeline, name)
            comparisons.append(by_recent(comparison, context, (window.start, window.size)))
    for (group, name), (n, counts) in sorted(window.categories.items()):
        baseline = context.baselines.active_at(context.groups[group], name, window.start)
        if n >= minimum and baseline is not None and baseline.categories is not None and baseline.n:
            base, now = category_counts(baseline, counts, n)
            comparison = MeasureComparison(group, name, baseline, expected_counts(baseline, base), now, None, counts)
            comparisons.append(by_recent(comparison, context, (window.start, window.size)))
    return comparisons


def absent_comparisons(
    window: Window,
    context: EvaluationContext,
    minimum: int,
    judged: Sequence[MeasureComparison],
    expected: Mapping[int, Sequence[str]],
) -> list[MeasureComparison]:
    """The `expected` measures, by group, that have too few values in a window with `minimum` events.

    `judged` are the comparisons of the measures that have enough.
    """
    known = {(comparison.group, comparison.measure) for comparison in judged}
    absent = list[MeasureComparison]()
    for group, names in expected.items():
        if window.counts[group, 0] < minimum:
            continue
        for name in names:
            baseline = context.baselines.active_at(context.groups[group], name, window.start)
            if (group, name) in known or baseline is None:
                continue
            if baseline.categories is not None or name in context.edges:
                absent.append(_few(window, context, (group, name), baseline))
    return absent


def _few(window: Window, context: EvaluationContext, key: tuple[int, str], baseline: Baseline) -> MeasureComparison:
    group, name = key
    if baseline.counts is not None:
        return MeasureComparison(
            group, name, baseline, baseline.counts, window.bins_of(group, context.measures, name),
            context.edges[name].edges, few=True,
        )  # fmt: skip
    n, counts = window.categories.get(key, (0, {}))
    base, now = category_counts(baseline, counts, n)
    return MeasureComparison(group, name, baseline, base, now, None, counts, few=True)


def by_recent(comparison: MeasureComparison, context: EvaluationContext, span: tuple[int, int]) -> MeasureComparison:
    """Replace the baseline of a comparison by the recent baseline for the span (start, size), if there is one."""
    merged = context.recent(context.groups[comparison.group], comparison.measure, span)
    if merged is not None:
        comparison.baseline, comparison.base, comparison.recent = merged.baseline, merged.counts, True
        comparison.now = np.bincount(merged.to, comparison.now, BINS).astype(np.int64)
    return comparison


@dataclass(slots=True)
class WindowEvaluation:
    """A window to judge: its comparisons, and the timeline's overdispersion."""

    comparisons: list[MeasureComparison]
    settings: DetectionSettings
    rows: list[MeasureComparison]
    """Comparisons of sampled rows; they are tested already."""
    window: Window
    dispersions: Sequence[tuple[int, Dispersion]]
    """(size in ms, overdispersion) of the timeline's windows up to this size, ascending."""
    numbers: Numbered
    """The numbers of the numeric measures; None when the events are not counted here, so that no value can be
    missing."""

    @property
    def judged(self) -> list[MeasureComparison]:
        """All comparisons, once `run_tests` has run."""
        return [*self.comparisons, *self.rows]


def run_tests(trials: Sequence[WindowEvaluation]) -> None:
    """Run the tests on all windows at once, and write scores and p-values into the comparisons.

    Each row of counts is tested by itself; the other rows of the batch do not affect the result.
    """
    by_settings: dict[int, list[WindowEvaluation]] = defaultdict(list)
    for trial in trials:
        by_settings[id(trial.settings)].append(trial)  # models that `models` does not name share one object
    for alike in by_settings.values():
        _run_tests(alike, alike[0].settings)


def _run_tests(trials: Sequence[WindowEvaluation], settings: DetectionSettings) -> None:
    shares: dict[str, list[tuple[MeasureComparison, Shares, float]]] = defaultdict(list)
    for evaluation in trials:
        keys: list[Key] = [(comparison.group, comparison.measure, "") for comparison in evaluation.comparisons]
        for comparison in evaluation.comparisons:
            comparison.shares = dict(shares_of(evaluation.window, comparison, evaluation.numbers))
            keys += [(comparison.group, comparison.measure, test) for test in comparison.shares]
        factors = iter(believed_factors(evaluation.dispersions, keys).tolist())
        for comparison in evaluation.comparisons:
            comparison.factor = next(factors)
        for comparison in evaluation.comparisons:
            for test, counted in comparison.shares.items():
                comparison.share_factors[test] = next(factors)
                shares[test].append((comparison, counted, comparison.share_factors[test]))
    comparisons = [comparison for evaluation in trials for comparison in evaluation.comparisons]
    numeric = [s for s in comparisons if s.borders is not None and not s.few]
    categorical = [s for s in comparisons if s.borders is None and not s.few]
    more = [name for name in settings.software if name not in settings.numeric]
    software = [s for s in numeric if s.measure_group == "software"] if more else []
    for names, chosen in ((settings.numeric, numeric), (more, software), (settings.categorical, categorical)):
        for start in range(0, len(chosen), ROWS):
            _measure_distances(chosen[start : start + ROWS], names, settings)
    for test, rows in shares.items():
        _measure_shares(test, rows, settings)


def _measure_distances(
    comparisons: Sequence[MeasureComparison], names: Sequence[str], settings: DetectionSettings
) -> None:
    """Run the window tests on counts. With a factor f > 1 the p-value is that of counts divided by f."""
    base, now = (np.stack([getattr(s, name) for s in comparisons]) for name in ("base", "now"))
    wide = not ON_WIDTHS.isdisjoint(names)
    widths = np.stack([s.widths for s in comparisons]) if wide else np.broadcast_to(0.0, base.shape)
    order = None if comparisons[0].borders is not None else np.stack([s.order for s in comparisons])
    factor = np.array([[s.factor] for s in comparisons])
    more = np.flatnonzero(factor > 1)
    of_more = None if order is None else order[more]
    fewer = Compared(base[more] / factor[more], now[more] / factor[more], widths[more], of_more)
    for name in names:
        tested = TESTS[name](Compared(base, now, widths, order), tolerance(settings, name))
        p_values = tested.p
        if len(more):
            p_values[more] = TESTS[name](fewer, tolerance(settings, name)).p
        for comparison, score, p in zip(comparisons, tested.score.tolist(), p_values.tolist(), strict=True):
            comparison.scores[name], comparison.p[name] = score, p


def _measure_shares(
    test: str, rows: Sequence[tuple[MeasureComparison, Shares, float]], settings: DetectionSettings
) -> None:
    a, m, b, n = np.array([counted for _, counted, _ in rows]).T
    factors = np.array([factor for *_, factor in rows])
    p_values = share((a / factors, m / factors), (b / factors, n / factors), tolerance(settings, test)).p
    scores = b / np.maximum(n, 1) - a / np.maximum(m, 1)
    for (comparison, *_), score, p in zip(rows, scores.tolist(), p_values.tolist(), strict=True):
        comparison.scores[test], comparison.p[test] = score, min(1.0, p * comparison.trials.get(test, 1))


def tolerance(settings: DetectionSettings, test: str) -> float:
    """The largest effect of a test that is no drift."""
    return settings.tolerance.get(test, TOLERANCE[test])


def times_tolerated(comparison: MeasureComparison, settings: DetectionSettings) -> float | None:
    """The largest effect of the tests on a measure, as a multiple of the effect that each tolerates.

    None: nothing was tested, or the tests tolerate nothing.
    """
    limits = ((name, tolerance(settings, name)) for name in comparison.p)
    return max((abs(comparison.scores[name]) / limit for name, limit in limits if limit), default=None)


def tolerances(settings: DetectionSettings) -> dict[str, float]:
    """The largest effect that is no drift, by test of the settings."""
    names = {*settings.numeric, *settings.software, *settings.categorical, *settings.joint, *QUALITY_TESTS}
    return {name: tolerance(settings, name) for name in sorted(names)}


def shares_of(window: Window, comparison: MeasureComparison, numbers: Numbered) -> Iterator[tuple[str, Shares]]:
    """The shares that the quality tests compare, by test."""
    baseline, n = comparison.baseline, int(comparison.now.sum())
    values = sum(baseline.kinds.values())
    if comparison.categories is not None and not comparison.few:
        yield from _new_categories(comparison, n)
    if numbers is None or base_of(comparison.measure) or comparison.group >= len(window.counts):
        return
    key, events = (comparison.group, comparison.measure), int(window.counts[comparison.group, 0])
    other_kinds = other_values(window, key, comparison.borders is not None, numbers)
    yield "missing", (baseline.events - values, baseline.events, events - n - other_kinds, events)
    if values and n + other_kinds:
        hits = values - baseline.n, other_kinds
        if not baseline.n:  # nothing but arrays and objects
            hits = 0, n + other_kinds - window.categories.get((key[0], kind_of(key[1])), (0, {}))[0]
        yield "type_change", (hits[0], values, hits[1], n + other_kinds)


def _new_categories(comparison: MeasureComparison, n: int) -> Iterator[tuple[str, Shares]]:
    """The share of new categories; if the baseline does not name all it had, that of the largest unnamed one.

    A category that the baseline does not name had fewer values there than any that it names.
    """
    baseline = comparison.baseline
    if not baseline.rest:
        hits = round(float(comparison.base[BINS - 1]))
        yield "new_categories", (hits, max(sum(baseline.kinds.values()), 1), int(comparison.now[BINS - 1]), n)
        return
    names, counts = baseline.categories or {}, comparison.categories or {}
    unnamed = [count for name, count in counts.items() if name not in names]
    if comparison.recent or not unnamed:  # the names of recent baselines are those of the first one
        return
    comparison.trials["new_categories"] = len(unnamed)
    most = baseline.least - 1 if baseline.least else min(names.values(), default=baseline.n)
    yield "new_categories", (most, max(baseline.n, 1), max(unnamed), n)
