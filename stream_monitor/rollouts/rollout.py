"""One rollout between the judge of its model and its canary: what was read, in an order that event time decides.

Panes, strata of labels and the times of decisions are merged by event time, so the batches in which records were read
do not affect a decision or its evidence. Where the watermark of labels lags, a pane waits for it, but no more than
`LONGEST_WAIT`, for harm must not wait. Where it lags more, the order in which topics were read can affect which of two
guards is heard first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from stream_monitor.config.durations import ms
from stream_monitor.events.rollouts import RolloutCommand
from stream_monitor.profiles.names import ALL_SEGMENTS, NEVER
from stream_monitor.profiles.pairs import PairDelta
from stream_monitor.profiles.records import PerformanceDelta
from stream_monitor.rollouts.canary import Canary, Decisions
from stream_monitor.rollouts.label_grains import CANDIDATE, PRIMARY, LabelGrains
from stream_monitor.rollouts.plan import AGREES, MeasureSource, RolloutPlan, parse_plan
from stream_monitor.rollouts.split import SplitCheck
from stream_monitor.rollouts.state import RolloutState
from stream_monitor.rollouts.strata import Arms, InputStratum

LONGEST_PACE = ms("1m")
PARTS = 10
"""A step is looked at so many times at least."""
REPORTED = 10
"""At each so many times of decisions the evidence is published, too."""
LONGEST_WAIT = ms("10s")
"""A pane waits for labels until panes that end so much later have closed, or for two panes if these are longer."""


class MeasureArms(msgspec.Struct, array_like=True):
    """Counts of both versions in a pane on the same values; see `strata.Arms`."""

    measure: str
    """As the guard names it."""
    segment: str
    values: np.ndarray
    primary: np.ndarray
    candidate: np.ndarray


class ClosedPane(msgspec.Struct, array_like=True):
    """What a rollout reads of a pane."""

    start: int
    end: int
    requests: dict[str, tuple[int, int]]
    """By segment: requests of the primary and of the candidate."""
    arms: list[MeasureArms] = []


class FollowedRollout(msgspec.Struct):
    """A rollout in a snapshot."""

    text: str
    """The rollout file."""
    ages: list[int]
    """Ages of labels at the revisions, in ms."""
    labels: LabelGrains
    state: RolloutState = msgspec.field(default_factory=lambda: RolloutState(SplitCheck.start()))
    labels_since: int = NEVER
    """The first grain whose labels count: none of them was read before the start."""
    panes: list[ClosedPane] = []
    """Those that wait for labels, in the order of time."""


class Watermarks(msgspec.Struct):
    """The event times up to which the panes of a model are closed."""

    input: int
    label: int
    feedback: int


class Rollout:
    """Follows one rollout; all of its data is in `followed`."""

    def __init__(self, followed: FollowedRollout, pane_ms: int) -> None:
        self.followed, self.plan = followed, parse_plan(followed.text.encode())
        self.pace = _pace(self.plan, pane_ms)
        self.canary = Canary(self.plan, followed.state, ages=followed.ages, report_every=REPORTED * self.pace)
        self.sources: dict[str, MeasureSource] = {
            guard.measure: guard.source for guard in self.plan.guards if not guard.is_joined
        }
        self._arms = {self.plan.primary: PRIMARY, self.plan.candidate: CANDIDATE}
        self._wait = max(LONGEST_WAIT, 2 * pane_ms)

    @classmethod
    def begin(cls, text: str, pane_ms: int, grain_ms: int, ages: Sequence[int]) -> Rollout:
        """A rollout that waits for its start.

        Raises:
            SettingsError: the text is no rollout.
        """
        plan = parse_plan(text.encode())
        settle = Canary(plan, ages=ages).lanes.settle
        measures = [guard.measure for guard in plan.guards if guard.is_joined]
        if plan.is_shadow and AGREES not in measures:
            measures.append(AGREES)  # whether each request has two answers is checked in any case
        return cls(FollowedRollout(text, list(ages), LabelGrains(grain_ms, list(ages), settle, measures)), pane_ms)

    @property
    def versions(self) -> tuple[str, str]:
        """Primary and candidate."""
        return self.plan.primary, self.plan.candidate

    @property
    def state(self) -> RolloutState:
        """What the canary knows."""
        return self.followed.state

    @property
    def is_live(self) -> bool:
        """Whether it follows requests: it has started and has not ended."""
        return self.state.state != "waiting" and not self.state.ended

    def covers(self, segment: str) -> bool:
        """Whether harm is sought in a segment."""
        return segment == ALL_SEGMENTS or segment_spec(segment) in self.plan.segments

    def command(self, command: RolloutCommand, newest_grain: int) -> Decisions:
        """What a person orders; `newest_grain` is the newest one of which labels were read."""
        waited = self.state.state == "waiting"
        yield from self.canary.command(command)
        if waited and self.is_live:
            self.followed.labels_since = max(command.ts, newest_grain + self.followed.labels.grain_ms)

    def pane(self, pane: ClosedPane) -> None:
        """Keep a closed pane; `advance` judges it."""
        labels = self.followed.labels
        self.followed.panes.append(pane)
        if labels.measures and pane.start - pane.start % labels.grain_ms >= self.followed.labels_since:
            for segment, (primary, candidate) in pane.requests.items():
                labels.count(pane.start, segment, primary, candidate)

    def labels(self, delta: PerformanceDelta) -> None:
        """Take in labels and signals; `advance` judges them."""
        if self.is_live:
            labels = self.followed.labels
            labels.feed(delta, self._arms, self.followed.labels_since)
            self.state.left_out_labels = labels.losses

    def pairs(self, delta: PairDelta) -> None:
        """Take in requests that both versions answered; `advance` judges them."""
        if self.is_live and self.plan.is_shadow:
            self.followed.labels.feed_pairs(delta, *self.versions, self.followed.labels_since)

    def advance(self, marks: Watermarks) -> Decisions:
        """Judge what the watermarks allow."""
        labels = min(marks.input, self._labelled(marks))
        for ts in self._decision_times(labels):
            yield from self._judge(ts, ts)
            yield from self.canary.advance(ts)
            if self.is_live and ts % (REPORTED * self.pace) == 0:
                yield from self.canary.report(ts)
        yield from self._judge(labels, max(labels, marks.input - self._wait))

    def _labelled(self, marks: Watermarks) -> int:
        """The time up to which labels and feedback were read, as far as guards wait for them."""
        guards = self.plan.guards
        times = [marks.label] if any(guard.is_outcome and not guard.is_signal for guard in guards) else []
        times += [marks.feedback] if any(guard.is_signal for guard in guards) else []
        return min(times, default=marks.input)

    def _decision_times(self, until: int) -> Iterator[int]:
        """The fixed times up to `until` at which steps, holds and promotions are decided."""
        while self.is_live:
            clock = self.state.clock
            if (ts := clock - clock % self.pace + self.pace) > until:
                return
            yield ts

    def _judge(self, labels: int, panes: int) -> Decisions:
        """Judge labels and panes up to these times, in the order of event time; at equal times panes come first."""
        for due in self.followed.labels.take(labels):
            yield from self._judge_panes(due.ts)
            self.state.left_out_labels = self.followed.labels.losses
            about = due.measure, due.segment, due.stratum, due.predictions
            yield from self.canary.pairs(*about, due.pairs) if self.plan.is_shadow else self.canary.labels(*about)
        yield from self._judge_panes(panes)

    def _judge_panes(self, until: int) -> Decisions:
        waiting = self.followed.panes
        while waiting and waiting[0].end <= until:
            pane = waiting.pop(0)
            self.canary.traffic(pane.start, pane.end, *pane.requests.get(ALL_SEGMENTS, (0, 0)))
            for one in pane.arms:
                stratum = InputStratum(pane.start, pane.end, Arms(one.values, one.primary, one.candidate))
                yield from self.canary.pane(one.measure, one.segment, stratum)


def segment_spec(segment: str) -> str:
    """The fields of a segment, as a rollout file names them.

    >>> segment_spec("country=DE"), segment_spec("country=DE,device=ios")
    ('country', 'country,device')
    """
    return ",".join(part.partition("=")[0] for part in segment.split(","))


def _pace(plan: RolloutPlan, pane_ms: int) -> int:
    """The time between decisions in ms: whole panes, a part of the shortest step, at most a minute."""
    wanted = min([LONGEST_PACE, *(step.duration // PARTS for step in plan.steps if step.duration)])
    return max(wanted // pane_ms, 1) * pane_ms
