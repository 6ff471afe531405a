"""Rollouts minute by minute: seeded requests of two versions, and a router that follows the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from stream_monitor.config.durations import HOUR
from stream_monitor.events.rollouts import Action, RolloutCommand, RolloutDecision
from stream_monitor.rollouts.canary import Canary
from stream_monitor.rollouts.plan import RolloutPlan, parse_plan
from stream_monitor.rollouts.state import RolloutState
from stream_monitor.rollouts.strata import Arms, InputStratum, LabelStratum
from stream_monitor.wire.msgpack_arrays import pack, unpack

MINUTE, BEGIN = 60_000, 1_735_689_600_000
RATES = np.array([0.0, 1.0])
AGES = (0, HOUR)
HEAD = """
rollout: fraud-42
model: fraud
candidate: "42"
primary: "41"
"""
QUICK = (
    HEAD
    + """
steps: [{weight: 20%, for: 10m, count: 100, margins: 4}, {weight: 50%, for: 10m}]
guards: [{measure: null_answer, margin: 50%}]
"""
)


def plan_of(text: str) -> RolloutPlan:
    return parse_plan(text.encode())


SHADOW = (
    HEAD
    + """
pattern: shadow
steps: [{for: 10m, count: 100}]
guards: [{measure: error, margin: 50%}]
"""
)


class Story:
    """A rollout, what it decided, and the time."""

    def __init__(self, text: str = QUICK, seed: int = 1, restart: Callable[[int], bool] = lambda minute: False) -> None:
        self.plan, self.rng, self.restart = plan_of(text), np.random.default_rng(seed), restart
        self.canary, self.decided = Canary(self.plan, ages=AGES), list[RolloutDecision]()
        self.now, self.orders, self.minutes = BEGIN, 0, 0
        self.weight = 0.0
        """What the router sends the candidate."""

    @property
    def state(self) -> RolloutState:
        return self.canary.state

    @property
    def names(self) -> list[str]:
        return [one.decision for one in self.decided]

    @property
    def last(self) -> RolloutDecision:
        return self.decided[-1]

    def _heard(self, decisions: Iterable[RolloutDecision], follow: bool = True) -> None:
        for decision in decisions:
            self.decided.append(decision)
            if follow:
                self.weight = decision.weights.get(self.plan.candidate, 0.0)

    def order(self, action: Action, follow: bool = True, name: str | None = None) -> list[str]:
        """A person's command; the names of the decisions that it led to."""
        self.orders, before = self.orders + 1, len(self.decided)
        command = name or f"c{self.orders}"
        self._heard(
            self.canary.command(
                RolloutCommand(command=command, action=action, ts=self.now, by="person:anna", reason="said so")
            ),
            follow,
        )
        return self.names[before:]

    def run(
        self,
        minutes: int,
        p: tuple[float, float] = (0.2, 0.2),
        n: int = 400,
        follow: bool = True,
        segments: Mapping[str, tuple[float, float]] | None = None,
        labels: bool = True,
    ) -> Story:
        """So many minutes; `p` are the rates of every measure of the plan."""
        for _ in range(minutes):
            if self.restart(self.minutes):
                self.canary = Canary(self.plan, unpack(pack(self.state), RolloutState), ages=AGES)
            start, self.now, self.minutes = self.now, self.now + MINUTE, self.minutes + 1
            to_candidate = int(self.rng.binomial(n, self.weight))
            sizes = (n, n) if self.plan.is_shadow else (n - to_candidate, to_candidate)
            self.canary.traffic(start, self.now, *sizes)
            if self.plan.is_shadow:
                self._pairs(start, p, n, labels)
            for guard in self.plan.guards if not self.plan.is_shadow else ():
                arms = {"all": self._arms(sizes, p)} if not segments else {}
                for name, rates in (segments or {}).items():
                    arms[name] = self._arms((sizes[0] // len(segments or ()), sizes[1] // len(segments or ())), rates)
                for name, one in arms.items():
                    if not guard.is_outcome:
                        self._heard(self.canary.pane(guard.measure, name, InputStratum(start, self.now, one)), follow)
                    elif labels:
                        self._label(guard.measure, name, start, one, follow)
            self._heard(self.canary.advance(self.now), follow)
        return self

    def _pairs(self, start: int, p: tuple[float, float], n: int, labels: bool) -> None:
        """Both versions answer each request, and all labels come at once."""
        wrong = self.rng.random((2, n)) < np.array(p)[:, None]
        cells, requests = np.bincount(2 * wrong[0] + wrong[1], minlength=4), np.array([[n, n]], np.float64)
        differ = {0: int((wrong[0] == wrong[1]).sum()), 1: int((wrong[0] != wrong[1]).sum())}
        none = np.zeros((1, 2))
        for age in range(len(AGES)):
            first = Arms(RATES, np.array([[n, 0.0]]), none) if age == 0 and labels else Arms(RATES, none, none)
            stratum = LabelStratum(start, start + MINUTE, age, first)
            for measure, pairs in (("agrees", differ), ("error", dict(enumerate(cells.tolist())) if labels else {})):
                self._heard(self.canary.pairs(measure, "all", stratum, requests, pairs if age == 0 else {}), True)

    def _arms(self, sizes: tuple[int, int], p: tuple[float, float]) -> Arms:
        hits = self.rng.binomial(sizes, p)
        a, b = (np.array([[n - k, k]], np.float64) for n, k in zip(sizes, hits, strict=True))
        return Arms(RATES, a, b)

    def _label(self, measure: str, segment: str, start: int, arms: Arms, follow: bool) -> None:
        """Half of the labels come at once, and the other half before the age at which they settle."""
        halves = self.rng.binomial(arms.primary.astype(int), 0.5), self.rng.binomial(arms.candidate.astype(int), 0.5)
        first = Arms(RATES, halves[0].astype(float), halves[1].astype(float))
        rest = Arms(RATES, arms.primary - first.primary, arms.candidate - first.candidate)
        n = np.array([[arms.primary.sum(), arms.candidate.sum()]])
        for age, part in enumerate((first, rest)):
            stratum = LabelStratum(start, start + MINUTE, age, part)
            self._heard(self.canary.labels(measure, segment, stratum, n), follow)
