"""What a decision shows: the weights, each guard over all events, and the segments under suspicion."""

from __future__ import annotations

import math
from collections.abc import Iterator

from stream_monitor.events.rollouts import DecisionName, GuardArm, GuardEvidence, GuardHarm, GuardLine, RolloutCheck
from stream_monitor.rollouts.guards import OutcomeGuard
from stream_monitor.rollouts.mirror import PAIRED
from stream_monitor.rollouts.pair_guard import PairGuard, line_of
from stream_monitor.rollouts.plan import ABSOLUTE_ERROR, FACTORS, PAIR_MEASURES, Guard, RolloutPlan
from stream_monitor.rollouts.state import ALL, Lane, RolloutState, harm_needs, harm_worth

MOST_LOG = 600.0
"""Worths above are shown as this one: JSON knows no infinity."""


def weights_of(plan: RolloutPlan, state: RolloutState, decision: DecisionName) -> dict[str, float]:
    """The weights that a router applies; none where somebody else sets them, or where the rollout does not run.

    An order that is refused before the start, or after the end, must not move requests that another rollout draws.
    """
    if plan.is_external or (decision in ("refused", "waiting") and (state.state == "waiting" or state.ended)):
        return {}
    weights = {plan.candidate: state.weight, plan.primary: 1 - state.weight}
    return {version: round(weight, 9) for version, weight in weights.items() if weight > 0}


def evidence_of(plan: RolloutPlan, state: RolloutState) -> list[GuardEvidence]:
    """In the order of the file; of segments those whose bet on harm is worth `hold_at`."""
    return list(_shown(plan, state))


def _shown(plan: RolloutPlan, state: RolloutState) -> Iterator[GuardEvidence]:
    for guard in plan.guards:
        if f"{guard.measure}\x1f{ALL}" not in state.lanes:
            yield _not_seen(plan, guard)
        for key, lane in state.lanes.items():
            measure, _, segment = key.partition("\x1f")
            if measure == guard.measure and (
                segment == ALL or harm_worth(lane.guard.said(plan.given_effect)) >= plan.hold_at
            ):
                yield _evidence(plan, guard, segment, lane)


def _evidence(plan: RolloutPlan, guard: Guard, segment: str, lane: Lane) -> GuardEvidence:
    said = lane.guard.said(plan.given_effect)
    worths = [_worth(float(log[0])) for log in said.harm]
    early = worths[0] if isinstance(lane.guard, OutcomeGuard) else None
    return GuardEvidence(
        guard=guard.measure, segment=segment, line=_line(plan, guard),
        harm=GuardHarm(settled=worths[-1], early=early, needs=harm_needs(plan, segment, len(worths))),
        passes={str(factor): _worth(float(log[0])) for factor, log in said.passes.items()},
        needs=1 / plan.alpha.passes, primary=GuardArm(lane.primary.n, lane.primary.mean),
        candidate=GuardArm(lane.candidate.n, lane.candidate.mean), design_effect=float(said.effect[0]),
        strata=said.strata, report=guard.report, extra_bad=_extra_bad(guard, lane),
    )  # fmt: skip


def _extra_bad(guard: Guard, lane: Lane) -> float | None:
    if not guard.is_rate or guard.measure == ABSOLUTE_ERROR:
        return None
    if isinstance(lane.guard, PairGuard):
        return lane.candidate.total - lane.primary.total
    return lane.extra if guard.worse == "up" else -lane.extra


def _not_seen(plan: RolloutPlan, guard: Guard) -> GuardEvidence:
    """A guard of which no value has come: its bets are worth 1."""
    bets = 2 if guard.is_outcome and not plan.is_shadow else 1
    return GuardEvidence(
        guard=guard.measure, segment=ALL, line=_line(plan, guard),
        harm=GuardHarm(settled=1.0, needs=harm_needs(plan, ALL, bets)),
        passes={str(factor): 1.0 for factor in FACTORS}, needs=1 / plan.alpha.passes, primary=GuardArm(0.0, 0.0),
        candidate=GuardArm(0.0, 0.0), design_effect=plan.given_effect, strata=0, report=guard.report,
    )  # fmt: skip


def _line(plan: RolloutPlan, guard: Guard) -> GuardLine:
    if plan.is_shadow and guard.measure in PAIR_MEASURES:
        return GuardLine(*line_of(guard))
    return GuardLine(*(guard.margin.line(1, guard.worse) if guard.limit is None else (0.0, guard.limit)))


def checks_of(state: RolloutState) -> list[RolloutCheck]:
    """The check of the split, since the last weight; in shadow, of the requests that have two answers."""
    if state.paired.n:
        return [RolloutCheck("paired", PAIRED, state.paired.share, _worth(state.paired.log_worth()))]
    if not state.split.n:
        return []
    worth = _worth(float(state.split.log_worth()[0]))
    return [RolloutCheck("split", state.weight, state.split.share, worth)]


def _worth(log: float) -> float:
    return math.exp(min(log, MOST_LOG))
