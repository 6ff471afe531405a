"""The judge of one model: its timelines, performance windows and alerts.

It is a state machine whose inputs are deltas and watermarks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from stream_monitor.baselines.pinned import PinnedMeasure
from stream_monitor.baselines.recent import plan_of
from stream_monitor.baselines.sampled_rows import Rows
from stream_monitor.config.detection import DetectionSettings
from stream_monitor.config.durations import format_duration
from stream_monitor.config.settings import Settings
from stream_monitor.detect.cusum.bank import CusumBank, PaneBatch
from stream_monitor.detect.false_alarm_budget import sequential_ms, window_level
from stream_monitor.detect.windows.overdispersion import Dispersion, DispersionUpdate
from stream_monitor.events.contracts import Alert, Health, Metric
from stream_monitor.events.rollouts import RolloutDecision
from stream_monitor.judge.alerts.lifecycle import AlertKey
from stream_monitor.judge.baselines.recent_rows import Owner
from stream_monitor.judge.consumers.contract import (
    BatchTask,
    ClosedWindow,
    ConsumerOutput,
    ModelContext,
    RaisedAlert,
    evaluation_context,
)
from stream_monitor.judge.consumers.registry import consumers_of
from stream_monitor.judge.detection.limits import parse_limit
from stream_monitor.judge.detection.sequential import SequentialRules
from stream_monitor.judge.detection.share_cusums import accumulate, merge_verdicts
from stream_monitor.judge.detection.verdicts import Verdict, control_false_discoveries
from stream_monitor.judge.detection.window_evaluation import (
    WindowEvaluation,
    absent_comparisons,
    comparisons_of,
    run_tests,
)
from stream_monitor.judge.health import Gone
from stream_monitor.judge.metrics.window_metrics import expected_measures
from stream_monitor.judge.model_state import ABNORMAL, FROM_BASELINES, TIMELINES, ModelState
from stream_monitor.judge.panes.open_panes import OpenBytes
from stream_monitor.judge.panes.pane import Pane
from stream_monitor.judge.panes.watermarks import Watermarks
from stream_monitor.judge.panes.windows import Window
from stream_monitor.judge.timelines.first_values import first_values
from stream_monitor.judge.timelines.state import CatalogUpdate, TimelineRules
from stream_monitor.judge.timelines.timeline import (
    BaselinesReset,
    ChangeDetected,
    PaneClosed,
    SlicesDue,
    Timeline,
    TimelineEvent,
    WindowClosed,
    WindowEmpty,
)
from stream_monitor.profiles.bin_catalog import CatalogRecord
from stream_monitor.profiles.delta import Delta
from stream_monitor.profiles.measures import JOINT
from stream_monitor.profiles.measures import TimelineName as TimelineName
from stream_monitor.profiles.names import ALL_SEGMENTS, END, NEVER, OTHER
from stream_monitor.profiles.pairs import PairDelta
from stream_monitor.profiles.records import PerformanceDelta, ResetRecord, RolloutRecord
from stream_monitor.wire.msgpack_arrays import unpack

JudgeOutput = Alert | Metric | Health | Gone | RolloutDecision | CatalogRecord


class ModelJudge:
    """Judges one model: closes panes and windows, and passes them to the consumers of `consumers.registry`.

    All data that must survive a restart lies in `ModelState`.
    """

    def __init__(
        self, state: ModelState, settings: Settings, bank: CusumBank | None = None, open_bytes: OpenBytes | None = None
    ) -> None:
        self.state, self.settings = state, settings
        self.changed = True
        """Whether the state may differ from the last snapshot."""
        self.limits = [parse_limit(text) for text in settings.detection.limits]
        rows = CusumBank() if bank is None else bank
        self.timelines = {
            name: Timeline(timeline, self._rules(timeline.name), rows, open_bytes)
            for name, timeline in state.timelines.items()
        }
        self.context = ModelContext(state.model, settings, self.limits, self.timelines, state.performance, state.alerts)
        self.consumers = consumers_of(self.context, state.consumers)

    def _rules(self, timeline: TimelineName) -> TimelineRules:
        settings = self.settings
        values: dict[str, tuple[float, ...]] = {}
        for limit in self.limits:
            values[limit.on(timeline)] = (*values.get(limit.on(timeline), ()), limit.value)
        return TimelineRules(
            model=self.state.model,
            pane_ms=settings.time.pane,
            windows=settings.time.windows,
            first=settings.baseline.first,
            first_within=settings.baseline.first_within,
            caps=settings.caps,
            limits=values,
            sequential=SequentialRules(
                self._detectors(timeline), sequential_ms(settings.detection), settings.detection
            ),
            recent=plan_of(settings.baseline, settings.time.pane),
        )

    def _detectors(self, timeline: TimelineName) -> tuple[str, ...]:
        of = self.settings.detection
        return {"input": of.input, "label": of.outcome, "feedback": of.feedback}.get(timeline, ())

    def saved_state(self) -> ModelState:
        """The complete state for a snapshot; it stays complete until the caller calls `saved`."""
        self.flush_merges()
        for timeline in self.timelines.values():
            timeline.sequential.save()
        return self.state

    def saved(self) -> None:
        """The caller reports that the snapshot was written."""
        for timeline in self.timelines.values():
            timeline.sequential.saved()
        self.changed = False

    def flush_merges(self) -> None:
        """Merge the queued panes of all timelines, so that the state holds every closed pane."""
        for timeline in self.timelines.values():
            timeline.flush_merges()

    def release(self) -> None:
        """Give back the rows of the bank that this model uses; the judge calls it when it forgets the model."""
        for timeline in self.timelines.values():
            timeline.sequential.release()

    def end(self) -> Iterator[Alert | RolloutDecision]:
        """Resolve all alerts of a model before the judge forgets it, at the event time at which its ttl ends."""
        ttl = self.settings.caps.model_ttl
        reason = f"nothing of the model came for {format_duration(ttl)}, and it is forgotten"
        yield from self.state.alerts.abandon(self.state.last_event + ttl, reason)
        for consumer in self.consumers:
            yield from consumer.on_forget(self.state.last_event + ttl)

    def feed(self, delta: Delta) -> None:
        """Add a delta of this model."""
        self.changed = True
        self.timelines[delta.timeline].feed(delta)

    def feed_joined(self, delta: PerformanceDelta | PairDelta) -> None:
        """Add outcomes, by the time of their predictions, or what is known of requests that two versions answered."""
        self.changed = True
        if isinstance(delta, PairDelta):
            for consumer in self.consumers:
                consumer.on_pairs(delta)
            return
        self.state.lost_labels += self.state.performance.feed(delta)
        for consumer in self.consumers:
            consumer.on_performance(delta)

    def pin(self, version: str | None, measures: Sequence[PinnedMeasure]) -> Iterator[JudgeOutput]:
        """Activate a pinned baseline."""
        self.changed = True
        rows = [pinned for pinned in measures if pinned.rows]
        if rows:
            timeline, parts = self.timelines["input"], [unpack(pinned.rows, Rows, own=True) for pinned in rows]
            timeline.joint.pin(version, rows[0].baseline.name, parts, timeline.state.closed_until)
        for pinned in measures:
            if not pinned.rows:
                for update in self.timelines[pinned.timeline].pin(version, pinned):
                    yield update.record

    def reset(self, reset: ResetRecord) -> Iterator[JudgeOutput]:
        """Schedule a reset: the baselines are forgotten from a pane on that has not closed yet."""
        self.changed = True
        for timeline in self.timelines.values():
            for update in timeline.baseline_manager.schedule(reset):
                yield update.record

    def obey(self, record: RolloutRecord) -> Iterator[RolloutDecision]:
        """What a person orders about a rollout."""
        self.changed = True
        for consumer in self.consumers:
            yield from consumer.on_rollout(record)

    def notices(self) -> Iterator[CatalogRecord]:
        """Catalog records of the active edges and baselines."""
        for timeline in self.timelines.values():
            for update in timeline.baseline_manager.notices():
                yield update.record

    def advance(self, watermarks: Watermarks) -> Iterator[JudgeOutput | BatchTask]:
        """Close every pane and window that the watermarks allow.

        The caller must do a yielded task before it asks for the next item.
        """
        for name in TIMELINES:
            watermark, timeline = watermarks.for_timeline(name), self.timelines[name]
            if watermark > NEVER and not timeline.rest(watermark):
                self.changed = True
                last = watermarks.latest_event(name) if watermark >= END else END
                for event in timeline.advance(watermark, last):
                    yield from self._process(event)
        for consumer in self.consumers:
            if consumer.is_due:
                self.changed = True
                yield from self._published(consumer.on_watermarks())
        marks = watermarks.for_timeline("label"), watermarks.for_timeline("feedback")
        self.changed = self.changed or self.state.performance.due(*marks)
        for revised in self.state.performance.advance(*marks):
            for consumer in self.consumers:
                yield from self._published(consumer.on_revision(revised))

    def rest(self, watermarks: Watermarks) -> None:
        """Move the watermarks of a model that has not changed since its last snapshot; nothing else changes."""
        for name in TIMELINES:
            if watermarks.for_timeline(name) > NEVER:
                self.timelines[name].rest(watermarks.for_timeline(name))
        self.state.performance.rest(min(watermarks.for_timeline("label"), watermarks.for_timeline("feedback")))

    def preview(self, watermarks: Watermarks) -> Iterator[Metric | Health]:
        """Metrics and health of the open windows as they are now. The state does not change."""
        shown: tuple[TimelineName, ...] = ("input", "observation")
        for name in shown:
            for finished in self.timelines[name].preview(watermarks.latest_event(name)):
                expected = expected_measures(finished.timeline, finished.window)
                evaluation = _evaluation_of(finished.timeline, finished.window, expected, self.settings.detection)
                run_tests([evaluation])
                open_window = ClosedWindow(finished.timeline, finished.window, evaluation.judged, expected, ())
                for consumer in self.consumers:
                    yield from consumer.preview(open_window)
        for revised in self.state.performance.preview():
            for consumer in self.consumers:
                yield from consumer.preview_revision(revised)

    def _process(self, event: TimelineEvent) -> Iterator[JudgeOutput | BatchTask]:
        match event:
            case PaneBatch():
                yield event
            case CatalogUpdate(record=record):
                yield record
            case PaneClosed(timeline=timeline, pane=pane):
                self._close_pane(timeline, pane)
            case WindowClosed(timeline=timeline, window=window):
                yield from self._close_window(timeline, window)
            case SlicesDue(timeline=timeline, until=until):
                timeline.recent.absorb_due_slices(until, self._alarmed)
            case BaselinesReset():
                yield from self._forget(event)
            case ChangeDetected() | WindowEmpty():
                for one in self.consumers:
                    yield from self._published(
                        one.on_change(event) if isinstance(event, ChangeDetected) else one.on_empty_window(event)
                    )

    def _published(self, outputs: Iterable[ConsumerOutput]) -> Iterator[JudgeOutput | DispersionUpdate]:
        """The outputs of a consumer. Each alert that it raised is passed to all consumers first."""
        for output in outputs:
            if isinstance(output, RaisedAlert):
                for consumer in self.consumers:
                    consumer.on_alert(output)
                if output.alert.attribution is not None:
                    self.state.alerts.complete(output.alert)
                yield output.alert
            else:
                yield output

    def _close_pane(self, timeline: Timeline, pane: Pane) -> None:
        """Pass on a closed pane, and count its predictions; the pane itself is not judged."""
        for consumer in self.consumers:
            consumer.on_pane(timeline, pane)
        if timeline.state.name != "input":
            return
        self.state.last_event = max(self.state.last_event, pane.start)
        groups = list(timeline.state.ids.groups)
        for group, count in sorted(pane.accepted.items()):
            self.state.performance.count(groups[group], pane.start, count)

    def _close_window(self, timeline: Timeline, window: Window) -> Iterator[JudgeOutput | BatchTask]:
        """Compare a window with the baselines, and pass the result to the consumers."""
        expected = expected_measures(timeline, window)
        evaluation = _evaluation_of(timeline, window, expected, self.settings.detection)
        yield evaluation
        verdicts: Sequence[Verdict] = ()
        if self.state.model != OTHER:
            detection, sizes = self.settings.detection, len(timeline.assembler)
            level = window_level(detection, timeline.slide_of[window.size], sizes)
            verdicts = control_false_discoveries(evaluation.judged, detection, level)
            cusums = timeline.state.share_cusums
            verdicts = merge_verdicts(verdicts, accumulate(cusums, window, evaluation.comparisons, detection, sizes))
        closed = ClosedWindow(timeline, window, evaluation.judged, expected, verdicts)
        for consumer in self.consumers:
            yield from self._published(consumer.on_window(closed))

    def _forget(self, event: BaselinesReset) -> Iterator[Alert]:
        """Resolve the alerts on measures that lost a baseline. Alerts on limits stay: a limit needs no baseline."""
        timeline, reset, names = event.timeline, event.reset, sorted(event.measures)
        for consumer in self.consumers:
            names += consumer.on_reset(event)
        for version, segment in timeline.state.ids.groups:
            for name in names:
                if reset.covers(version, segment, name) or (
                    name == JOINT and segment == ALL_SEGMENTS and reset.version in (None, version)
                ):
                    for kind in FROM_BASELINES:
                        cause = AlertKey(self.state.model, version, segment, name, kind)
                        alert = self.state.alerts.forget(cause, event.start)
                        if alert is not None:
                            yield alert

    def _alarmed(self, owner: Owner, span: tuple[int, int]) -> bool:
        """Whether an alert covers a slice of this owner's measure."""
        about = self.state.model, *owner
        after, alarmed = self.settings.baseline.accept_after, self.state.alerts.alarmed
        return any(alarmed(AlertKey(*about, kind), span, after) for kind in ABNORMAL)


def _evaluation_of(
    timeline: Timeline, window: Window, expected: Mapping[int, Sequence[str]], settings: DetectionSettings
) -> WindowEvaluation:
    """The comparisons of a window's measures with their baselines. `run_tests` does the tests."""
    state, context = timeline.state, evaluation_context(timeline)
    comparisons = comparisons_of(window, context, settings.min_count)
    if timeline.rules.recent is None:  # a recent baseline does not know hours without values
        comparisons += absent_comparisons(window, context, settings.min_count, comparisons, expected)
    comparisons += first_values(state, timeline.rules, window, settings.min_count)
    comparisons = [one for one in comparisons if not settings.ignores(one.measure)]
    sizes = sorted(size for size in timeline.slide_of if size <= window.size)
    dispersions = [(size, state.dispersion.get(size, Dispersion())) for size in sizes]
    joint = () if settings.ignores(JOINT) else timeline.joint.comparisons(window, settings, list(state.ids.groups))
    return WindowEvaluation(
        comparisons, settings, list(joint), window, dispersions, state.ids.measures if state.name == "input" else None
    )
