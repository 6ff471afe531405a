"""What `replay --rollout` and `rejudge --rollout` print of a rollout over the past."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from stream_monitor.config.durations import format_duration
from stream_monitor.errors import SettingsError
from stream_monitor.events.rollouts import GuardEvidence
from stream_monitor.queries.rollouts import bar, shown
from stream_monitor.rollouts.past import PastRollout, PastVerdict
from stream_monitor.rollouts.plan import read_raw
from stream_monitor.terminal import Column, Piece, Screen, Table, bold, dim, visible
from stream_monitor.timestamps import to_the_second

HARM = 1
"""The exit code of a rollout that would have been stopped."""
MINUTE = 60_000


def read(path: Path, since: int | None) -> PastRollout:
    """The rollout of a file; SettingsError where it is none."""
    return PastRollout(read_raw(path), str(path), since)


def require_segments(past: PastRollout, specs: list[str]) -> None:
    """SettingsError where a rollout looks into segments that the app does not have."""
    if unknown := [name for name in past.plan.segments if name not in specs]:
        known = "; ".join(specs) or "none"
        raise SettingsError(f"segments {', '.join(unknown)} are none of this app's; its `segments` are: {known}")


def tell(verdict: PastVerdict, as_json: bool, out: Screen) -> int:
    """Print what a rollout would have come to; the exit code is 1 for harm, else 0."""
    if as_json:
        out.data(msgspec.json.encode(verdict))
    else:
        _print(verdict, out)
    return HARM if verdict.verdict == "harm" else 0


def _print(verdict: PastVerdict, out: Screen) -> None:
    candidate, primary = visible(verdict.candidate), visible(verdict.primary)
    out.line(bold(visible(verdict.rollout)), f"  {candidate} against {primary} of {visible(verdict.model)}, "
             f"from {to_the_second(verdict.begins)} on, by the weights of that time")  # fmt: skip
    for one in verdict.decisions[1:]:
        if one.decision in ("promoted", "rolled_back", "inconclusive"):
            out.prose(_outcome(one.state), f" {_moment(one.ts, verdict.begins)}: {visible(one.reason)}")
    if verdict.verdict == "none":
        out.prose(
            Piece("no verdict", "yellow"), f" {_moment(verdict.ends, verdict.begins, 'by')}: {visible(verdict.reason)}"
        )
    out.prose(f"exposed: {verdict.exposed:,} requests of {candidate} until then")
    out.table(_table(verdict))
    for line in _needs(verdict):
        out.prose(line)
    if verdict.left_out:
        lost = ", ".join(f"{n:,} {what}" for what, n in verdict.left_out.items())
        out.prose(dim(f"counts for nothing: {lost}"))


def _outcome(state: str) -> Piece:
    words = {"rolled_back": ("would have been stopped", "red"), "promoted": ("would have passed", "green")}
    return Piece(*words.get(state, ("would have ended without a verdict", "yellow")))


def _moment(ts: int, begins: int, word: str = "at") -> str:
    after = format_duration((ts - begins) // MINUTE * MINUTE)
    return f"{word} {to_the_second(ts)}, after {after}"


def _table(verdict: PastVerdict) -> Table:
    figures = (verdict.primary, verdict.candidate, "line", "values", "extra bad")
    names = ("guard", *figures, "harm", "of", "pass", "of")
    kinds = {*figures, "of"}
    table = Table([Column(visible(name), "figure" if name in kinds else "name") for name in names])
    for one in verdict.evidence:
        harm, passed = max(one.harm.settled, one.harm.early or 0.0), one.passes.get("1", 0.0)
        extra = "" if one.extra_bad is None else f"{one.extra_bad:,.1f}"
        table.row(
            _title(one), f"{one.primary.mean:.4g}", f"{one.candidate.mean:.4g}",
            f"{one.line.times * one.primary.mean + one.line.plus:.4g}", f"{one.candidate.n:,.0f}", extra,
            f"{bar(harm, one.harm.needs)} {shown(harm)}", f"{one.harm.needs:.0f}",
            f"{bar(passed, one.needs)} {shown(passed)}", f"{one.needs:.0f}",
        )  # fmt: skip
    table.caption = [
        "A bet on harm that is worth the figure behind it stops; each bet on a pass must be worth the figure behind "
        "it. Extra bad: requests of the candidate with a worse value, beyond the primary's rate at the same time."
    ]
    return table


def _title(one: GuardEvidence) -> str:
    name = one.guard if one.segment == "all" else f"{one.guard} in {one.segment}"
    return visible(name) + (" (only shown)" if one.report else "")


def _needs(verdict: PastVerdict) -> Iterator[str]:
    for guard, values in verdict.still_needs.items():
        name = visible(guard)
        if values is None:
            yield f"  to pass, {name} needs values that speak for the candidate; so far none do"
        else:
            yield f"  to pass, {name} needs about {values:,.0f} further values of the candidate, at the pace so far"
    if verdict.holds:
        yield f"  a pass would have waited: {', '.join(verdict.holds)}"
