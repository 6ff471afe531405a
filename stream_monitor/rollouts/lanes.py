"""The lanes of a rollout, a guard on a segment each: what was seen becomes strata, and strata become bets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from stream_monitor.config.durations import ms
from stream_monitor.rollouts.guards import Known, LimitGuard, OutcomeGuard, start_guard
from stream_monitor.rollouts.pair_guard import PairGuard
from stream_monitor.rollouts.plan import AGREES, MOST_SEGMENTS, Guard, RolloutPlan
from stream_monitor.rollouts.state import ALL, Lane, RolloutState, Sums, harms
from stream_monitor.rollouts.strata import GrainLabels, InputStratum, LabelStratum, PaneMerger
from stream_monitor.types import F64

FOLLOWS = ms("5m")
"""A router has so much time to follow a decision; until then nobody knows by which weight it draws."""


class Harmed(NamedTuple):
    """A bet on harm reached one over its part of α."""

    guard: Guard
    segment: str
    lane: Lane
    ts: int


class Lanes:
    """Feeds the lanes of a state."""

    def __init__(
        self, plan: RolloutPlan, state: RolloutState, baselines: Mapping[str, Known], ages: Sequence[int]
    ) -> None:
        self.plan, self.state, self.baselines, self.ages = plan, state, baselines, ages
        self.guards = {guard.measure: guard for guard in plan.guards}
        wanted = ages[-1] if plan.settle == "auto" else plan.settle
        self.settle = next((number for number, age in enumerate(ages) if age >= wanted), len(ages) - 1)

    def traffic(self, start: int, end: int, primary: int, candidate: int) -> None:
        """Requests of both versions in a pane."""
        state = self.state
        if state.state == "waiting" or state.ended or start < state.started:
            return
        state.exposed += candidate
        for name, count in (("primary", primary), ("candidate", candidate)):
            if count:
                state.seen[name] = end
        weight = None if self.plan.is_external else state.weight_at(start, end)
        if weight is not None and 0 < weight < 1 and start >= state.weighed + FOLLOWS:
            state.split.watch(primary, candidate, weight, self.plan.alpha.check)

    def pane(self, measure: str, segment: str, pane: InputStratum) -> Iterator[Harmed]:
        """Values of a measure of predictions in a pane."""
        lane = self._lane(measure, segment)
        if lane is not None and pane.start >= self.state.started:
            for stratum in lane.panes.add(pane):
                yield from self._bet(measure, segment, lane, stratum)

    def pairs(
        self, measure: str, segment: str, stratum: LabelStratum, predictions: F64, pairs: Mapping[int, int]
    ) -> Iterator[Harmed]:
        """What became known between two revisions of pairs of requests of a grain; `stratum` has the labels."""
        state = self.state
        if state.state == "waiting" or state.ended or stratum.grain < state.started:
            return
        requests, known = float(predictions[0, 0]), stratum.end + self.ages[stratum.age]
        if measure == AGREES and segment == ALL and stratum.age <= self._mirrored(stratum):
            state.paired.count(stratum.grain, sum(pairs.values()))
            if stratum.age == self._mirrored(stratum):
                state.paired.watch(stratum.grain, requests, self.plan.alpha.check)
        lane, guard = self._lane(measure, segment), self.guards.get(measure)
        if lane is None or guard is None or not isinstance(lane.guard, PairGuard):
            return
        if guard.is_outcome and pairs:
            state.seen["labels"] = max(state.seen.get("labels", known), known)
        lane.add_pairs(*lane.guard.take(guard, stratum.grain, pairs, float(stratum.arms.primary.sum())))
        if stratum.age == self.settle:
            settled = lane.guard.settle(guard, stratum.grain, requests)
            lane.since += settled if stratum.grain >= state.moved else 0.0
        yield from self._harm(guard, segment, lane, known)

    def _mirrored(self, stratum: LabelStratum) -> int:
        """The number of the age at which each request of a grain must have its pair."""
        grain = stratum.end - stratum.grain
        return next((number for number, age in enumerate(self.ages[: self.settle]) if age >= grain), self.settle)

    def labels(self, measure: str, segment: str, stratum: LabelStratum, predictions: F64) -> Iterator[Harmed]:
        """Labels of a grain between two revisions."""
        lane, guard, state = self._lane(measure, segment), self.guards.get(measure), self.state
        if lane is None or guard is None or not isinstance(lane.guard, OutcomeGuard) or stratum.grain < state.started:
            return
        known = stratum.end + self.ages[stratum.age]
        if stratum.arms.primary.any() and stratum.arms.candidate.any():
            state.seen["labels"] = max(state.seen.get("labels", known), known)
        weight = self._drawn(stratum.grain, stratum.end)
        lane.guard.take_early(guard, stratum, predictions, weight)
        lane.add(stratum.arms)
        settled = lane.grains.add(stratum, predictions)
        if settled is not None:
            lane.guard.take_settled(guard, settled, weight)
            lane.count(settled.arms, settled.grain >= state.moved)
        yield from self._harm(guard, segment, lane, known)

    def cut(self) -> Iterator[Harmed]:
        """No stratum goes across a decision: what waits is judged before it."""
        for key, lane in list(self.state.lanes.items()):
            measure, _, segment = key.partition("\x1f")
            for stratum in lane.panes.cut():
                yield from self._bet(measure, segment, lane, stratum)

    def _lane(self, measure: str, segment: str) -> Lane | None:
        guard, state, key = self.guards.get(measure), self.state, f"{measure}\x1f{segment}"
        if guard is None or state.state == "waiting" or state.ended:
            return None
        if key not in state.lanes:
            if segment != ALL and sum(k.startswith(f"{measure}\x1f") for k in state.lanes) > MOST_SEGMENTS:
                state.left_out += 1
                return None
            bets = start_guard(guard, self.baselines.get(measure), len(self.ages), self.plan.is_shadow)
            state.lanes[key] = Lane(bets, PaneMerger(), GrainLabels(self.settle), Sums(), Sums())
        return state.lanes[key]

    def _drawn(self, start: int, end: int) -> float | None:
        """The weight by which requests were drawn; None where the router may not have followed, or is not ours."""
        state = self.state
        if self.plan.is_external:
            return None
        late = start < state.weighed + FOLLOWS and len(state.weights) > 1
        return None if late or state.split.fired else state.weight_at(start, end)

    def _bet(self, measure: str, segment: str, lane: Lane, stratum: InputStratum) -> Iterator[Harmed]:
        guard = self.guards[measure]
        if isinstance(lane.guard, LimitGuard):
            lane.guard.take(guard, stratum)
        elif not isinstance(lane.guard, OutcomeGuard | PairGuard):
            lane.guard.take(guard, stratum, self._drawn(stratum.start, stratum.end))
        lane.add(stratum.arms)
        lane.count(stratum.arms, stratum.start >= self.state.moved)
        yield from self._harm(guard, segment, lane, stratum.end)

    def _harm(self, guard: Guard, segment: str, lane: Lane, ts: int) -> Iterator[Harmed]:
        if not self.state.ended and harms(self.plan, guard, segment, lane.guard.said(self.plan.given_effect)):
            yield Harmed(guard, segment, lane, ts)
