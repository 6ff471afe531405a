"""The contract of what is decided about a rollout, one record a sequence number, and of what people order."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from msgspec import Meta, Struct

RolloutStateName = Literal["waiting", "running", "hold", "promoted", "passed", "rolled_back", "inconclusive", "aborted"]
DecisionName = Literal[
    "waiting", "started", "progress", "promote_step", "hold", "resumed", "approved", "promoted", "completed",
    "passed", "rolled_back", "inconclusive", "aborted", "refused",
]  # fmt: skip
Action = Literal["start", "approve", "resume", "pause", "abort", "promote"]


class RolloutCommand(Struct, kw_only=True, omit_defaults=True):
    """What a person orders about a rollout; a second one of the same id is ignored."""

    command: Annotated[str, Meta(min_length=1, max_length=128, description="unique id")]
    action: Action
    ts: int
    by: Annotated[str, Meta(max_length=128)] = "person"
    reason: Annotated[str, Meta(max_length=1_000)] = ""


class GuardLine(Struct):
    """The line between harm and a pass, at one margin: times · primary + plus."""

    times: float
    plus: float


class GuardHarm(Struct, kw_only=True, omit_defaults=True):
    """What the bets on harm are worth; one that reaches `needs` rolls back."""

    settled: Annotated[float, Meta(description="of predictions, or of labels at the age `settle`")]
    early: Annotated[float | None, Meta(description="of labels as they come; 0: muted")] = None
    needs: float


class GuardArm(Struct):
    """A version's values of a measure since the start."""

    n: float
    mean: float


class GuardEvidence(Struct, kw_only=True, omit_defaults=True):
    """The evidence of one guard."""

    guard: str
    segment: str
    line: GuardLine
    harm: GuardHarm
    passes: Annotated[dict[str, float], Meta(description="worth of the bet on a pass, by factor of the margin")] = {}
    needs: Annotated[float, Meta(description="a bet on a pass that is worth this passes")]
    primary: GuardArm
    candidate: GuardArm
    design_effect: Annotated[float, Meta(description="how many requests act as one")]
    strata: int
    report: bool = False
    extra_bad: Annotated[
        float | None,
        Meta(description="of a rate: bad ones of the candidate beyond the primary's rate at the same time"),
    ] = None


class RolloutCheck(Struct):
    """A check of the comparison itself; it holds and never rolls back."""

    name: Annotated[
        Literal["split", "paired"],
        Meta(description="split: the candidate's share of requests; paired: the primary's requests with both answers"),
    ]
    expected: float
    seen: float
    worth: float


class RolloutDecision(Struct, kw_only=True, omit_defaults=True):
    """What was decided about a rollout. (model, rollout, seq) is unique, and `weights` are absolute.

    A router that keeps the last `seq` that it applied, and applies the weights of later ones, may read twice.
    """

    id: Annotated[str, Meta(description="hash of model, rollout and seq")]
    rollout: str
    seq: int
    ts: int
    decision: DecisionName
    state: RolloutStateName
    step: Annotated[int, Meta(description="counted from 1; 0: not started")]
    model: str
    candidate: str
    primary: str
    pattern: Annotated[
        Literal["canary", "shadow"],
        Meta(description="shadow: no request moves, so routers leave all as it is"),
    ]
    weights: Annotated[
        dict[str, float], Meta(description="empty: nothing changes, for the rollout does not run or others set them")
    ]
    by: str
    command: Annotated[str | None, Meta(description="id of the command that led to it")] = None
    reason: str
    holds: Annotated[list[str], Meta(description="the reasons of a hold, as words")] = []
    exposed: Annotated[int, Meta(description="requests that the candidate answered since the start")] = 0
    checks: list[RolloutCheck] = []
    evidence: list[GuardEvidence] = []
    left_out: Annotated[dict[str, int], Meta(description="what came since the start and counts for nothing")] = {}
    report_every: Annotated[int, Meta(description="ms of event time after which the evidence is published anew")] = 0


def decision_id(model: str, rollout: str, seq: int) -> str:
    """The id of a decision."""
    return hashlib.sha256(f"{model}\x1f{rollout}\x1f{seq}".encode()).hexdigest()[:32]


def decision_key(decision: RolloutDecision) -> bytes:
    """The key of a decision on its topic: the model, and the rollout."""
    return f"{decision.model}\x1frollout\x1f{decision.rollout}".encode()
