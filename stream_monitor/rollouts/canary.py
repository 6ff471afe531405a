"""The decisions of a rollout: a state machine over strata, event time and commands.

| state | goes to | when | decision |
|---|---|---|---|
| waiting | waiting | a person starts it, and `approve` names start | waiting |
| waiting | running | a person starts it, or approves the start | started |
| running | running | the evidence is due | progress |
| hold | hold | the same | progress |
| promoted | promoted | the same, in the watch | progress |
| running | running | `for` and `count` since this weight, margins passed, no reason to hold | promote_step |
| running | hold | a reason to hold: see `holds`; approval; a person pauses | hold |
| hold | hold | the reasons change | hold |
| hold | running | the reasons are gone, or a person says so | resumed |
| hold | hold | a person approves the step; it follows when time goes on | approved |
| running | promoted | the last step is passed, or a person promotes | promoted |
| hold | promoted | a person promotes | promoted |
| running | passed | in shadow: the step is passed, or a person promotes | passed |
| hold | passed | in shadow: a person promotes | passed |
| promoted | promoted | the watch ends: the primary keeps nothing | completed |
| running | rolled_back | a bet on harm reaches one over its part of α | rolled_back |
| hold | rolled_back | the same | rolled_back |
| promoted | rolled_back | the same, in the watch | rolled_back |
| running | inconclusive | `max` has passed, or the model is forgotten | inconclusive |
| hold | inconclusive | the same | inconclusive |
| waiting | aborted | a person says so | aborted |
| running | aborted | a person says so | aborted |
| hold | aborted | a person says so | aborted |
| promoted | aborted | a person says so, in the watch | aborted |
| any | same | a command that fits no state | refused |

A bet on harm acts at its own stratum and never waits for approval. Steps, passes and promotion happen at the event time
T up to which all guards were heard. A pass is what its bet is worth at T, not what it once was worth. Weights stay in a
hold, and `for` stops. In shadow no request moves: the primary has all of them from the start to the end.

Where somebody else sets the weights (`steps: external`) the states are the same, and no decision names a weight. There
is one step, which ends when each guard has passed at its margin.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from stream_monitor.config.durations import format_duration
from stream_monitor.events.rollouts import DecisionName, RolloutCommand, RolloutDecision, RolloutStateName, decision_id
from stream_monitor.rollouts.evidence import checks_of, evidence_of, weights_of
from stream_monitor.rollouts.guards import Known
from stream_monitor.rollouts.holds import reasons_to_hold
from stream_monitor.rollouts.lanes import Harmed, Lanes
from stream_monitor.rollouts.plan import RolloutPlan
from stream_monitor.rollouts.split import SplitCheck
from stream_monitor.rollouts.state import ALL, MOST_COMMANDS, RolloutState
from stream_monitor.rollouts.strata import InputStratum, LabelStratum
from stream_monitor.types import F64

LIVE: tuple[RolloutStateName, ...] = ("running", "hold")
Decisions = Iterator[RolloutDecision]


class Canary:
    """One rollout, a canary or one in shadow; all of its data is in `state`."""

    def __init__(
        self,
        plan: RolloutPlan,
        state: RolloutState | None = None,
        baselines: Mapping[str, Known] | None = None,
        ages: Sequence[int] = (0,),
        report_every: int = 0,
    ) -> None:
        """`ages`: of labels at the revisions; those of a pass settle at the first age of at least `plan.settle`.

        `report_every`: ms of event time between two calls of `report`; decisions show it.
        """
        self.plan, self.ages, self.state = plan, ages, state or RolloutState(SplitCheck.start())
        self._report_every = report_every
        self.lanes = Lanes(plan, self.state, baselines or {}, ages)

    # --- what is seen ---

    def traffic(self, start: int, end: int, primary: int, candidate: int) -> None:
        """Requests of both versions in a pane; panes come in the order of time."""
        self.lanes.traffic(start, end, primary, candidate)

    def pane(self, measure: str, segment: str, pane: InputStratum) -> Decisions:
        """Values of a measure of predictions in a pane; panes of a measure come in the order of time."""
        yield from map(self._roll_back, self.lanes.pane(measure, segment, pane))

    def labels(self, measure: str, segment: str, stratum: LabelStratum, predictions: F64) -> Decisions:
        """Labels of a grain between two revisions; `predictions` (1, 2) of the grain. Ages of a grain come in order."""
        yield from map(self._roll_back, self.lanes.labels(measure, segment, stratum, predictions))

    def pairs(
        self, measure: str, segment: str, stratum: LabelStratum, predictions: F64, pairs: Mapping[int, int]
    ) -> Decisions:
        """As `labels`, in shadow: pairs by bin, of requests of the primary in the grain; see `pair_guard`."""
        yield from map(self._roll_back, self.lanes.pairs(measure, segment, stratum, predictions, pairs))

    def _roll_back(self, harmed: Harmed) -> RolloutDecision:
        where = "" if harmed.segment == ALL else f" in {harmed.segment}"
        figures = f"{harmed.lane.candidate.mean:.4g} against {harmed.lane.primary.mean:.4g} of {self.plan.primary}"
        reason = f"{harmed.guard.measure}{where} is surely worse than its margin allows: {figures}"
        return self._end("rolled_back", "rolled_back", harmed.ts, reason)

    # --- time ---

    def advance(self, ts: int) -> Decisions:
        """All guards were heard up to `ts`; the decisions that this allows."""
        state, before = self.state, self.state.clock
        if ts <= before or state.state == "waiting" or self.state.ended:
            return
        state.clock = ts
        if state.state == "promoted":
            watch = self.plan.watch
            if watch is not None and ts >= state.moved + watch.duration:
                yield self._end("completed", "promoted", ts, f"no harm in {format_duration(watch.duration)}", 1.0)
            return
        if ts - state.started >= self.plan.longest:
            weight = None if self.plan.at_max == "primary" else state.weight
            reason = f"no verdict within {format_duration(self.plan.longest)}"
            yield self._end("inconclusive", "inconclusive", ts, reason, weight)
            return
        if state.state == "running":
            state.ran += ts - max(before, state.moved)
        yield from self._hold_or_step(ts)

    def report(self, ts: int) -> Decisions:
        """The evidence as it is now; nothing changes."""
        if self.state.state in LIVE or self.state.state == "promoted":
            yield self._decide("progress", ts, self._ran)

    @property
    def _ran(self) -> str:
        ran = format_duration(self.state.ran)
        if self.plan.is_external:
            return ran
        return f"{ran} in shadow" if self.plan.is_shadow else f"{ran} at {self.state.weight:.4g}"

    def forget(self, ts: int) -> Decisions:
        """The model is not followed any more."""
        if self.state.state in LIVE:
            yield self._end("inconclusive", "inconclusive", ts, "the model is not followed any more")

    def _hold_or_step(self, ts: int) -> Decisions:
        state, ready = self.state, self._ready()
        holds = reasons_to_hold(self.plan, state, self.ages[0], ts)
        if ready and not holds and self._approval not in state.approved and self._approval in self.plan.approve:
            holds = ["approval"]
        if holds:
            if holds != state.holds:
                state.state, state.holds = "hold", holds
                yield self._decide("hold", ts, "waits: " + ", ".join(holds))
            return
        if state.state == "hold":
            state.state, state.holds = "running", []
            yield self._decide("resumed", ts, "the reasons are gone")
        if ready:
            yield from self._pass(ts)

    @property
    def _approval(self) -> str:
        return "promote" if self.state.step == len(self.plan.steps) else "step"

    def _ready(self) -> bool:
        """Whether the step has run long enough, seen enough, and passed its margins."""
        state, step = self.state, self.plan.steps[self.state.step - 1]
        factor, bar = self.plan.margins_of(state.step), -math.log(self.plan.alpha.passes)
        if state.ran < step.duration:
            return False
        for guard in self.plan.guards:
            lane = state.lanes.get(f"{guard.measure}\x1f{ALL}")
            if guard.report or (lane is None and not factor and not step.count):
                continue
            if lane is None or lane.since < step.count:
                return False
            if factor and float(lane.guard.said(self.plan.given_effect).passes[factor][0]) < bar:
                return False
        return True

    def _pass(self, ts: int) -> Decisions:
        state, plan, factor = self.state, self.plan, self.plan.margins_of(self.state.step)
        asked = "no harm" if not factor else f"every guard within {factor} margin{'s' * (factor > 1)}"
        reason = f"{asked} after {self._ran}"
        if state.step == len(plan.steps):
            yield from self._promote(ts, reason)
            return
        yield from map(self._roll_back, self.lanes.cut())
        if not state.ended:
            state.step += 1
            self._move(ts, plan.steps[state.step - 1].weight)
            yield self._decide("promote_step", ts, reason)

    def _promote(self, ts: int, reason: str, command: RolloutCommand | None = None) -> Decisions:
        yield from map(self._roll_back, self.lanes.cut())
        if not self.state.ended:
            name: Literal["passed", "promoted"] = "passed" if self.plan.is_shadow else "promoted"
            self.state.state, self.state.holds = name, []
            kept = 1.0 if self.plan.is_shadow else self.plan.watch.keep if self.plan.watch is not None else 0.0
            self._move(ts, 1 - kept)
            yield self._decide(name, ts, reason, command)

    def _move(self, ts: int, weight: float) -> None:
        state = self.state
        newest = max(state.seen.get("primary", ts), state.seen.get("candidate", ts))
        state.weights.append((max(ts, newest), weight))
        state.moved, state.ran, state.known_holds, state.approved = ts, 0, [], []
        state.split.reset()
        for lane in state.lanes.values():
            lane.since = 0.0

    def _end(
        self, decision: DecisionName, to: RolloutStateName, ts: int, reason: str, weight: float | None = None
    ) -> RolloutDecision:
        self.state.state, self.state.holds = to, []
        self._move(ts, weight or 0.0)
        return self._decide(decision, ts, reason)

    # --- people ---

    def command(self, command: RolloutCommand) -> Decisions:
        """What a person orders; each command has one decision that names it, a second one of its id has none."""
        if command.command in self.state.commands:
            return
        self.state.commands = [*self.state.commands[1 - MOST_COMMANDS :], command.command]
        yield from self._obey(command)

    def refuse(self, command: RolloutCommand, reason: str) -> Decisions:
        """Refuse a start for a reason outside this rollout; it goes on waiting."""
        self.state.commands.append(command.command)
        yield self._decide("refused", command.ts, reason, command)

    def _obey(self, command: RolloutCommand) -> Decisions:
        state, action, ts = self.state, command.action, command.ts
        live = state.state in LIVE
        if action == "abort" and not self.state.ended:
            state.state, state.holds = "aborted", []
            self._move(ts, 0.0)
            yield self._decide("aborted", ts, command.reason, command)
        elif state.state == "waiting" and action in ("start", "approve"):
            yield self._start(command)
        elif action == "approve" and "approval" in state.holds:
            state.approved.append(self._approval)
            yield self._decide("approved", ts, command.reason, command)
        elif action == "pause" and live and not state.paused:
            state.paused, state.state, state.holds = True, "hold", [*state.holds, "paused"]
            yield self._decide("hold", ts, command.reason, command)
        elif action == "resume" and state.state == "hold" and state.holds != ["approval"]:
            yield self._resume(command)
        elif action == "promote" and live:
            yield from self._promote(ts, command.reason, command)
        else:
            yield self._decide("refused", ts, f"{action} does not fit the state {state.state}", command)

    def _start(self, command: RolloutCommand) -> RolloutDecision:
        state = self.state
        if command.action == "start" and "start" in self.plan.approve:
            state.holds = ["approval"]
            return self._decide("waiting", command.ts, "the start waits for approval", command)
        if command.action == "approve" and not state.holds:
            return self._decide("refused", command.ts, "it was not started", command)
        state.state, state.step, state.started, state.holds = "running", 1, command.ts, []
        state.clock = command.ts
        self._move(command.ts, self.plan.steps[0].weight)
        return self._decide("started", command.ts, command.reason, command)

    def _resume(self, command: RolloutCommand) -> RolloutDecision:
        state = self.state
        state.known_holds = sorted(
            {*state.known_holds, *state.holds} - {"approval", "paused", "split", "weights_not_applied", "not_paired"}
        )
        state.paused, state.state, state.holds = False, "running", []
        if state.split.fired:
            state.split.reset()
        if state.paired.fired:
            state.paired.reset()
        return self._decide("resumed", command.ts, command.reason, command)

    def _decide(
        self, decision: DecisionName, ts: int, reason: str, command: RolloutCommand | None = None
    ) -> RolloutDecision:
        state, plan = self.state, self.plan
        state.seq += 1
        return RolloutDecision(
            id=decision_id(plan.model, plan.rollout, state.seq), rollout=plan.rollout, seq=state.seq, ts=ts,
            decision=decision, state=state.state, step=state.step, model=plan.model, candidate=plan.candidate,
            primary=plan.primary, pattern=plan.pattern,
            weights=weights_of(plan, state, decision),
            by=command.by if command is not None else "judge", command=command.command if command is not None else None,
            reason=reason or "no reason given", holds=list(state.holds), exposed=state.exposed,
            checks=checks_of(state), evidence=evidence_of(plan, state), left_out=state.losses,
            report_every=self._report_every,
        )  # fmt: skip
