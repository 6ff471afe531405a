"""The state of a rollout: what a snapshot must hold."""

from __future__ import annotations

import math

import msgspec

from stream_monitor.events.rollouts import RolloutStateName
from stream_monitor.rollouts.guards import AnyGuard
from stream_monitor.rollouts.mirror import PairedCheck
from stream_monitor.rollouts.pair_guard import Said
from stream_monitor.rollouts.plan import MOST_SEGMENTS, Guard, RolloutPlan
from stream_monitor.rollouts.split import SplitCheck
from stream_monitor.rollouts.strata import Arms, GrainLabels, PaneMerger

NEVER = -(2**62)
MOST_COMMANDS = 1_000
ALL = "all"


class Sums(msgspec.Struct):
    """A version's values of a measure."""

    n: float = 0.0
    total: float = 0.0

    @property
    def mean(self) -> float:
        """0 without values."""
        return self.total / self.n if self.n else 0.0


class Lane(msgspec.Struct):
    """One guard on one segment, and what it waits for."""

    guard: AnyGuard
    panes: PaneMerger
    grains: GrainLabels
    primary: Sums
    candidate: Sums
    since: float = 0.0
    """Values of the candidate at this weight; of outcomes the settled ones."""
    extra: float = 0.0
    """Sum of the candidate's values beyond what the primary's mean gives, stratum by stratum where both have values."""

    def add(self, arms: Arms) -> None:
        """Sum what came; of outcomes each label once, though it has not settled."""
        n, totals = list[float](), list[float]()
        for sums, counts in ((self.primary, arms.primary), (self.candidate, arms.candidate)):
            n.append(float(counts.sum()))
            totals.append(float((counts @ arms.values).sum()))
            sums.n, sums.total = sums.n + n[-1], sums.total + totals[-1]
        if n[0]:
            self.extra += totals[1] - n[1] * totals[0] / n[0]

    def count(self, arms: Arms, at_this_weight: bool) -> None:
        """Count towards the `count` of the step."""
        self.since += float(arms.candidate.sum()) if at_this_weight else 0.0

    def add_pairs(self, n: float, primary: float, candidate: float) -> None:
        """Sum pairs that were judged."""
        self.primary.n, self.primary.total = self.primary.n + n, self.primary.total + primary
        self.candidate.n, self.candidate.total = self.candidate.n + n, self.candidate.total + candidate


class RolloutState(msgspec.Struct):
    """A rollout between two calls."""

    split: SplitCheck
    state: RolloutStateName = "waiting"
    seq: int = 0
    step: int = 0
    started: int = NEVER
    moved: int = NEVER
    """When the last weight was decided."""
    clock: int = NEVER
    """The time up to which all guards have been heard."""
    ran: int = 0
    """ms at this weight, without holds."""
    weights: list[tuple[int, float]] = []
    """(from, weight of the candidate), in the order of time. A weight holds from the end of the newest pane that was
    heard when it was decided: before, no router could know it."""
    holds: list[str] = []
    known_holds: list[str] = []
    """Reasons that a person said to ignore, until the next weight."""
    suspected: bool = False
    paused: bool = False
    approved: list[str] = []
    commands: list[str] = []
    exposed: int = 0
    seen: dict[str, int] = {}
    """When primary, candidate and labels were last seen."""
    lanes: dict[str, Lane] = {}
    """By measure and segment."""
    left_out: int = 0
    """Strata of segments above the bound."""
    left_out_labels: dict[str, int] = {}
    """By what they were: labels and signals that count for nothing."""
    paired: PairedCheck = msgspec.field(default_factory=PairedCheck.start)
    """In shadow."""

    @property
    def weight(self) -> float:
        """The candidate's weight now."""
        return self.weights[-1][1] if self.weights else 0.0

    @property
    def ended(self) -> bool:
        """Whether nothing more will be decided."""
        return self.state in ("rolled_back", "inconclusive", "aborted", "passed") or (
            self.state == "promoted" and self.weight >= 1
        )

    @property
    def weighed(self) -> int:
        """When the weight began to hold."""
        return self.weights[-1][0] if self.weights else NEVER

    @property
    def losses(self) -> dict[str, int]:
        """By what it was: what came since the start and counts for nothing."""
        return self.left_out_labels | ({"strata of further segments": self.left_out} if self.left_out else {})

    def weight_at(self, start: int, end: int) -> float | None:
        """The one weight that held in all of [start, end); None where there were several, or none."""
        before = [weight for at, weight in self.weights if at <= start]
        between = any(start < at < end for at, _ in self.weights)
        return before[-1] if before and not between else None


def harm_needs(plan: RolloutPlan, segment: str, bets: int) -> float:
    """What a bet on harm must be worth to roll back: one over its part of α (a union bound).

    Half of α is for the guards of all events, half for guards × segments; all of it where there are no segments.
    """
    deciding = sum(not guard.report for guard in plan.guards)
    parts = deciding * bets * (1 if segment == ALL else MOST_SEGMENTS)
    return parts / (plan.alpha.harm * (0.5 if plan.segments else 1.0))


def harms(plan: RolloutPlan, guard: Guard, segment: str, said: Said) -> bool:
    """Whether a guard rolls back."""
    return not guard.report and _most(said) >= math.log(harm_needs(plan, segment, len(said.harm)))


def harm_worth(said: Said) -> float:
    """What the stronger bet on harm is worth."""
    return math.exp(min(_most(said), 600.0))


def _most(said: Said) -> float:
    return max(float(log[0]) for log in said.harm)
