"""Explains an alert: a judge that processes the log again and also records the scores of its detectors.

`explain` runs this judge over the log of the alert's `profiles` partition. It records window tests at each window of
the alert's size, CUSUMs after each pane, and the other sequential detectors when they raise an alarm.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from stream_monitor.config.durations import WindowSpec
from stream_monitor.config.settings import Settings
from stream_monitor.detect.cusum.bank import CusumBank
from stream_monitor.detect.sequential.registry import CUSUM, SEQUENTIAL_DETECTORS
from stream_monitor.errors import StreamMonitorError
from stream_monitor.events.contracts import Alert
from stream_monitor.judge.alerts.lifecycle import AlertKey
from stream_monitor.judge.consumers.contract import ClosedWindow, ModelContext, NoState, WindowConsumer
from stream_monitor.judge.consumers.losses import losses_of
from stream_monitor.judge.detection.window_evaluation import QUALITY_TESTS, tolerance
from stream_monitor.judge.metrics.window_metrics import summarise
from stream_monitor.judge.model import ModelJudge
from stream_monitor.judge.model_state import ModelState
from stream_monitor.judge.panes.pane import Pane
from stream_monitor.judge.partition import PartitionJudge
from stream_monitor.judge.partition_state import PartitionState
from stream_monitor.judge.timelines.timeline import ChangeDetected, Timeline, WindowEmpty
from stream_monitor.profiles.measures import INCOMPARABLE, LATENCY, VOLUME
from stream_monitor.profiles.measures import TimelineName as TimelineName
from stream_monitor.profiles.names import END
from stream_monitor.rejudge.log_replay import Log, LogReplay, RejudgeTerms
from stream_monitor.timestamps import when

BEFORE, AFTER = 30, 10
"""How many windows, or panes, are recorded before the alert opened and after its last record."""
PANES = 0
"""Used in place of a window's size."""


class Point(msgspec.Struct):
    """The score of a detector at a window or pane that ends at `ts` (epoch ms), in the detector's own unit."""

    ts: int
    score: float
    threshold: float | None


class Series(msgspec.Struct):
    """One detector over time: `size` of its windows in ms (0 for panes), of which one ends every `slide` ms."""

    detector: str
    size: int
    points: list[Point] = []
    slide: int = 0


class Explanation(msgspec.Struct):
    """An alert and its context, all from the log."""

    records: list[Alert]
    """The records of the alert, as the judge derives them from the log."""
    exact: bool
    """Whether `records` are the same statuses and revisions as those that were published."""
    series: list[Series]
    others: list[Alert]
    """Other alerts of the model that opened around that time."""


@dataclass
class TraceTarget:
    """What is recorded: a cause, in the event time [first, last], at windows of one size."""

    cause: AlertKey
    first: int
    last: int
    spec: WindowSpec
    series: dict[tuple[str, int], Series] = field(default_factory=dict)
    pane: int | None = None
    """End of the pane whose CUSUM must be recorded next."""

    def add(self, detector: str, size: int, point: Point) -> None:
        """Keep a point that lies in [first, last]. It replaces an earlier point of the same detector and time."""
        if self.first <= point.ts <= self.last:
            slide = self.spec.slide if size else 0
            points = self.series.setdefault((detector, size), Series(detector, size, slide=slide)).points
            if points and points[-1].ts == point.ts:
                points.pop()
            points.append(point)

    def group(self, timeline: Timeline) -> int | None:
        """The number of the cause's (version, segment) in a timeline."""
        return timeline.state.ids.groups.get((self.cause.version, self.cause.segment))


class ScoreTrace(WindowConsumer[NoState]):
    """Records the scores of the detectors. It is the first consumer, so it sees an alert before it is raised."""

    name = "explain"

    def __init__(self, context: ModelContext, target: TraceTarget, bank: CusumBank) -> None:
        super().__init__(context, NoState())
        self.target, self._bank = target, bank

    def on_change(self, change: ChangeDetected) -> tuple[()]:
        """Record the score of a detector that raised an alarm."""
        target, found = self.target, change.found
        if found.finding is not None and (found.group, found.measure) == (
            target.group(change.timeline),
            target.cause.measure,
        ):
            end = change.pane + self.context.settings.time.pane
            target.add(found.finding.detector, PANES, Point(end, found.finding.score, found.finding.threshold))
        return ()

    def on_empty_window(self, empty: WindowEmpty) -> tuple[()]:
        """Record the count 0."""
        if (self.target.cause.measure, self.target.cause.kind) == (
            VOLUME,
            "drift",
        ) and empty.size == self.target.spec.size:
            self.target.add(VOLUME, empty.size, Point(empty.start + empty.size, 0.0, None))
        return ()

    def on_pane(self, timeline: Timeline, pane: Pane) -> None:
        """Record the CUSUM after the pane before this one.

        If the CUSUM raised an alarm there, the point of the alarm stays.
        """
        end = pane.start + self.context.settings.time.pane
        target, group = self.target, self.target.group(timeline)
        row = None if group is None else timeline.state.sequential.rows.get((group, target.cause.measure))
        if row is None or target.cause.kind != "drift":
            return
        previous_pane, target.pane = target.pane, end
        known = target.series.get((CUSUM, PANES))
        if previous_pane is not None and (known is None or not known.points or known.points[-1].ts < previous_pane):
            score, threshold = (float(x[0]) for x in self._bank.standing(np.array([row])))
            if np.isfinite(threshold):
                target.add(CUSUM, PANES, Point(previous_pane, score, threshold))

    def on_window(self, closed: ClosedWindow) -> tuple[()]:
        """Record the scores of a window of the alert's size."""
        target, window, group = self.target, closed.window, self.target.group(closed.timeline)
        if window.size == target.spec.size and group is not None and target.first <= window.end <= target.last:
            for detector, score, threshold in self._scores(closed, group):
                target.add(detector, window.size, Point(window.end, score, threshold))
        return ()

    def _scores(self, closed: ClosedWindow, group: int) -> Iterator[tuple[str, float, float | None]]:
        """(detector, score, threshold) of a window, for the detectors that can raise this kind of alert."""
        timeline, window = closed.timeline, closed.window
        measure, kind = self.target.cause.measure, self.target.cause.kind
        if kind == "limit":
            yield from self._limits(closed, group)
        elif kind == "quality" and measure in (VOLUME, INCOMPARABLE):
            for loss in (
                losses_of(closed, group) if timeline.state.name == ("input" if measure == VOLUME else "label") else ()
            ):
                yield loss.detector, loss.lost / max(loss.total, 1), None
        elif measure == VOLUME:
            if timeline.state.name == "input" and group < len(window.counts):
                yield VOLUME, float(window.counts[group, 0]), None
        else:
            for comparison in closed.comparisons:
                if (comparison.group, comparison.measure) == (group, measure):
                    for test, score in comparison.scores.items():
                        if (test in QUALITY_TESTS) == (kind == "quality"):
                            yield test, score, tolerance(self.context.settings.detection, test)

    def _limits(self, closed: ClosedWindow, group: int) -> Iterator[tuple[str, float, float | None]]:
        timeline, window, measure = closed.timeline, closed.window, self.target.cause.measure
        summary = summarise(timeline, window, group, {}, closed.expected.get(group, ())).get(measure)
        for limit in self.context.limits:
            value = None if summary is None else getattr(summary, limit.statistic)
            if limit.on(timeline.state.name) == measure and value is not None:
                yield limit.text, float(value), limit.value


def _losses(closed: ClosedWindow, group: int, measure: str) -> Iterator[tuple[str, float, float | None]]:
    """The shares that are lost, on the timeline of the measure."""
    if closed.timeline.state.name == ("input" if measure == VOLUME else "label"):
        for loss in losses_of(closed, group):
            yield loss.detector, loss.lost / max(loss.total, 1), None


class TracingPartitionJudge(PartitionJudge):
    """A partition's judge that traces one model."""

    def __init__(self, number: int, base: Settings, target: TraceTarget) -> None:
        self.target = target
        super().__init__(number, base, PartitionState(), {})

    def model_judge(self, state: ModelState) -> ModelJudge:
        """A judge; that of the target's model has the trace as its first consumer."""
        judge = super().model_judge(state)
        if state.model == self.target.cause.model:
            judge.consumers.insert(0, ScoreTrace(judge.context, self.target, self.bank))
        return judge


def find(alerts: Sequence[Alert], wanted: str) -> list[Alert]:
    """The records of the alert whose id begins with `wanted`, oldest first.

    Raises:
        StreamMonitorError: there is none, or more than one.
    """
    found = {alert.id for alert in alerts if alert.id.startswith(wanted)} if wanted else set()
    if not found:
        raise StreamMonitorError(
            f"no alert has an id that begins with {wanted!r}: `alerts tail --no-follow` lists those that are there"
        )
    if len(found) > 1:
        ids = ", ".join(sorted(found)[:5])
        raise StreamMonitorError(f"{len(found)} alerts have ids that begin with {wanted!r}: {ids}; write more of it")
    return sorted((alert for alert in alerts if alert.id in found), key=lambda alert: (alert.ts, alert.revision))


def explain(terms: RejudgeTerms, number: int, log: Log, published: Sequence[Alert]) -> Explanation:
    """Rebuild an alert from the log of its partition, up to some windows after its last published record.

    Raises:
        StreamMonitorError: the log does not lead to the alert, because the profiles before it have expired.
    """
    target = _target_of(published, terms.settings)
    replay = LogReplay(terms, TracingPartitionJudge(number, terms.settings, target))
    wanted = {(alert.status, alert.revision) for alert in published}
    records, others = list[Alert](), list[Alert]()
    for output in replay.process(_until(replay, log, _timelines_of(published), target.last)):
        if isinstance(output, Alert) and output.id == published[0].id:
            records.append(output)
        elif isinstance(output, Alert) and output.status == "open" and output.model == published[0].model:
            if target.first <= output.opened_ts <= target.last:
                others.append(output)
    if not any(alert.status == "open" for alert in records):
        raise StreamMonitorError(_missing(published[0], terms, replay.begins))
    exact = {(alert.status, alert.revision) for alert in records} == wanted
    return Explanation(records, exact, list(target.series.values()), others)


def _target_of(published: Sequence[Alert], settings: Settings) -> TraceTarget:
    first = published[0]
    opened = first.opened_ts
    opening, windows = _opening(first, settings), sorted(settings.time.windows)
    spec = opening or windows[0]
    step = settings.time.pane if opening is None and first.status == "open" else spec.slide
    began = [f.change_ts for alert in published[:1] for f in alert.findings if f.change_ts is not None]
    begins = min([opened, *began])
    span = max(BEFORE * step, opened - begins)
    last = max(alert.ts for alert in published)
    cause = AlertKey(first.model, first.version, first.segment, first.measure, first.kind)
    return TraceTarget(cause, begins - span, last + AFTER * step, spec)


def _opening(first: Alert, settings: Settings) -> WindowSpec | None:
    """The size of the window that opened an alert; None if a sequential detector opened it or the opening has expired.

    A record of a former version does not name its window. Then it is the smallest size that reaches back to the opening
    time. The window itself may be larger: if it began before the previous alert on the same cause ended, the alert
    opened at that end.
    """
    if first.status == "open" and first.window is not None:
        return next((spec for spec in settings.time.windows if spec.size == first.window.size), None)
    if first.status != "open" or all(f.detector in (CUSUM, *SEQUENTIAL_DETECTORS) for f in first.findings):
        return None
    reach = first.ts - first.opened_ts
    return next((spec for spec in sorted(settings.time.windows) if spec.size >= reach), None)


def _timelines_of(published: Sequence[Alert]) -> set[TimelineName]:
    """The timelines whose watermarks an alert depends on."""
    alert, timelines = published[0], set[TimelineName]()
    if alert.kind == "silence":  # labels that stopped hold their watermark back
        return {"input"}
    if alert.group == "outcome" or any(record.status == "outcome" for record in published):
        timelines.add("label")
    if alert.measure.startswith("signal."):
        timelines.add("feedback")
    if alert.group == "software" and alert.measure != LATENCY:
        timelines.add("observation")
    return timelines or {"input"}


def _until(again: LogReplay, log: Log, timelines: set[TimelineName], last: int) -> Log:
    """The log, until panes have closed and the watermarks of all these timelines have passed `last`.

    No pane closes before the settings are in the log. They come late where the workers started before the judge.
    """
    for entry in log:
        yield entry
        if again.judge.state.settings is not None and all(
            again.judge.state.watermarks.for_timeline(timeline) > last for timeline in timelines
        ):
            return


def _missing(alert: Alert, terms: RejudgeTerms, begins: int) -> str:
    if not terms.whole and begins > alert.opened_ts:
        kept = "none are left" if begins == END else f"the oldest that are left are of {when(begins)}"
        opened = when(alert.opened_ts)
        return (
            f"the profiles that led to alert {alert.id} have expired: it opened at {opened}, and {kept}. Retention of "
            "the topic `profiles` says how long they stay."
        )
    cause = "what came before has expired" if not terms.whole else "the topics were made anew, or by another version"
    return f"the profiles that are left do not lead to alert {alert.id}: {cause}"
