"""The contract between a model's judge and what follows its closed windows.

A judge closes a window, compares its measures with their baselines, and passes the result to each consumer in the order
of `registry.CONSUMERS`. A new consumer is a class here in this room and a line of that table. Its state is a struct
that the snapshots keep under the consumer's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

import msgspec

from stream_monitor.config.settings import Settings
from stream_monitor.detect.cusum.bank import PaneBatch
from stream_monitor.detect.windows.overdispersion import DispersionUpdate
from stream_monitor.events.contracts import Alert, Health, Metric
from stream_monitor.events.rollouts import RolloutDecision
from stream_monitor.judge.alerts.lifecycle import AlertKey, AlertLifecycle, EvidenceSpan
from stream_monitor.judge.detection.limits import Limit
from stream_monitor.judge.detection.verdicts import Verdict
from stream_monitor.judge.detection.window_evaluation import EvaluationContext, MeasureComparison, WindowEvaluation
from stream_monitor.judge.metrics.performance import Performance, Revised
from stream_monitor.judge.panes.pane import Pane
from stream_monitor.judge.panes.windows import Window
from stream_monitor.judge.timelines.timeline import BaselinesReset, ChangeDetected, Timeline, WindowEmpty
from stream_monitor.profiles.measures import group_of
from stream_monitor.profiles.pairs import PairDelta
from stream_monitor.profiles.records import PerformanceDelta, RolloutRecord

BatchTask = PaneBatch | WindowEvaluation | DispersionUpdate
"""Work that is batched over many models: by `CusumBank.step`, `window_evaluation.run_tests` or
`overdispersion.learn`."""


class NoState(msgspec.Struct):
    """The state of a consumer that keeps nothing between windows."""


@dataclass(frozen=True, slots=True)
class ClosedWindow:
    """A window that has ended, or a preview of an open one, and the comparison of its measures with their baselines."""

    timeline: Timeline
    window: Window
    comparisons: Sequence[MeasureComparison]
    expected: Mapping[int, Sequence[str]]
    """By number of a group: the measures that `window_metrics.expected_measures` expects."""
    verdicts: Sequence[Verdict]
    """The result of the false-discovery control; none in a preview, and none for the model `__other__`."""

    @property
    def span(self) -> EvidenceSpan:
        """The event time that the window covers."""
        return EvidenceSpan(self.window.start, self.window.end, self.window.size)


@dataclass(frozen=True, slots=True)
class RaisedAlert:
    """An alert of a consumer, with the timeline and the span of its evidence.

    The judge passes it to `on_alert` of each consumer, and then publishes the alert.
    """

    alert: Alert
    timeline: Timeline
    span: EvidenceSpan


ConsumerOutput = RaisedAlert | Alert | Metric | Health | RolloutDecision | DispersionUpdate


@dataclass(frozen=True, slots=True)
class ModelContext:
    """What the consumers of one model share."""

    model: str
    settings: Settings
    limits: Sequence[Limit]
    timelines: Mapping[str, Timeline]
    performance: Performance
    alerts: AlertLifecycle

    @property
    def shortest_window(self) -> int:
        """The size of the shortest windows in ms."""
        return min(spec.size for spec in self.settings.time.windows)

    def raise_alert(self, timeline: Timeline, verdict: Verdict, span: EvidenceSpan) -> Iterator[RaisedAlert]:
        """Update the alert on the measure of a verdict; yield its new record, if there is one."""
        version, segment = list(timeline.state.ids.groups)[verdict.group]
        cause = AlertKey(self.model, version, segment, verdict.measure, verdict.kind)
        findings = None if verdict.doubtful else verdict.findings
        measure_group = group_of(timeline.state.name, verdict.measure)
        alert = self.alerts.observe(cause, measure_group, span, findings, self.settings.detection)
        if alert is not None:
            yield RaisedAlert(alert, timeline, span)


def evaluation_context(timeline: Timeline) -> EvaluationContext:
    """The names, baselines and edges that the windows of a timeline are compared with."""
    state, recent = timeline.state, timeline.recent.baseline_for
    names = list(state.ids.groups), list(state.ids.measures)
    return EvaluationContext(*names, state.baselines, state.edges, state.name, recent)


StateT = TypeVar("StateT", bound=msgspec.Struct)


class WindowConsumer(Generic[StateT]):
    """One consumer of the closed windows of one model. Each method has a default that does nothing.

    Calls about one timeline come in the order of event time, whatever was read when. Calls about two timelines
    interleave as their topics were read, so a result that uses two of them must not depend on their order. A consumer
    that obeys this and keeps all of its data in `state` gives the same results live, after a restart and in a replay.
    """

    name: ClassVar[str]
    """The name under which snapshots keep the state. A published name must not change."""
    State: ClassVar[type[msgspec.Struct]] = NoState
    follows_other: ClassVar[bool] = False
    """Whether it also follows the model `__other__`, the sum of all models above the cap, which is not judged."""

    def __init__(self, context: ModelContext, state: StateT) -> None:
        self.context, self.state = context, state

    def on_pane(self, timeline: Timeline, pane: Pane) -> None:
        """A pane has closed. Its counts are not merged into the windows yet."""

    def on_performance(self, delta: PerformanceDelta) -> None:
        """Outcomes were read. Which are read at a watermark depends on how topics were interleaved."""

    def on_pairs(self, delta: PairDelta) -> None:
        """Pairs of predictions were read, as outcomes are."""

    def on_change(self, change: ChangeDetected) -> Iterable[ConsumerOutput]:
        """A sequential detector found a change at a pane, or the end of one."""
        return ()

    def on_window(self, closed: ClosedWindow) -> Iterable[ConsumerOutput]:
        """A window has ended."""
        return ()

    def on_empty_window(self, empty: WindowEmpty) -> Iterable[ConsumerOutput]:
        """A window without events has ended, one of the first `EMPTY_REPORTED` after a window with events."""
        return ()

    def on_alert(self, raised: RaisedAlert) -> None:
        """A consumer raised an alert, which is published next."""

    def on_revision(self, revised: Revised) -> Iterable[ConsumerOutput]:
        """A revision of a performance window is due."""
        return ()

    def on_reset(self, reset: BaselinesReset) -> Iterable[str]:
        """A reset took effect. Return the measures, beyond those of the reset, that lost what they compare with."""
        return ()

    def on_rollout(self, record: RolloutRecord) -> Iterable[RolloutDecision]:
        """A person orders something about a rollout."""
        return ()

    def on_forget(self, ts: int) -> Iterable[RolloutDecision]:
        """The judge forgets the model at this event time."""
        return ()

    @property
    def is_due(self) -> bool:
        """Whether `on_watermarks` must be called: it may change the state or publish."""
        return False

    def on_watermarks(self) -> Iterable[ConsumerOutput]:
        """All panes and windows that the watermarks allow are closed."""
        return ()

    def preview(self, open_window: ClosedWindow) -> Iterable[Metric | Health]:
        """Records of a window that is still open. The state must not change."""
        return ()

    def preview_revision(self, revised: Revised) -> Iterable[Metric]:
        """Records of a performance window before its revision is due. The state must not change."""
        return ()
