"""What the topic `decisions` says of rollouts, and how a person reads it."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from stream_monitor.errors import StreamMonitorError, suggest
from stream_monitor.events.rollouts import GuardEvidence, RolloutDecision
from stream_monitor.terminal import Line, Piece, bold, dim, visible
from stream_monitor.timestamps import to_the_second

log = logging.getLogger(__name__)

CELLS = 10
"""Cells of a bar."""
OVER = ("promoted", "passed", "rolled_back", "inconclusive", "aborted")


@dataclass
class RolloutHistory:
    """The decisions about one rollout, in the order of their numbers."""

    decisions: list[RolloutDecision] = field(default_factory=list)

    @property
    def last(self) -> RolloutDecision:
        """The latest decision."""
        return self.decisions[-1]

    @property
    def changes(self) -> list[RolloutDecision]:
        """Those that are more than a report of the evidence."""
        return [one for one in self.decisions if one.decision != "progress"]

    @property
    def weighed(self) -> RolloutDecision:
        """The decision since which the weights are what they are; a refusal without weights is none."""
        weighing = [one for one in self.decisions if one.weights] or self.decisions
        first = weighing[-1]
        for one in reversed(weighing):
            if one.weights != first.weights:
                break
            first = one
        return first


def decisions_of(values: Iterable[bytes]) -> Iterator[RolloutDecision]:
    """The decisions that records hold; what is none of ours is left out, and logged."""
    for value in values:
        try:
            yield msgspec.json.decode(value, type=RolloutDecision)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.warning("a record of the topic decisions is no decision, and is left out: %s", error)


def histories_of(values: Iterable[bytes]) -> dict[tuple[str, str], RolloutHistory]:
    """By (model, rollout). Records that came twice count once; the key of a rollout orders them on its partition."""
    found: dict[tuple[str, str], dict[int, RolloutDecision]] = {}
    for decision in decisions_of(values):
        found.setdefault((decision.model, decision.rollout), {})[decision.seq] = decision
    return {key: RolloutHistory([by_seq[seq] for seq in sorted(by_seq)]) for key, by_seq in found.items()}


def find_rollout(
    histories: dict[tuple[str, str], RolloutHistory], name: str, model: str | None
) -> tuple[str, RolloutHistory]:
    """The model and the history of a rollout.

    Raises:
        StreamMonitorError: there is none of this name, or several models have one.
    """
    found = [(of, one) for (of, rollout), one in histories.items() if rollout == name and model in (None, of)]
    if len(found) == 1:
        return found[0]
    if found:
        models = ", ".join(sorted(visible(of) for of, _ in found))
        raise StreamMonitorError(f"several models have a rollout {visible(name)}: {models}; name one with --model")
    known = sorted({rollout for _, rollout in histories})
    hint = suggest(name, known, "rollouts") if known else "no rollout was ever started"
    raise StreamMonitorError(f"no rollout {visible(name)}: {hint}")


def summary_of(history: RolloutHistory) -> Iterator[Line]:
    """A rollout as `rollout status` prints it."""
    last = history.last
    weights = history.weighed.weights
    share = f"{100 * weights.get(last.candidate, 0.0):.4g} %" if weights or not last.step else "weights set elsewhere"
    step = f"step {last.step} " if last.step else ""
    weighed = f"{step}{share}" if last.pattern != "shadow" else "no request moves"
    holds = f": {', '.join(last.holds)}" if last.holds else ""
    since = to_the_second(history.weighed.ts)
    who = f"  {last.pattern} of {visible(last.candidate)} against {visible(last.primary)} of {visible(last.model)}"
    yield Line(bold(visible(last.rollout)), f"{who}  {weighed} since {since}  ", _coloured(last), holds)
    width = max((len(_title(one)) for one in last.evidence), default=0)
    for one in last.evidence:
        yield Line(*_evidence(one, last, width))
    checks = [f"{check.name} {check.seen:.1%} of {check.expected:.4g}" for check in last.checks]
    yield Line(dim(" · ".join([*checks, f"exposed {last.exposed:,}", f"as of {to_the_second(last.ts)}"])))
    if last.left_out:
        yield Line(dim("counts for nothing: " + ", ".join(f"{n:,} {what}" for what, n in last.left_out.items())))
    if last.decision not in ("progress", "started"):
        yield Line(dim(f"{last.decision}: {visible(last.reason)}"))


def _coloured(last: RolloutDecision) -> Piece:
    colours = {"hold": "yellow", "rolled_back": "red", "aborted": "red"}
    colours |= dict.fromkeys(("running", "promoted", "passed"), "green")
    return Piece(last.state, colours.get(last.state, "default"))


def _title(one: GuardEvidence) -> str:
    return visible(one.guard if one.segment == "all" else f"{one.guard} in {one.segment}")


def _evidence(one: GuardEvidence, last: RolloutDecision, width: int) -> Iterator[str | Piece]:
    line = one.line.times * one.primary.mean + one.line.plus
    yield f"  {_title(one):<{width}}  {visible(last.primary)} {one.primary.mean:.4g}  "
    yield f"{visible(last.candidate)} {one.candidate.mean:.4g}  line {line:.4g}  "
    harm = max(one.harm.settled, one.harm.early or 0.0)
    yield Piece(
        f"harm {bar(harm, one.harm.needs)} {shown(harm)} of {one.harm.needs:.0f}", "red" if harm > 1 else "default"
    )
    factor = next((name for name in ("1", "2", "4") if one.passes.get(name, 0.0) > 1), "4")
    worth = one.passes.get(factor, 0.0)
    yield f"  pass {bar(worth, one.needs)} {shown(worth)} of {one.needs:.0f} at {factor} ×"
    if one.report:
        yield "  (only shown)"


def bar(worth: float, needs: float) -> str:
    """How far a bet is, on a scale of logarithms.

    >>> bar(0.5, 20), bar(4.5, 20), bar(1e9, 20)
    ('··········', '█████·····', '██████████')
    """
    part = math.log(worth) / math.log(needs) if worth > 1 and needs > 1 else 0.0
    full = min(round(part * CELLS), CELLS)
    return "█" * full + "·" * (CELLS - full)


def shown(worth: float) -> str:
    """A worth in few characters.

    >>> shown(0.0123), shown(17.3), shown(2e6)
    ('0.01', '17.3', '1M and more')
    """
    if worth >= 1e6:
        return "1M and more"
    return f"{worth:.2f}" if worth < 1 else f"{worth:.3g}"


def exit_code(decisions: Sequence[RolloutDecision]) -> int:
    """1 where a rollout was rolled back or aborted, 3 where it ended without a verdict, else 0."""
    return {"rolled_back": 1, "aborted": 1, "inconclusive": 3}.get(decisions[-1].state, 0)
