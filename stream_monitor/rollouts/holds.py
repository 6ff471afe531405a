"""The reasons for which a rollout waits.

no_traffic, no_labels: nothing came for `stale_after`. not_seen: no value of a guard ever came. suspicion: a bet on harm
is worth `hold_at`. split: the router sends another share than was decided, weights_not_applied: that of the last step.
not_paired: in shadow, too many requests have only the primary's answer. paused: a person said so.
"""

from __future__ import annotations

from collections.abc import Iterator

from stream_monitor.rollouts.plan import RolloutPlan
from stream_monitor.rollouts.state import ALL, RolloutState, harm_worth


def reasons_to_hold(plan: RolloutPlan, state: RolloutState, youngest: int, ts: int) -> list[str]:
    """The reasons at an event time but those that a person said to ignore; `youngest`: the first age of labels."""
    found = [*_silences(plan, state, youngest, ts)]
    bar = plan.hold_at / 2 if state.suspected else plan.hold_at  # it ends lower than it begins, lest it flickers
    reported = {guard.measure for guard in plan.guards if guard.report}
    worths = (
        harm_worth(lane.guard.said(plan.given_effect))
        for key, lane in state.lanes.items()
        if key.partition("\x1f")[0] not in reported
    )
    state.suspected = any(worth >= bar for worth in worths)
    if state.suspected:
        found.append("suspicion")
    if state.paired.fired:
        found.append("not_paired")
    if state.split.fired:
        former = state.weights[-2][1] if len(state.weights) > 1 else 0.0
        share = state.split.share
        followed = abs(share - state.weight) <= abs(share - former)
        found.append("split" if followed else "weights_not_applied")
    found = [reason for reason in found if reason not in state.known_holds]
    return found + ["paused"] * state.paused


def _silences(plan: RolloutPlan, state: RolloutState, youngest: int, ts: int) -> Iterator[str]:
    if any(ts - max(state.seen.get(name, 0), state.moved) > plan.stale_after for name in ("primary", "candidate")):
        yield "no_traffic"
    first = max(state.seen.get("labels", 0), state.started + youngest)
    if any(guard.is_outcome and not guard.report for guard in plan.guards) and ts - first > plan.stale_after:
        yield "no_labels"
    unseen = [g for g in plan.guards if not g.report and f"{g.measure}\x1f{ALL}" not in state.lanes]
    if any(not guard.is_outcome for guard in unseen) and ts - state.started > plan.stale_after:
        yield "not_seen"
