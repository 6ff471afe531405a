"""One model: its lanes, its performance windows and its alerts, as an automaton over deltas and watermarks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stream_monitor.baselines.pinned import PinnedMeasure
from stream_monitor.baselines.recent import plan_of
from stream_monitor.baselines.sampled_rows import Rows
from stream_monitor.config.durations import format_duration
from stream_monitor.config.settings import Settings
from stream_monitor.detect.cusum.bank import Grid, Step
from stream_monitor.detect.false_alarm_budget import sequential_ms, window_level
from stream_monitor.detect.windows.overdispersion import Dispersion, Lesson
from stream_monitor.detect.windows.volume import VolumeRange
from stream_monitor.events.contracts import Alert, Attribution, ErrorChange, Health, Metric
from stream_monitor.judge.alerts.attribution import MOST_OF_IT, attribution_of
from stream_monitor.judge.alerts.lifecycle import Cause, Moment
from stream_monitor.judge.baselines.recent_rows import Owner
from stream_monitor.judge.detection.evidence import numeric_evidence
from stream_monitor.judge.detection.limits import findings_of, parse_limit
from stream_monitor.judge.detection.sequential import Found, SequentialRules
from stream_monitor.judge.detection.window_evaluation import (
    Bench,
    Subject,
    Trial,
    Verdict,
    control,
    lesson_of,
    run_tests,
    subjects_of,
)
from stream_monitor.judge.health import Gone, health_of, open_ids, with_alerts
from stream_monitor.judge.metrics import window_metrics as metrics
from stream_monitor.judge.model_state import ABNORMAL, ATTRIBUTED, FROM_BASELINES, LANES, ModelState
from stream_monitor.judge.panes.open_panes import OpenBytes
from stream_monitor.judge.panes.pane import Pane
from stream_monitor.judge.panes.watermarks import Watermarks
from stream_monitor.judge.panes.windows import Window
from stream_monitor.judge.timelines.since_change import since
from stream_monitor.judge.timelines.state import LaneRules, Learned
from stream_monitor.judge.timelines.timeline import Closed, Emptied, Finished, Forgotten, Lane, Rang, Ripe
from stream_monitor.profiles.bin_catalog import Notice
from stream_monitor.profiles.delta import Delta
from stream_monitor.profiles.measures import JOINT, VOLUME, group_of
from stream_monitor.profiles.measures import Lane as LaneName
from stream_monitor.profiles.names import ALL, END, NEVER, OTHER
from stream_monitor.profiles.records import PerformanceDelta, ResetRecord
from stream_monitor.types import F64, I64
from stream_monitor.wire.msgpack_arrays import unpack

Said = Alert | Metric | Health | Gone | Notice

Task = Step | Trial | Lesson
"""What is done for many models at once, by `Grid.step`, `verdicts.run_tests` or `dispersion.learn`."""


class ModelJudge:
    """Behaviour around a `ModelState`."""

    def __init__(
        self, state: ModelState, settings: Settings, grid: Grid | None = None, open_bytes: OpenBytes | None = None
    ) -> None:
        self.state, self.settings = state, settings
        self.changed = True
        """Whether the state may differ from the one that was saved last."""
        self._shortest = min(pace.size for pace in settings.time.windows)
        self.limits = [parse_limit(text) for text in settings.detection.limits]
        rows = Grid() if grid is None else grid
        self.lanes = {name: Lane(lane, self._rules(lane.name), rows, open_bytes) for name, lane in state.lanes.items()}

    def _rules(self, lane: LaneName) -> LaneRules:
        settings = self.settings
        values: dict[str, tuple[float, ...]] = {}
        for limit in self.limits:
            values[limit.measure] = (*values.get(limit.measure, ()), limit.value)
        return LaneRules(
            model=self.state.model,
            pane_ms=settings.time.pane,
            windows=settings.time.windows,
            first=settings.baseline.first,
            caps=settings.caps,
            limits=values,
            sequential=SequentialRules(self._detectors(lane), sequential_ms(settings.detection), settings.detection),
            recent=plan_of(settings.baseline, settings.time.pane),
        )

    def _detectors(self, lane: LaneName) -> tuple[str, ...]:
        detection = self.settings.detection
        return {"input": detection.input, "label": detection.outcome}.get(lane, ())

    def saved_state(self) -> ModelState:
        """The state for a snapshot, whole until `saved` is called."""
        self.catch_up()
        for lane in self.lanes.values():
            lane.sequential.save()
        return self.state

    def saved(self) -> None:
        """The state was written."""
        for lane in self.lanes.values():
            lane.sequential.saved()
        self.changed = False

    def catch_up(self) -> None:
        """Let the state hold all that has come."""
        for lane in self.lanes.values():
            lane.catch_up()

    def release(self) -> None:
        """Give back what is shared with other models: this one is forgotten."""
        for lane in self.lanes.values():
            lane.sequential.release()

    def end(self) -> Iterator[Alert]:
        """End the alerts of a model that is about to be forgotten: at the event time from which on it may be."""
        ttl = self.settings.caps.model_ttl
        reason = f"nothing of the model came for {format_duration(ttl)}, and it is forgotten"
        yield from self.state.alerts.abandon(self.state.last_event + ttl, reason)

    def feed(self, delta: Delta) -> None:
        """Take in a delta of this model."""
        self.changed = True
        self.lanes[delta.lane].feed(delta)

    def feed_performance(self, delta: PerformanceDelta) -> None:
        """Take in outcomes by the time of their prediction."""
        self.changed = True
        self.state.lost_labels += self.state.performance.feed(delta)

    def pin(self, version: str | None, measures: Sequence[PinnedMeasure]) -> Iterator[Said]:
        """Put a pinned baseline in force."""
        self.changed = True
        rows = [pinned for pinned in measures if pinned.rows]
        if rows:
            lane, parts = self.lanes["input"], [unpack(pinned.rows, Rows, own=True) for pinned in rows]
            lane.joint.pin(version, rows[0].baseline.name, parts, lane.state.closed)
        for pinned in measures:
            if not pinned.rows:
                for learned in self.lanes[pinned.lane].pin(version, pinned):
                    yield learned.record

    def reset(self, reset: ResetRecord) -> Iterator[Said]:
        """Forget what is normal from a pane on that has not closed yet."""
        self.changed = True
        for lane in self.lanes.values():
            for learned in lane.normal.announce(reset):
                yield learned.record

    def notices(self) -> Iterator[Notice]:
        """Edges and baselines as they are in force."""
        for lane in self.lanes.values():
            for learned in lane.normal.notices():
                yield learned.record

    def advance(self, watermarks: Watermarks) -> Iterator[Said | Task]:
        """Close what the watermarks allow; a task is to be done before the next is asked for."""
        for name in LANES:
            watermark, lane = watermarks.of(name), self.lanes[name]
            if watermark > NEVER and not lane.rest(watermark):
                self.changed = True
                last = watermarks.last(name) if watermark >= END else END
                for happening in lane.advance(watermark, last):
                    if isinstance(happening, Closed):
                        self._closed(lane, happening.pane)
                    else:
                        yield from self._hear(happening)
        if self.state.watches.by_id:
            self.changed = True
            label, least = self.lanes["label"].state, self.settings.detection.min_count
            yield from self.state.watches.pass_by(label.closed, label.baselines, least)
        marks = watermarks.of("label"), watermarks.of("feedback")
        self.changed = self.changed or self.state.performance.due(*marks)
        for revised in self.state.performance.advance(*marks):
            yield from metrics.of_performance(self.state.model, revised)
        told = self.state.health
        if told is not None and open_ids(self.state.alerts) != {alert.id for alert in told.open}:
            self.changed = True
            self.state.health = with_alerts(told, self.state.alerts)
            yield self.state.health

    def rest(self, watermarks: Watermarks) -> None:
        """Pass watermarks that changed nothing but the time: of a model that was not saved since."""
        for name in LANES:
            if watermarks.of(name) > NEVER:
                self.lanes[name].rest(watermarks.of(name))
        self.state.performance.rest(min(watermarks.of("label"), watermarks.of("feedback")))

    def preview(self, watermarks: Watermarks) -> Iterator[Metric | Health]:
        """Open windows as they stand."""
        shown: tuple[LaneName, ...] = ("input", "observation")
        for name in shown:
            for finished in self.lanes[name].preview(watermarks.last(name)):
                trial = self._trial(finished.lane, finished.window)
                run_tests([trial], self.settings.detection)
                yield from metrics.of_window(finished.lane, finished.window, trial.judged, final=False)
                if name == "input" and finished.window.size == self._shortest:
                    yield self._health(finished.lane, finished.window, final=False)
        for revised in self.state.performance.preview():
            yield from metrics.of_performance(self.state.model, revised)

    def _hear(self, happening: Any) -> Iterator[Said | Task]:
        match happening:
            case Step():
                yield happening
            case Learned(record=record):
                yield record
            case Rang(lane=lane, pane=pane, found=found):
                yield from self._ring(lane, pane, found)
            case Finished(lane=lane, window=window):
                yield from self._judge(lane, window)
            case _:
                yield from self._hear_rarely(happening)

    def _hear_rarely(self, happening: Any) -> Iterator[Said]:
        match happening:
            case Ripe(lane=lane, until=until):
                lane.recent.settle(until, self._alarmed)
            case Forgotten(lane=lane):
                yield from self._forget(lane, happening)
            case Emptied(lane=lane, start=start, size=size):
                if lane.state.name == "input" and size == self._shortest:
                    yield self._health(lane, Window(size, start), final=True)
                if lane.state.name == "input" and self.state.model != OTHER:
                    yield from self._check_volume(lane, {}, Moment(start, start + size, size))

    def _forget(self, lane: Lane, forgotten: Forgotten) -> Iterator[Alert]:
        """End the alerts on measures that lost a baseline; limits need none."""
        reset, names = forgotten.reset, sorted(forgotten.measures)
        if lane.state.name == "input" and (reset.version is None or reset.measure == VOLUME):  # it is never pinned
            names.append(VOLUME)
            for key in [key for key in self.state.volumes if reset.covers(key[0], key[1], VOLUME)]:
                del self.state.volumes[key]
        for version, segment in lane.state.ids.groups:
            for name in names:
                if reset.covers(version, segment, name) or (
                    name == JOINT and segment == ALL and reset.version in (None, version)
                ):
                    for kind in FROM_BASELINES:
                        cause = Cause(self.state.model, version, segment, name, kind)
                        alert = self.state.alerts.forget(cause, group_of(lane.state.name, name), forgotten.start)
                        if alert is not None:
                            yield alert

    def _alarmed(self, owner: Owner, span: tuple[int, int]) -> bool:
        """Whether the measure of a slice was in alert."""
        about = self.state.model, *owner
        after, alarmed = self.settings.baseline.accept_after, self.state.alerts.alarmed
        return any(alarmed(Cause(*about, kind), span, after) for kind in ABNORMAL)

    def _closed(self, lane: Lane, pane: Pane) -> None:
        """Count what a closed pane had of predictions; nothing is said of it."""
        if lane.state.name != "input":
            return
        self.state.last_event = max(self.state.last_event, pane.start)
        groups = list(lane.state.ids.groups)
        for group, count in sorted(pane.accepted.items()):
            self.state.performance.count(groups[group], pane.start, count)

    # --- a finished window ---

    def _judge(self, lane: Lane, window: Window) -> Iterator[Said | Task]:
        trial = self._trial(lane, window)
        yield trial
        subjects = trial.judged
        moment = Moment(window.start, window.end, window.size)
        if self.state.model != OTHER:
            level = window_level(self.settings.detection, lane.slide_of[window.size], len(lane.slides))
            verdicts = control(subjects, self.settings.detection, level)
            for verdict in verdicts:
                for alert in self._alert(lane, verdict.group, verdict, moment):
                    if (alert.status, alert.kind) == ("open", "drift") and lane.state.name in ATTRIBUTED:
                        self._attribute_window(alert, verdict, subjects, (lane, window))
                    yield alert
            if window.start % window.size == 0:  # windows that overlap tell of the same values
                scatter = lane.state.dispersion.setdefault(window.size, Dispersion())
                if (lesson := lesson_of(subjects, verdicts, scatter)) is not None:
                    yield lesson
            if lane.state.name == "label":
                least = self.settings.detection.min_count
                yield from self.state.watches.finished(window, lane.state.ids, lane.state.baselines, least)
            yield from self._check_limits(lane, window, moment)
            if lane.state.name == "input":
                counts = dict(enumerate(window.counts[:, 0].tolist()))
                yield from self._check_volume(lane, counts, moment)
        yield from self._publish(lane, window, subjects)

    def _publish(self, lane: Lane, window: Window, subjects: Sequence[Subject]) -> Iterator[Said]:
        if lane.state.name in ("input", "observation"):
            yield from metrics.of_window(lane, window, subjects, final=True)
        if lane.state.name == "input" and window.size == self._shortest:
            yield self._health(lane, window, final=True)

    def _health(self, lane: Lane, window: Window, final: bool) -> Health:
        found = health_of(lane, window, self.state.alerts, self.state.performance, final)
        if final:  # looking changes nothing
            self.state.health = found
        return found

    def _trial(self, lane: Lane, window: Window) -> Trial:
        state, settings = lane.state, self.settings.detection
        subjects = subjects_of(window, self._bench(lane), settings.min_count)
        scatter = state.dispersion.get(window.size, Dispersion())
        rows = list(lane.joint.subjects(window, settings, list(state.ids.groups)))
        return Trial(subjects, rows, window, scatter, state.ids.measures if state.name == "input" else None)

    @staticmethod
    def _bench(lane: Lane) -> Bench:
        state, recent = lane.state, lane.recent.judging
        return Bench(list(state.ids.groups), list(state.ids.measures), state.baselines, state.edges, recent)

    def _ring(self, lane: Lane, pane: int, found: Found) -> Iterator[Alert]:
        """What a sequential detector says of a measure at a pane."""
        findings = [] if found.finding is None else [found.finding]
        verdict = Verdict(found.group, found.measure, "drift", findings)
        moment = Moment(pane, pane + self.settings.time.pane, found.voice)
        for alert in self._alert(lane, found.group, verdict, moment):
            if alert.status == "open":
                self._attribute_pane(alert, verdict, lane, pane)
            yield alert

    def _attribute_window(
        self, alert: Alert, verdict: Verdict, subjects: Sequence[Subject], finished: tuple[Lane, Window]
    ) -> None:
        """Say where a drift comes from that a window opened an alert on."""
        lane, window = finished
        subject = next(s for s in subjects if (s.group, s.measure) == (verdict.group, verdict.measure))
        found = attribution_of(subject, verdict.findings[0].evidence, self._bench(lane), [window])
        self._attribute(alert, lane, found, (window.start, window.size))

    def _attribute_pane(self, alert: Alert, verdict: Verdict, lane: Lane, pane: int) -> None:
        """The same of a change that a sequential detector found, from what is retained since it began."""
        finding, bench = verdict.findings[0], self._bench(lane)
        began = pane if finding.change_ts is None else finding.change_ts
        came, found = since(lane, bench, (verdict.group, verdict.measure), (began, pane)), Attribution()
        if came is not None:
            subject, windows = came
            assert subject.borders is not None  # these detectors see numbers
            drawn = numeric_evidence(subject.baseline, subject.base, subject.now, subject.borders, subject.ends)
            finding.evidence |= drawn | {"baseline": finding.evidence.get("baseline", {}) | drawn["baseline"]}
            found = attribution_of(subject, drawn, bench, windows)
            found.since = windows[0].start
        shortest = min(self.settings.time.windows)
        self._attribute(alert, lane, found, (pane - pane % shortest.slide, shortest.size))

    def _attribute(self, alert: Alert, lane: Lane, found: Attribution, first: tuple[int, int]) -> None:
        """Attach what was found; of inputs watch for labels that say whether it matters, from the `first` window on."""
        if found.segments and found.segments[0].part >= MOST_OF_IT:
            alert.reason += f"; {min(found.segments[0].part, 1):.0%} of it from {found.segments[0].segment}"
        alert.attribution = found
        if lane.state.name == "input":
            found.error = ErrorChange(state="unknown")
            self.state.watches.add(alert, first, self.settings.join.label_horizon)

    def _alert(self, lane: Lane, group: int, verdict: Verdict, moment: Moment) -> Iterator[Alert]:
        version, segment = list(lane.state.ids.groups)[group]
        cause = Cause(self.state.model, version, segment, verdict.measure, verdict.kind)
        measure_group = group_of(lane.state.name, verdict.measure)
        findings = None if verdict.doubtful else verdict.findings
        alert = self.state.alerts.hear(cause, measure_group, moment, findings, self.settings.detection)
        if alert is not None:
            yield alert

    def _check_limits(self, lane: Lane, window: Window, moment: Moment) -> Iterator[Alert]:
        if not self.limits:
            return
        for group in range(min(len(lane.state.ids.groups), max(len(window.counts), window.numbers.n.shape[0]))):
            summaries = metrics.summarise(lane, window, group, {})
            for limit in self.limits:
                summary = summaries.get(limit.measure)
                if summary is not None and summary.n:
                    findings = findings_of(limit, summary, *_binned(lane, window, group, limit.measure))
                    yield from self._alert(lane, group, Verdict(group, limit.measure, "limit", findings), moment)

    def _check_volume(self, lane: Lane, counts: Mapping[int, int], moment: Moment) -> Iterator[Alert]:
        """Hold each version's count in a window, by group, against its range; one that is not there has none."""
        tolerance = self.settings.detection.tolerance.get("volume", 2.0)
        for group, (version, segment) in enumerate(lane.state.ids.groups):
            if segment != ALL:
                continue
            key = version, segment, moment.size
            known, slide = self.state.volumes.setdefault(key, VolumeRange()), lane.slide_of[moment.size]
            count = counts.get(group, 0)
            finding = known.judge(count, slide, tolerance)
            if finding is None and not known.learned(slide):
                known.learn(count, partial=moment.size // slide - 1)
                continue
            yield from self._alert(lane, group, Verdict(group, VOLUME, "drift", [finding] if finding else []), moment)


def _binned(lane: Lane, window: Window, group: int, name: str) -> tuple[I64 | None, F64 | None]:
    """The counts of a numeric measure and their borders, where it has edges."""
    measure, edges = lane.state.ids.measures.get(name), lane.state.edges.get(name)
    if measure is None or edges is None:
        return None, None
    return window.numbers.counts[group, measure], edges.borders
