"""A rollout over the past: two versions both had requests then, and nobody follows our weights.

The file of any canary will do. Its steps are left out, because the weights were what they were, and so are its
approvals, because nobody is there to give them: it is judged as `steps: external`. It begins with the first pane of its
model, or at a time that a person names, and its bets are those of a rollout that began then.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from stream_monitor.config import yaml_text
from stream_monitor.errors import SettingsError, StreamMonitorError, suggest
from stream_monitor.events.rollouts import GuardEvidence, RolloutDecision
from stream_monitor.profiles.names import NEVER
from stream_monitor.profiles.records import DeltaRecord, Record, RolloutRecord
from stream_monitor.rollouts.plan import RolloutPlan, parse_plan

Verdict = Literal["pass", "harm", "none"]
MOST_NAMES = 1_000
"""Names of models and versions that are kept to tell a person what came; further ones are left out."""


def external_text(raw: bytes, source: str) -> str:
    """A rollout file as one whose weights somebody else sets.

    Raises:
        SettingsError: the text is no rollout.
    """
    if parse_plan(raw, source).is_shadow:
        raise SettingsError(
            f"{source}: a rollout in shadow is not judged over the past, only a canary: leave `pattern: shadow` out to "
            "compare the two versions as they were used"
        )
    read = yaml_text.read(raw.decode("utf-8-sig"), source)
    return msgspec.json.encode(read | {"steps": "external", "approve": []}).decode()


class PastVerdict(msgspec.Struct, kw_only=True):
    """What a rollout would have come to."""

    rollout: str
    model: str
    candidate: str
    primary: str
    verdict: Verdict
    """`harm`: it would have been stopped; `pass`: promoted; `none`: neither, by the end of what there is."""
    begins: int
    """Epoch ms, as all times."""
    ends: int
    """When the verdict came; without one, the last pane."""
    reason: str
    holds: list[str]
    """Why a pass had to wait at the end."""
    exposed: int
    """Requests of the candidate until `ends`."""
    extra_bad: dict[str, float]
    """By guard that is a rate: bad ones of the candidate beyond the primary's rate at the same time."""
    still_needs: dict[str, float | None]
    """By guard that has not passed: about so many further values of the candidate; None: nothing speaks for a pass."""
    left_out: dict[str, int]
    evidence: list[GuardEvidence]
    decisions: list[RolloutDecision]


class PastRollout:
    """Starts a rollout in a log of profiles, and keeps what is decided about it."""

    def __init__(self, raw: bytes, source: str, since: int | None = None) -> None:
        """`raw`: the rollout file; `since`: when it begins, epoch ms; None: with the first pane of the model.

        Raises:
            SettingsError: the file is no rollout.
        """
        self.text = external_text(raw, source)
        self.plan: RolloutPlan = parse_plan(self.text.encode(), source)
        self.since = NEVER if since is None else since
        self.decisions: list[RolloutDecision] = []
        """Those that are more than a report."""
        self.models: set[str] = set()
        self.versions: set[str] = set()
        self._last: RolloutDecision | None = None

    @property
    def start(self) -> RolloutRecord:
        """The order that starts the rollout; it goes before the first profiles of its model."""
        return self._order("start", "over the past", self.since, self.text)

    def observe(self, record: Record) -> None:
        """Keep which models and versions came, to tell a person who names another one."""
        if not isinstance(record, DeltaRecord):
            return
        for delta in record.deltas:
            if len(self.models) < MOST_NAMES:
                self.models.add(delta.model)
            if delta.model == self.plan.model and delta.timeline == "input" and len(self.versions) < MOST_NAMES:
                self.versions.update(delta.version)

    @property
    def end(self) -> RolloutRecord | None:
        """The order that asks for the evidence where a log goes on; None where no verdict is open.

        A stream that ends tells its evidence by itself. A pause is refused where a candidate has passed and is watched;
        that decision holds the evidence, too.
        """
        runs = self._last is not None and self._last.state in ("running", "hold", "promoted")
        return self._order("pause", "no more profiles", NEVER) if runs else None

    def _order(self, action: Literal["start", "pause"], reason: str, since: int, text: str = "") -> RolloutRecord:
        plan = self.plan
        return RolloutRecord(plan.model, plan.rollout, f"past-{action}", action, "the past", reason, text, since)

    def take(self, decision: RolloutDecision) -> None:
        """Take in a decision; those about other rollouts are none of ours."""
        if (decision.model, decision.rollout) != (self.plan.model, self.plan.rollout):
            return
        if decision.command == "past-pause":
            if decision.evidence:
                self._last = decision
        elif decision.decision == "progress":
            self._last = decision
        else:
            self._last = decision
            self.decisions.append(decision)

    def verdict(self) -> PastVerdict:
        """What it came to.

        Raises:
            StreamMonitorError: nothing came of its model, or of one of its versions.
        """
        plan, last = self.plan, self._last
        missing = [version for version in (plan.primary, plan.candidate) if version not in self.versions]
        if plan.model not in self.models:
            hint = suggest(plan.model, sorted(self.models), "models that came")
            raise StreamMonitorError(f"no prediction of a model {plan.model!r} came; {hint}")
        if missing:
            names = " and ".join(map(repr, missing))
            hint = suggest(missing[0], sorted(self.versions), "versions that came")
            raise StreamMonitorError(f"no prediction of {plan.model!r} by version {names} came; {hint}")
        if last is None or not self.decisions:
            raise StreamMonitorError(f"no slice of time of {plan.model!r} has closed: there is nothing to judge")
        ended = self.decisions[-1]
        verdict = _verdict(ended)
        shown = ended if verdict != "none" or ended.state == "inconclusive" else last
        paused = [hold for hold in last.holds if hold != "paused"]
        return PastVerdict(
            rollout=plan.rollout, model=plan.model, candidate=plan.candidate, primary=plan.primary, verdict=verdict,
            begins=self.decisions[0].ts, ends=shown.ts, reason=shown.reason if shown is ended else "no verdict yet",
            holds=paused if verdict == "none" else [], exposed=shown.exposed,
            extra_bad={one.guard: one.extra_bad for one in _of_all(shown) if one.extra_bad is not None},
            still_needs={} if verdict != "none" else dict(_still_needs(shown)), left_out=shown.left_out,
            evidence=shown.evidence, decisions=self.decisions,
        )  # fmt: skip


def _verdict(decision: RolloutDecision) -> Verdict:
    return "harm" if decision.state == "rolled_back" else "pass" if decision.state == "promoted" else "none"


def _of_all(decision: RolloutDecision) -> list[GuardEvidence]:
    return [one for one in decision.evidence if one.segment == "all"]


def _still_needs(decision: RolloutDecision) -> list[tuple[str, float | None]]:
    """What each guard needs: the log of a bet grows with the values, about as it has grown so far."""
    found = list[tuple[str, float | None]]()
    for one in _of_all(decision):
        worth = one.passes.get("1", 0.0)
        if not one.report and worth < one.needs:
            grown = math.log(worth) if worth > 1 else 0.0
            found.append((one.guard, one.candidate.n * (math.log(one.needs) / grown - 1) if grown else None))
    return found
