"""Rollouts: may a version of this model have more traffic? See the room `rollouts`."""

from __future__ import annotations

from collections.abc import Iterable

from stream_monitor.events.rollouts import RolloutDecision
from stream_monitor.judge.consumers.contract import ModelContext, WindowConsumer
from stream_monitor.judge.metrics.performance import lags_of
from stream_monitor.judge.panes.measure_counts import Counts, MeasureCounts
from stream_monitor.judge.panes.pane import Pane
from stream_monitor.judge.timelines.timeline import Timeline
from stream_monitor.profiles.names import END
from stream_monitor.profiles.pairs import PairDelta
from stream_monitor.profiles.records import PerformanceDelta, RolloutRecord
from stream_monitor.rollouts.model_rollouts import ModelRollouts, RolloutsState
from stream_monitor.rollouts.plan import MeasureSource
from stream_monitor.rollouts.rollout import ClosedPane, MeasureArms, Rollout, Watermarks

TAILS_FROM = 0.95
"""Quantiles from this one on are read from the tails of measures, whose bins are 4 % wide."""


class Rollouts(WindowConsumer[RolloutsState]):
    """Feeds the rollouts of a model, and publishes their decisions."""

    name, State = "rollouts", RolloutsState

    def __init__(self, context: ModelContext, state: RolloutsState) -> None:
        super().__init__(context, state)
        join = context.settings.join
        ages = lags_of(join.revisions, join.label_horizon)
        self.rollouts = ModelRollouts(state, context.settings.time.pane, join.grain, ages)
        self._newest = 0
        """The end of the newest pane with predictions; where a stream ends its watermark is far beyond."""

    def on_pane(self, timeline: Timeline, pane: Pane) -> None:
        """Keep of a pane of predictions what the rollouts read."""
        if timeline.state.name != "input":
            return
        self._newest = pane.start + self.context.settings.time.pane
        if live := self.rollouts.live:
            counts = MeasureCounts(pane, timeline.state.ids.measures, timeline.edges.settled)
            for rollout in live:
                rollout.pane(self._closed_pane(rollout, timeline, pane, counts))

    def _closed_pane(self, rollout: Rollout, timeline: Timeline, pane: Pane, counts: MeasureCounts) -> ClosedPane:
        by_segment: dict[str, list[int]] = {}
        for (version, segment), group in timeline.state.ids.groups.items():
            if version in rollout.versions and rollout.covers(segment) and group in pane.accepted:
                by_segment.setdefault(segment, [-1, -1])[rollout.versions.index(version)] = group
        closed = ClosedPane(pane.start, self._newest, {})
        for segment, groups in by_segment.items():
            primary, candidate = counts.accepted(groups)
            closed.requests[segment] = primary, candidate
            for guard in rollout.plan.guards:
                source = rollout.sources.get(guard.measure)
                found = None if source is None else _counts(counts, source, guard.quantile, groups)
                if found is not None and found[1].any():
                    closed.arms.append(MeasureArms(guard.measure, segment, found[0], found[1][:1], found[1][1:]))
        return closed

    def on_performance(self, delta: PerformanceDelta) -> None:
        """Keep labels and signals until their strata are due."""
        if len(delta.window):
            self.state.newest_grain = max(self.state.newest_grain, int(delta.window.max()))
        for rollout in self.rollouts.live:
            rollout.labels(delta)

    def on_pairs(self, delta: PairDelta) -> None:
        """Keep pairs until their strata are due."""
        newest = max(int(delta.window.max()), int(delta.other_window.max()))
        self.state.newest_grain = max(self.state.newest_grain, newest)
        for rollout in self.rollouts.live:
            rollout.pairs(delta)

    def on_rollout(self, record: RolloutRecord) -> Iterable[RolloutDecision]:
        """Obey a person."""
        return self.rollouts.order(record, self._closed("input"))

    def on_forget(self, ts: int) -> Iterable[RolloutDecision]:
        """End the rollouts of a model that is forgotten."""
        return self.rollouts.forget(ts)

    @property
    def is_due(self) -> bool:
        """While a rollout follows requests, or an order waits."""
        return bool(self.state.orders or self.rollouts.live)

    def on_watermarks(self) -> Iterable[RolloutDecision]:
        """The decisions that the watermarks allow; at the end of a finite stream the evidence, too."""
        marks = (self._closed(name) for name in ("input", "label", "feedback"))
        yield from self.rollouts.advance(Watermarks(*marks))
        if self._has_ended("input"):
            yield from self.rollouts.report(self._newest)

    def _closed(self, name: str) -> int:
        return self._newest if self._has_ended(name) else self.context.timelines[name].state.closed_until

    def _has_ended(self, name: str) -> bool:
        return self.context.timelines[name].state.closed_until >= END - self.context.settings.time.pane


def _counts(counts: MeasureCounts, source: MeasureSource, quantile: float | None, groups: list[int]) -> Counts | None:
    match source.form:
        case "missing":
            return counts.missing(source.measure, groups)
        case "category":
            return counts.category(source.measure, source.category, groups)
        case "rate":
            return counts.rate(source.measure, groups)
        case "mean":
            return counts.numbers(source.measure, groups)
        case "quantile":
            tail = counts.tail(source.measure, groups) if (quantile or 0.0) >= TAILS_FROM else None
            return tail if tail is not None else counts.bins(source.measure, groups)
