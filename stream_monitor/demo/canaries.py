"""The two canaries of the demo, and the router that sends each flight to a version by the published weights.

Version 2 goes on learning from the flights that land; it is no worse. Version 3 is version 2 with its two classes
swapped; it is wrong about most flights. Both begin after the broken feeds are mended.

Each has one step. The feed sends a day at a time, and the labels of a day settle at night, so a router that hears of a
further step in the morning would seem late by some hours of flights.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import xxhash

from stream_monitor.demo import flights
from stream_monitor.events.rollouts import RolloutDecision
from stream_monitor.profiles.records import RolloutRecord
from stream_monitor.terminal import Line, Piece, dim, visible
from stream_monitor.timestamps import when

COLOURS = {"promoted": "green", "rolled_back": "red", "hold": "yellow"}
DAY = 86_400_000


class DemoCanary(NamedTuple):
    """A candidate of the demo, and what must become of it."""

    candidate: str
    primary: str
    about: str
    since: int
    """The day on which it starts, epoch ms."""
    steps: str
    ends: str
    """The state in which it must end."""

    @property
    def rollout(self) -> str:
        """The name of the rollout."""
        return f"{flights.MODEL}-{self.candidate}"

    @property
    def text(self) -> str:
        """The rollout file. Labels of a day have settled an hour after midnight, when most planes have landed."""
        return (
            f"rollout: {self.rollout}\nmodel: {flights.MODEL}\ncandidate: {self.candidate!r}\n"
            f"primary: {self.primary!r}\nsteps: {self.steps}\nguards: [{{measure: error, margin: 50%}}]\n"
            "settle: 1h\nstale_after: 3d\nmax: 28d\n"
        )

    @property
    def order(self) -> RolloutRecord:
        """What a person orders by `rollout start`."""
        return RolloutRecord(
            flights.MODEL, self.rollout, f"demo-{self.rollout}", "start", "the demo", self.about, self.text, self.since
        )


CANARIES = (
    DemoCanary(
        "2", "1", "it goes on learning from the flights that land", 1_383_523_200_000,  # 2013-11-04
        "[{weight: 15%, for: 5d}]", "promoted",
    ),
    DemoCanary(
        "3", "2", "somebody has swapped its two classes", 1_385_337_600_000,  # 2013-11-25
        "[{weight: 10%, for: 7d}]", "rolled_back",
    ),
)  # fmt: skip


class Router:
    """The weights of the versions, as the last decisions say; a flight's version follows from a hash of its id."""

    def __init__(self) -> None:
        self.weights: dict[str, float] = {"1": 1.0}
        self._applied: dict[str, int] = {}

    def apply(self, decision: RolloutDecision) -> bool:
        """Apply a decision. Return False for one that was applied before, or that is older."""
        if decision.seq <= self._applied.get(decision.rollout, 0):
            return False
        self._applied[decision.rollout] = decision.seq
        if decision.weights:
            self.weights = dict(decision.weights)
        return True

    def version_for(self, id: str) -> str:
        """The version that answers a flight.

        >>> Router().version_for("f1")
        '1'
        """
        draw, versions = xxhash.xxh3_64_intdigest(id.encode()) / 2**64, sorted(self.weights)
        for version in versions:
            draw -= self.weights[version]
            if draw < 0:
                return version
        return versions[-1]


class Rollouts:
    """What was decided about the demo's canaries, and which of them is due."""

    def __init__(self) -> None:
        self.router = Router()
        self.decisions: list[RolloutDecision] = []
        """Each once, in the order in which it came."""
        self._ordered = 0

    def due(self, until: int) -> Iterator[RolloutRecord]:
        """The orders to write before flights up to this event time are fed."""
        for canary in CANARIES[self._ordered :]:
            if canary.since < until:
                self._ordered += 1
                yield canary.order

    def is_near(self, day: int) -> bool:
        """Whether the feed must stay close: a canary follows its flights, or begins in a day or two."""
        ended = {one.rollout for one in self.decisions if one.state in ("promoted", "rolled_back", "inconclusive")}
        return any(one.rollout not in ended and one.since - 2 * DAY <= day for one in CANARIES)

    def take(self, decision: RolloutDecision) -> Line | None:
        """Apply a decision; a line for a person where it is more than a report."""
        if not self.router.apply(decision):
            return None
        self.decisions.append(decision)
        if decision.decision == "progress":
            return None
        weight = f"{100 * self.router.weights.get(decision.candidate, 0.0):.0f} % of the flights"
        name = Piece(f"{decision.decision:<12}", COLOURS.get(decision.decision, "default"))
        about = f" canary of {visible(decision.candidate)}: {weight}; {visible(decision.reason)}"
        return Line(f"{when(decision.ts)[:10]} ", name, about)

    def outcome(self, canary: DemoCanary) -> RolloutDecision | None:
        """The decision that ended a canary."""
        about = [one for one in self.decisions if one.rollout == canary.rollout and one.decision != "progress"]
        return about[-1] if about and about[-1].state in ("promoted", "rolled_back", "inconclusive") else None

    def told(self) -> Iterator[Line]:
        """How each went, in a sentence."""
        for canary in CANARIES:
            ended = self.outcome(canary)
            if ended is None:
                yield Line(f"canary of {canary.candidate}: NOT DECIDED")
                continue
            name = Piece(ended.state.replace("_", " "), COLOURS.get(ended.state, "yellow"))
            error = next(one for one in ended.evidence if one.guard == "error")
            figures = f"error {error.candidate.mean:.3f} against {error.primary.mean:.3f} of {canary.primary}"
            then = f" on {when(ended.ts)[:10]} after {ended.exposed:,} flights, {figures} "
            yield Line(f"canary of {canary.candidate}: ", name, then, dim(f"({canary.about})"))

    @property
    def as_planned(self) -> bool:
        """Whether each canary ended as it must."""
        return all((ended := self.outcome(one)) is not None and ended.state == one.ends for one in CANARIES)
