"""Converts windows and performance windows into metrics records."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np

from stream_monitor.config.detection import DetectionSettings
from stream_monitor.events.contracts import MeasureSummary, Metric
from stream_monitor.judge.detection.verdicts import Verdict
from stream_monitor.judge.detection.window_evaluation import MeasureComparison, times_tolerated
from stream_monitor.judge.metrics.performance import OutcomeSums, Revised
from stream_monitor.judge.panes.windows import AFTER_IDLE, DUPLICATES, LATE, Window
from stream_monitor.judge.timelines.timeline import Timeline
from stream_monitor.profiles.display_bins import category_shape, numeric_shape
from stream_monitor.profiles.integers import are_whole, whole
from stream_monitor.profiles.measures import INCOMPARABLE, JOINT, TimelineName, base_of, group_of, kind_of
from stream_monitor.profiles.quantiles import Quantiles

TOP = 20
CUTS = {"p05": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "p99": 0.99, "p999": 0.999}
"""The quantiles of records, by field."""
UPPER = [share for share in CUTS.values() if share > 0.5]
DIGITS = 6
"""Digits of figures that are estimates. Counts, sums, means and ends are exact."""
SUSPICIOUS = 0.05
"""Records hold p-values below this."""
KIND: dict[TimelineName, Literal["traffic", "label", "feedback", "observation"]] = {
    "input": "traffic",
    "label": "label",
    "feedback": "feedback",
    "observation": "observation",
}
"""The kind of the records, by timeline."""
MEASURES_A_RECORD = 400


def window_metrics(
    timeline: Timeline,
    window: Window,
    comparisons: Sequence[MeasureComparison],
    expected: Mapping[int, Sequence[str]],
    verdicts: Sequence[Verdict],
    final: bool,
) -> Iterator[Metric]:
    """The metrics of a window.

    Each group with counts or measures gets one or more records. Windows that are not final have no verdicts, and no
    courses: the detectors have not read all of their panes.
    """
    scores = {(s.group, s.measure): s for s in comparisons}
    drifted = {(v.group, v.measure) for v in verdicts if v.findings}
    courses = dict(timeline.sequential.courses(window.start)) if final else {}
    detection: DetectionSettings = timeline.rules.sequential.detection
    for group, (version, segment) in enumerate(timeline.state.ids.groups):
        if group >= len(window.counts):
            break
        summaries = _whole(timeline, summarise(timeline, window, group, scores, expected.get(group, ())))
        for name, summary in summaries.items():
            _add_judgement(summary, scores.get((group, name)), (group, name) in drifted, detection)
            summary.courses = courses.get((group, name))
            summary.shape = _shape(timeline, window, group, name)
        counts = window.counts[group].tolist()
        if not any(counts) and not summaries:
            continue
        names, baseline_name = sorted(summaries), _baseline_of(comparisons, group)
        parts = max(1, math.ceil(len(names) / MEASURES_A_RECORD))
        for part in range(parts):
            chosen = names[part * MEASURES_A_RECORD : (part + 1) * MEASURES_A_RECORD]
            yield Metric(
                model=timeline.rules.model,
                version=version,
                segment=segment,
                window_start=window.start,
                window_end=window.end,
                kind=KIND[timeline.state.name],
                revision=0,
                final=final,
                count=counts[0],
                duplicates=counts[DUPLICATES],
                late=counts[LATE],
                after_idle=counts[AFTER_IDLE],
                part=part + 1,
                parts=parts,
                baseline=baseline_name,
                measures={
                    name: _with_baseline(summaries[name], scores.get((group, name)), baseline_name) for name in chosen
                },
            )


def _whole(timeline: Timeline, summaries: dict[str, MeasureSummary]) -> dict[str, MeasureSummary]:
    """Round the quantiles of whole numbers in records. Limits use the interpolated values."""
    for name, summary in summaries.items():
        edges = timeline.state.edges.get(name)
        if edges is None or summary.p50 is None or summary.min is None or summary.max is None:
            continue
        if are_whole(edges.edges, (summary.min, summary.max)):
            for cut in CUTS:
                setattr(summary, cut, whole(getattr(summary, cut), edges.tail))
    return summaries


def _baseline_of(comparisons: Sequence[MeasureComparison], group: int) -> str | None:
    """The name of the baseline that judged most measures of a group."""
    names = Counter(s.baseline.name for s in comparisons if s.group == group)
    return min(names, key=lambda name: (-names[name], name)) if names else None


def _with_baseline(
    summary: MeasureSummary, comparison: MeasureComparison | None, group_baseline: str | None
) -> MeasureSummary:
    """The summary with the name of its baseline, if that differs from the baseline of most measures."""
    if comparison is not None and comparison.baseline.name != group_baseline:
        summary.baseline = comparison.baseline.name
    return summary


def summarise(
    timeline: Timeline,
    window: Window,
    group: int,
    scores: Mapping[tuple[int, str], MeasureComparison],
    expected: Sequence[str] = (),
) -> dict[str, MeasureSummary]:
    """Summaries of all measures of a group, and of `expected` ones that have no value."""
    summaries: dict[str, MeasureSummary] = {}
    names = list(timeline.state.ids.measures)
    table = window.numbers
    if group < table.n.shape[0]:
        for measure in np.flatnonzero(table.n[group]).tolist():
            summaries[names[measure]] = _numeric(timeline, window, group, measure)
    for (category_group, name), (n, counts) in window.categories.items():
        if category_group == group:
            summary = summaries.setdefault(name, MeasureSummary(group=group_of(timeline.state.name, name), n=0))
            summary.n += n
            summary.top = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:TOP])
    for name in expected:
        summaries.setdefault(name, MeasureSummary(group=group_of(timeline.state.name, name), n=0))
    for name, summary in summaries.items():
        comparison = scores.get((group, name))
        summary.tests = None if comparison is None else {test: _digits(x) for test, x in comparison.scores.items()}
        if timeline.state.name == "input" and base_of(name) is None:
            others = window.categories.get((group, kind_of(name)), (0, {}))[0]
            summary.missing = int(window.counts[group, 0]) - summary.n - others
    if (rows := scores.get((group, JOINT))) is not None:
        tests = {test: _digits(x) for test, x in rows.scores.items()}
        summaries[JOINT] = MeasureSummary(group="input", n=int(rows.now.sum()), tests=tests)
    return summaries


def _digits(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _add_judgement(
    summary: MeasureSummary, comparison: MeasureComparison | None, drifted: bool, detection: DetectionSettings
) -> None:
    """Add what the window tests say of a measure."""
    if comparison is None or not comparison.p:
        return
    summary.p = {test: float(f"{p:.3g}") for test, p in comparison.p.items() if p < SUSPICIOUS} or None
    times = times_tolerated(comparison, detection)
    summary.times = None if times is None else _digits(times)
    summary.found = drifted or None
    summary.overdispersion = _digits(comparison.factor) if comparison.factor > 1 else None


def _shape(timeline: Timeline, window: Window, group: int, name: str) -> list[int] | None:
    """The counts on the display bins: of the measure's edges, or of the categories of the baseline that judges it."""
    state = timeline.state
    if (found := window.categories.get((group, name))) is not None:
        baseline = state.baselines.active_at(list(state.ids.groups)[group], name, window.start)
        if baseline is not None and baseline.categories is not None:
            n, counts = found
            return category_shape(baseline.categories, counts, n)
    measure, edges = state.ids.measures.get(name), state.edges.get(name)
    if edges is None or measure is None or group >= window.numbers.n.shape[0]:
        return None
    if measure >= window.numbers.n.shape[1] or not window.numbers.n[group, measure]:
        return None
    return numeric_shape(window.numbers.counts[group, measure], edges.edges)


def expected_measures(timeline: Timeline, window: Window) -> dict[int, list[str]]:
    """By number of a group that has events: the measures of predictions that must have values, or miss them.

    They have a baseline, and are not derived from others. A name beyond the cap of measures is not expected: its values
    are left out.
    """
    state, rules = timeline.state, timeline.rules
    if state.name != "input":
        return {}
    groups, names = list(state.ids.groups), state.ids.names
    is_full = len(names) >= rules.caps.measures
    counted = np.flatnonzero(window.counts[: len(groups), 0]).tolist()
    by_group = state.baselines.measures([groups[group] for group in counted])
    return {
        group: [
            name
            for name in measures
            if base_of(name) is None
            and (name in names or not is_full)
            and state.baselines.active_at(groups[group], name, window.start) is not None
        ]
        for group, measures in zip(counted, by_group, strict=True)
    }


def _numeric(timeline: Timeline, window: Window, group: int, measure: int) -> MeasureSummary:
    table, name = window.numbers, list(timeline.state.ids.measures)[measure]
    key = group, measure
    n, mean = int(table.n[key]), float(table.mean[key])
    low, high = float(table.low[key]), float(table.high[key])
    summary = MeasureSummary(
        group=group_of(timeline.state.name, name),
        n=n,
        mean=mean,
        std=_digits(math.sqrt(float(table.m2[key]) / n)) if low < high else 0.0,
        min=low,
        max=high,
        sum=mean * n,
    )
    summary.approximate = True if measure in window.approximate else None
    edges = timeline.state.edges.get(name)
    values = window.values.get(key)
    if edges is not None:
        reader = Quantiles(table.counts[key], edges.edges, window.extent(*key, edges))
        for cut, share in CUTS.items():
            setattr(summary, cut, reader.at(share))
        summary.coarse = True if any(map(reader.is_coarse, UPPER)) else None
    elif values is not None:
        exact = np.quantile(np.concatenate(values), [*CUTS.values()], method="inverted_cdf")
        for cut, x in zip(CUTS, exact.tolist(), strict=True):
            setattr(summary, cut, x)
    return summary


def performance_metrics(model: str, revised: Revised) -> Iterator[Metric]:
    """The metrics of one revision of a performance window."""
    window = revised.window
    for (version, segment), outcomes in sorted(window.groups.items()):
        if outcomes.labelled or outcomes.sums or revised.final:
            yield Metric(
                model=model,
                version=version,
                segment=segment,
                window_start=window.start,
                window_end=window.start + window.size,
                kind="performance",
                revision=revised.revision,
                final=revised.final,
                count=outcomes.count,
                labelled=outcomes.labelled,
                compared=outcomes.labelled - outcomes.sums.get(INCOMPARABLE, (0, 0.0))[0],
                accuracy=accuracy_of(outcomes),
                confusion=[(answer, label, n) for (answer, label), n in sorted(outcomes.pairs.items()) if n] or None,
                measures={
                    name: MeasureSummary(
                        group="human" if name.startswith("signal.") else "outcome",
                        n=n,
                        sum=total,
                        mean=total / n if n else None,
                    )
                    for name, (n, total) in sorted(outcomes.sums.items())
                },
            )


def accuracy_of(outcomes: OutcomeSums) -> float | None:
    """The share of labelled answers that were right; None without classified answers."""
    n, wrong = outcomes.sums.get("error", (0, 0.0))
    return 1 - wrong / n if n else None


def encode(metric: Metric) -> tuple[bytes, bytes]:
    """(key, value) of the record; the last record of a key replaces the earlier ones."""
    parts = (
        metric.model,
        metric.version,
        metric.segment,
        metric.window_start,
        metric.window_end,
        metric.kind,
        metric.part,
    )
    return "\x1f".join(map(str, parts)).encode(), msgspec.json.encode(metric)
