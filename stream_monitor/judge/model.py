"""The judge of one model: its timelines, performance windows and alerts.

It is a state machine whose inputs are deltas and watermarks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stream_monitor.baselines.pinned import PinnedMeasure
from stream_monitor.baselines.recent import plan_of
from stream_monitor.baselines.sampled_rows import Rows
from stream_monitor.config.durations import format_duration
from stream_monitor.config.settings import Settings
from stream_monitor.detect.cusum.bank import CusumBank, PaneBatch
from stream_monitor.detect.false_alarm_budget import sequential_ms, window_level
from stream_monitor.detect.windows.overdispersion import Dispersion, DispersionUpdate
from stream_monitor.detect.windows.volume import VolumeRange
from stream_monitor.events.contracts import Alert, Attribution, ErrorChange, Health, Metric
from stream_monitor.judge.alerts.attribution import MOST_OF_IT, attribution_of
from stream_monitor.judge.alerts.lifecycle import AlertKey, EvidenceSpan
from stream_monitor.judge.baselines.recent_rows import Owner
from stream_monitor.judge.detection.evidence import numeric_evidence
from stream_monitor.judge.detection.limits import findings_of, parse_limit
from stream_monitor.judge.detection.sequential import SequentialFinding, SequentialRules
from stream_monitor.judge.detection.window_evaluation import (
    EvaluationContext,
    MeasureComparison,
    Verdict,
    WindowEvaluation,
    comparisons_of,
    control_false_discoveries,
    dispersion_update,
    run_tests,
)
from stream_monitor.judge.health import Gone, health_of, open_ids, with_alerts
from stream_monitor.judge.metrics import window_metrics as metrics
from stream_monitor.judge.model_state import ABNORMAL, ATTRIBUTED, FROM_BASELINES, TIMELINES, ModelState
from stream_monitor.judge.panes.open_panes import OpenBytes
from stream_monitor.judge.panes.pane import Pane
from stream_monitor.judge.panes.watermarks import Watermarks
from stream_monitor.judge.panes.windows import Window
from stream_monitor.judge.timelines.since_change import measure_since
from stream_monitor.judge.timelines.state import CatalogUpdate, TimelineRules
from stream_monitor.judge.timelines.timeline import (
    BaselinesReset,
    ChangeDetected,
    PaneClosed,
    SlicesDue,
    Timeline,
    WindowClosed,
    WindowEmpty,
)
from stream_monitor.profiles.bin_catalog import CatalogRecord
from stream_monitor.profiles.delta import Delta
from stream_monitor.profiles.measures import JOINT, VOLUME, group_of
from stream_monitor.profiles.measures import TimelineName as TimelineName
from stream_monitor.profiles.names import ALL_SEGMENTS, END, NEVER, OTHER
from stream_monitor.profiles.records import PerformanceDelta, ResetRecord
from stream_monitor.types import F64, I64
from stream_monitor.wire.msgpack_arrays import unpack

JudgeOutput = Alert | Metric | Health | Gone | CatalogRecord

BatchTask = PaneBatch | WindowEvaluation | DispersionUpdate
"""Work that is batched over many models: by `CusumBank.step`, `window_evaluation.run_tests` or
`overdispersion.learn`."""


class ModelJudge:
    """Judges one model: closes panes and windows, and publishes alerts, metrics and health.

    All data that must survive a restart lies in `ModelState`.
    """

    def __init__(
        self, state: ModelState, settings: Settings, bank: CusumBank | None = None, open_bytes: OpenBytes | None = None
    ) -> None:
        self.state, self.settings = state, settings
        self.changed = True
        """Whether the state may differ from the last snapshot."""
        self._shortest = min(spec.size for spec in settings.time.windows)
        self.limits = [parse_limit(text) for text in settings.detection.limits]
        rows = CusumBank() if bank is None else bank
        self.timelines = {
            name: Timeline(timeline, self._rules(timeline.name), rows, open_bytes)
            for name, timeline in state.timelines.items()
        }

    def _rules(self, timeline: TimelineName) -> TimelineRules:
        settings = self.settings
        values: dict[str, tuple[float, ...]] = {}
        for limit in self.limits:
            values[limit.measure] = (*values.get(limit.measure, ()), limit.value)
        return TimelineRules(
            model=self.state.model,
            pane_ms=settings.time.pane,
            windows=settings.time.windows,
            first=settings.baseline.first,
            caps=settings.caps,
            limits=values,
            sequential=SequentialRules(
                self._detectors(timeline), sequential_ms(settings.detection), settings.detection
            ),
            recent=plan_of(settings.baseline, settings.time.pane),
        )

    def _detectors(self, timeline: TimelineName) -> tuple[str, ...]:
        detection = self.settings.detection
        return {"input": detection.input, "label": detection.outcome}.get(timeline, ())

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

    def end(self) -> Iterator[Alert]:
        """Resolve all alerts of a model before the judge forgets it, at the event time at which its ttl ends."""
        ttl = self.settings.caps.model_ttl
        reason = f"nothing of the model came for {format_duration(ttl)}, and it is forgotten"
        yield from self.state.alerts.abandon(self.state.last_event + ttl, reason)

    def feed(self, delta: Delta) -> None:
        """Add a delta of this model."""
        self.changed = True
        self.timelines[delta.timeline].feed(delta)

    def feed_performance(self, delta: PerformanceDelta) -> None:
        """Add outcomes, by the time of their predictions."""
        self.changed = True
        self.state.lost_labels += self.state.performance.feed(delta)

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
                    if isinstance(event, PaneClosed):
                        self._closed(timeline, event.pane)
                    else:
                        yield from self._process(event)
        if self.state.watches.by_id:
            self.changed = True
            label, least = self.timelines["label"].state, self.settings.detection.min_count
            yield from self.state.watches.expire(label.closed_until, label.baselines, least)
        marks = watermarks.for_timeline("label"), watermarks.for_timeline("feedback")
        self.changed = self.changed or self.state.performance.due(*marks)
        for revised in self.state.performance.advance(*marks):
            yield from metrics.performance_metrics(self.state.model, revised)
        published = self.state.health
        if published is not None and open_ids(self.state.alerts) != {alert.id for alert in published.open}:
            self.changed = True
            self.state.health = with_alerts(published, self.state.alerts)
            yield self.state.health

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
                evaluation = self._evaluate_window(finished.timeline, finished.window)
                run_tests([evaluation], self.settings.detection)
                yield from metrics.window_metrics(finished.timeline, finished.window, evaluation.judged, final=False)
                if name == "input" and finished.window.size == self._shortest:
                    yield self._health(finished.timeline, finished.window, final=False)
        for revised in self.state.performance.preview():
            yield from metrics.performance_metrics(self.state.model, revised)

    def _process(self, event: Any) -> Iterator[JudgeOutput | BatchTask]:
        match event:
            case PaneBatch():
                yield event
            case CatalogUpdate(record=record):
                yield record
            case ChangeDetected(timeline=timeline, pane=pane, found=finding):
                yield from self._sequential_alerts(timeline, pane, finding)
            case WindowClosed(timeline=timeline, window=window):
                yield from self._judge(timeline, window)
            case _:
                yield from self._process_rare(event)

    def _process_rare(self, event: Any) -> Iterator[JudgeOutput]:
        match event:
            case SlicesDue(timeline=timeline, until=until):
                timeline.recent.absorb_due_slices(until, self._alarmed)
            case BaselinesReset(timeline=timeline):
                yield from self._forget(timeline, event)
            case WindowEmpty(timeline=timeline, start=start, size=size):
                if timeline.state.name == "input" and size == self._shortest:
                    yield self._health(timeline, Window(size, start), final=True)
                if timeline.state.name == "input" and self.state.model != OTHER:
                    yield from self._check_volume(timeline, {}, EvidenceSpan(start, start + size, size))

    def _forget(self, timeline: Timeline, forgotten: BaselinesReset) -> Iterator[Alert]:
        """Resolve the alerts on measures that lost a baseline. Alerts on limits stay: a limit needs no baseline."""
        reset, names = forgotten.reset, sorted(forgotten.measures)
        if timeline.state.name == "input" and (reset.version is None or reset.measure == VOLUME):  # never pinned
            names.append(VOLUME)
            for key in [key for key in self.state.volumes if reset.covers(key[0], key[1], VOLUME)]:
                del self.state.volumes[key]
        for version, segment in timeline.state.ids.groups:
            for name in names:
                if reset.covers(version, segment, name) or (
                    name == JOINT and segment == ALL_SEGMENTS and reset.version in (None, version)
                ):
                    for kind in FROM_BASELINES:
                        cause = AlertKey(self.state.model, version, segment, name, kind)
                        alert = self.state.alerts.forget(cause, group_of(timeline.state.name, name), forgotten.start)
                        if alert is not None:
                            yield alert

    def _alarmed(self, owner: Owner, span: tuple[int, int]) -> bool:
        """Whether an alert covers a slice of this owner's measure."""
        about = self.state.model, *owner
        after, alarmed = self.settings.baseline.accept_after, self.state.alerts.alarmed
        return any(alarmed(AlertKey(*about, kind), span, after) for kind in ABNORMAL)

    def _closed(self, timeline: Timeline, pane: Pane) -> None:
        """Count the predictions of a closed pane; the pane itself is not judged."""
        if timeline.state.name != "input":
            return
        self.state.last_event = max(self.state.last_event, pane.start)
        groups = list(timeline.state.ids.groups)
        for group, count in sorted(pane.accepted.items()):
            self.state.performance.count(groups[group], pane.start, count)

    # --- a finished window ---

    def _judge(self, timeline: Timeline, window: Window) -> Iterator[JudgeOutput | BatchTask]:
        evaluation = self._evaluate_window(timeline, window)
        yield evaluation
        comparisons = evaluation.judged
        moment = EvidenceSpan(window.start, window.end, window.size)
        if self.state.model != OTHER:
            level = window_level(self.settings.detection, timeline.slide_of[window.size], len(timeline.assembler))
            verdicts = control_false_discoveries(comparisons, self.settings.detection, level)
            for verdict in verdicts:
                for alert in self._alert(timeline, verdict.group, verdict, moment):
                    if (alert.status, alert.kind) == ("open", "drift") and timeline.state.name in ATTRIBUTED:
                        self._attribute_window(alert, verdict, comparisons, (timeline, window))
                    yield alert
            if window.start % window.size == 0:  # overlapping windows hold the same values
                scatter = timeline.state.dispersion.setdefault(window.size, Dispersion())
                if (scatter_update := dispersion_update(comparisons, verdicts, scatter)) is not None:
                    yield scatter_update
            if timeline.state.name == "label":
                least = self.settings.detection.min_count
                yield from self.state.watches.finished(window, timeline.state.ids, timeline.state.baselines, least)
            yield from self._check_limits(timeline, window, moment)
            if timeline.state.name == "input":
                counts = dict(enumerate(window.counts[:, 0].tolist()))
                yield from self._check_volume(timeline, counts, moment)
        yield from self._publish(timeline, window, comparisons)

    def _publish(
        self, timeline: Timeline, window: Window, comparisons: Sequence[MeasureComparison]
    ) -> Iterator[JudgeOutput]:
        if timeline.state.name in ("input", "observation"):
            yield from metrics.window_metrics(timeline, window, comparisons, final=True)
        if timeline.state.name == "input" and window.size == self._shortest:
            yield self._health(timeline, window, final=True)

    def _health(self, timeline: Timeline, window: Window, final: bool) -> Health:
        health = health_of(timeline, window, self.state.alerts, self.state.performance, final)
        if final:  # a preview must not change the state
            self.state.health = health
        return health

    def _evaluate_window(self, timeline: Timeline, window: Window) -> WindowEvaluation:
        state, settings = timeline.state, self.settings.detection
        comparisons = comparisons_of(window, self._context(timeline), settings.min_count)
        scatter = state.dispersion.get(window.size, Dispersion())
        rows = list(timeline.joint.comparisons(window, settings, list(state.ids.groups)))
        return WindowEvaluation(
            comparisons, rows, window, scatter, state.ids.measures if state.name == "input" else None
        )

    @staticmethod
    def _context(timeline: Timeline) -> EvaluationContext:
        state, recent = timeline.state, timeline.recent.baseline_for
        return EvaluationContext(list(state.ids.groups), list(state.ids.measures), state.baselines, state.edges, recent)

    def _sequential_alerts(self, timeline: Timeline, pane: int, detected: SequentialFinding) -> Iterator[Alert]:
        """Pass the finding of a sequential detector at a pane to the alert of its measure."""
        findings = [] if detected.finding is None else [detected.finding]
        verdict = Verdict(detected.group, detected.measure, "drift", findings)
        moment = EvidenceSpan(pane, pane + self.settings.time.pane, detected.voice)
        for alert in self._alert(timeline, detected.group, verdict, moment):
            if alert.status == "open":
                self._attribute_pane(alert, verdict, timeline, pane)
            yield alert

    def _attribute_window(
        self,
        alert: Alert,
        verdict: Verdict,
        comparisons: Sequence[MeasureComparison],
        finished: tuple[Timeline, Window],
    ) -> None:
        """Attribute the drift of an alert that a window opened."""
        timeline, window = finished
        comparison = next(s for s in comparisons if (s.group, s.measure) == (verdict.group, verdict.measure))
        attribution = attribution_of(comparison, verdict.findings[0].evidence, self._context(timeline), [window])
        self._attribute(alert, timeline, attribution, (window.start, window.size))

    def _attribute_pane(self, alert: Alert, verdict: Verdict, timeline: Timeline, pane: int) -> None:
        """Attribute the change of an alert that a sequential detector opened, from the data retained since it began."""
        finding, context = verdict.findings[0], self._context(timeline)
        began = pane if finding.change_ts is None else finding.change_ts
        since = measure_since(timeline, context, (verdict.group, verdict.measure), (began, pane))
        attribution = Attribution()
        if since is not None:
            comparison, windows = since
            assert comparison.borders is not None  # sequential detectors follow only numeric measures
            drawn = numeric_evidence(
                comparison.baseline, comparison.base, comparison.now, comparison.borders, comparison.ends
            )
            finding.evidence |= drawn | {"baseline": finding.evidence.get("baseline", {}) | drawn["baseline"]}
            attribution = attribution_of(comparison, drawn, context, windows)
            attribution.since = windows[0].start
        shortest = min(self.settings.time.windows)
        self._attribute(alert, timeline, attribution, (pane - pane % shortest.slide, shortest.size))

    def _attribute(self, alert: Alert, timeline: Timeline, attribution: Attribution, first: tuple[int, int]) -> None:
        """Attach an attribution to an alert. For an input, watch the labels for error impact from window `first` on.

        `first` is (start, size) of that window.
        """
        if attribution.segments and attribution.segments[0].part >= MOST_OF_IT:
            alert.reason += f"; {min(attribution.segments[0].part, 1):.0%} of it from {attribution.segments[0].segment}"
        alert.attribution = attribution
        if timeline.state.name == "input":
            attribution.error = ErrorChange(state="unknown")
            self.state.watches.add(alert, first, self.settings.join.label_horizon)

    def _alert(self, timeline: Timeline, group: int, verdict: Verdict, moment: EvidenceSpan) -> Iterator[Alert]:
        version, segment = list(timeline.state.ids.groups)[group]
        cause = AlertKey(self.state.model, version, segment, verdict.measure, verdict.kind)
        measure_group = group_of(timeline.state.name, verdict.measure)
        findings = None if verdict.doubtful else verdict.findings
        alert = self.state.alerts.observe(cause, measure_group, moment, findings, self.settings.detection)
        if alert is not None:
            yield alert

    def _check_limits(self, timeline: Timeline, window: Window, moment: EvidenceSpan) -> Iterator[Alert]:
        if not self.limits:
            return
        for group in range(min(len(timeline.state.ids.groups), max(len(window.counts), window.numbers.n.shape[0]))):
            summaries = metrics.summarise(timeline, window, group, {})
            for limit in self.limits:
                summary = summaries.get(limit.measure)
                if summary is not None and summary.n:
                    findings = findings_of(limit, summary, *_binned(timeline, window, group, limit.measure))
                    yield from self._alert(timeline, group, Verdict(group, limit.measure, "limit", findings), moment)

    def _check_volume(self, timeline: Timeline, counts: Mapping[int, int], moment: EvidenceSpan) -> Iterator[Alert]:
        """Test each version's event count in a window against its range. `counts` is by group; a missing group is 0."""
        tolerance = self.settings.detection.tolerance.get("volume", 2.0)
        for group, (version, segment) in enumerate(timeline.state.ids.groups):
            if segment != ALL_SEGMENTS:
                continue
            key = version, segment, moment.size
            volume_range, slide = self.state.volumes.setdefault(key, VolumeRange()), timeline.slide_of[moment.size]
            count = counts.get(group, 0)
            finding = volume_range.check(count, slide, tolerance)
            if finding is None and not volume_range.learned(slide):
                volume_range.train(count, partial=moment.size // slide - 1)
                continue
            yield from self._alert(
                timeline, group, Verdict(group, VOLUME, "drift", [finding] if finding else []), moment
            )


def _binned(timeline: Timeline, window: Window, group: int, name: str) -> tuple[I64 | None, F64 | None]:
    """The bin counts of a numeric measure and its edges; (None, None) for a measure without edges."""
    measure, edges = timeline.state.ids.measures.get(name), timeline.state.edges.get(name)
    if measure is None or edges is None:
        return None, None
    return window.numbers.counts[group, measure], edges.edges
