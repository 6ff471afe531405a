"""Sentences about losses: what share of how many, since when, why, and the command to look closer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from stream_monitor.events.contracts import Finding
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
        "stream-monitor metrics tail --model {model}",
    ),
    "duplicate": Recipe(
        "predictions",
        "have an id that came before",
        "events are sent twice, or one id is used for several",
        "stream-monitor metrics tail --model {model}",
    ),
    "after_idle": Recipe(
        "predictions",
        "came after their window had closed",
        "their partition was idle: raise time.idle_after",
        "stream-monitor metrics tail --model {model}",
    ),
    "incomparable": Recipe(
        "labels",
        "could not be compared with their answer",
        "classes compare with classes and numbers with numbers, and 0.7, an array or no answer with no class",
        "stream-monitor metrics tail --model {model}",
    ),
    "refused": Recipe("{role}", "were refused", "", "stream-monitor check"),
    "unjoined": Recipe(
        "{role}",
        "joined no prediction",
        "their ids are none of the predictions', or those came before the app began, or beyond join.label_horizon",
        "stream-monitor check",
    ),
}
"""By detector."""


def is_loss(findings: Sequence[Finding]) -> bool:
    """Whether an alert is about a loss."""
    return bool(findings) and findings[0].detector in RECIPES


def is_about_loss(model: str, measure: str) -> bool:
    """Whether an alert of the kind `quality` on this measure is about losses."""
    return model == ALL_MODELS or measure in (VOLUME, INCOMPARABLE)


def resolved_loss(model: str, version: str, measure: str) -> str:
    """The sentence of an alert that is over."""
    if model == ALL_MODELS:
        role, _, detector = measure.partition(".")
        return f"the share of {role} that {RECIPES[detector].fate} is usual again"
    what = "predictions that are lost" if measure == VOLUME else f"labels that {RECIPES[INCOMPARABLE].fate}"
    return f"the share of {what} of {model} {version} is usual again"


def loss_reason(model: str, version: str, measure: str, findings: Sequence[Finding]) -> str:
    """One sentence a finding; the command of the first comes last."""
    where = "" if model == ALL_MODELS else f" of {model} {version}"
    role = measure.partition(".")[0]
    told = [_sentence(finding, role, where) for finding in findings if finding.detector in RECIPES]
    command = RECIPES[findings[0].detector].command.format(model=model)
    return f"{'; '.join(told)}. To look closer: {command}"


def _sentence(finding: Finding, role: str, where: str) -> str:
    recipe, facts = RECIPES[finding.detector], finding.evidence
    lost, total = facts["lost"], facts["of"]
    since = datetime.fromtimestamp(facts["since"] / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    told = f"{lost:,} of {total:,} {recipe.items.format(role=role)}{where} ({lost / total:.0%}) {recipe.fate}"
    told += f" since {since} UTC"
    if "usual" in facts:
        told += f", usual are {facts['usual']:.2%}"
    if reason := facts.get("reason"):
        told += f", most of them ({facts['by_reason']:,}) as {reason}"
    if sources := facts.get("from"):
        told += f", most of it from {', '.join(sources)}"
    return told + (f": {recipe.cause}" if recipe.cause else "")
