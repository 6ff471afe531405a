"""Clauses about losses, for the reasons of alerts: what share of how many, since when, why, and what shows more."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import NamedTuple

from stream_monitor.events.contracts import Alert, Finding
from stream_monitor.judge.alerts.figures import moment, share
from stream_monitor.profiles.measures import INCOMPARABLE, VOLUME
from stream_monitor.profiles.names import ALL_MODELS


class Recipe(NamedTuple):
    """The parts of a sentence about one kind of loss."""

    items: str
    """What is counted; {role} is the topic's."""
    fate: str
    cause: str
    command: str


RECIPES = {
    "late": Recipe(
        "predictions",
        "came late, behind the watermark of their partition",
        "the clock of a sender is behind, or another one's is ahead",
        "metrics tail --model {model}",
    ),
    "duplicate": Recipe(
        "predictions",
        "have an id that came before",
        "events are sent twice, or one id is used for several",
        "metrics tail --model {model}",
    ),
    "after_idle": Recipe(
        "predictions",
        "came after their window had closed",
        "their partition was idle: raise time.idle_after",
        "metrics tail --model {model}",
    ),
    "incomparable": Recipe(
        "labels",
        "could not be compared with their answer",
        "classes compare with classes and numbers with numbers, and 0.7, an array or no answer with no class",
        "metrics tail --model {model}",
    ),
    "refused": Recipe("{role}", "were refused", "", "check"),
    "unjoined": Recipe(
        "{role}",
        "joined no prediction",
        "their ids are none of the predictions', or those came before the app began, or beyond join.label_horizon",
        "check",
    ),
}
"""By detector."""


def is_loss(findings: Sequence[Finding]) -> bool:
    """Whether findings are about a loss."""
    return bool(findings) and findings[0].detector in RECIPES


def is_about_loss(model: str, measure: str) -> bool:
    """Whether an alert of the kind `quality` on this measure is about losses."""
    return model == ALL_MODELS or measure in (VOLUME, INCOMPARABLE)


def end_of_loss(model: str, measure: str) -> str:
    """The sentence of an alert that is over."""
    if model == ALL_MODELS:
        role, _, detector = measure.partition(".")
        return f"the share of {role} that {RECIPES[detector].fate} is usual again"
    what = "predictions that are lost" if measure == VOLUME else f"labels that {RECIPES[INCOMPARABLE].fate}"
    return f"the share of {what} is usual again"


def loss_of(alert: Alert) -> str:
    """A clause for each finding about a loss: how many of how many, why, and since when."""
    role = alert.measure.partition(".")[0]
    return "; ".join(_clause(finding, role, alert.ts) for finding in alert.findings if finding.detector in RECIPES)


def command_of(alert: Alert) -> str:
    """The command that shows more of the first finding. A model's name is quoted, for people paste it into a shell."""
    return RECIPES[alert.findings[0].detector].command.format(model=shlex.quote(alert.model))


def _clause(finding: Finding, role: str, ts: int) -> str:
    recipe, facts = RECIPES[finding.detector], finding.evidence
    lost, total = facts["lost"], facts["of"]
    clause = f"{lost:,} of {total:,} {recipe.items.format(role=role)} ({share(lost / total)}) {recipe.fate}"
    clause += f", since {moment(facts['since'], ts)}"
    if "usual" in facts:
        clause += f" (usually {share(facts['usual'])})"
    if reason := facts.get("reason"):
        clause += f", most of them ({facts['by_reason']:,}) as {reason}"
    if sources := facts.get("from"):
        clause += f", most of it from {', '.join(sources)}"
    return clause + (f": {recipe.cause}" if recipe.cause else "")
