"""The words of a message: lines for a person, the reason first. Whatever a stranger named is made visible here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import quote

from stream_monitor.config.durations import format_duration
from stream_monitor.events.contracts import Alert, Attribution, Moved
from stream_monitor.events.notifications import Digest, NotifiedDecision, NotifiedIncident
from stream_monitor.events.remarks import Acknowledgement
from stream_monitor.terminal import visible
from stream_monitor.timestamps import when

LISTED = 5
"""Incidents of a digest, bins and segments that a message names."""
MOST_LINE = 600
BAR, WIDE = "▇", 12
"""Shares are drawn with so many bars at most: every service shows text, and not every one pictures."""
WHY = {
    "late": "while nobody told you",
    "quiet": "in the quiet hours",
    "rate": "more than the setting notify.rate",
    "start": "when this receiver was new",
}
LABELS = {
    "worse": "labels say: the error rose with it, so it matters",
    "better": "labels say: the error fell with it",
    "unchanged": "labels say: the error did not move, so it does no harm so far",
    "undecided": "labels cannot tell yet whether the error rose",
}


def line(text: object) -> str:
    """A text of a stranger on one line, every character visible."""
    return visible(text, MOST_LINE)


def incident_lines(
    incident: NotifiedIncident, together: Sequence[NotifiedIncident], alert: Alert | None, link: str | None
) -> list[str]:
    """The lines about an incident and those that are told with it."""
    found = [line(incident.reason), *_state(incident)]
    if incident.segments:
        found.append(line(f"segments: {', '.join(incident.segments)}"))
    if alert is not None and alert.attribution is not None:
        found += _attribution(alert.attribution)
    if incident.error in LABELS:
        found.append(LABELS[incident.error])
    found += [line(f"together with: {other.reason}") for other in together[:LISTED]]
    if len(together) > LISTED:
        found.append(f"and {len(together) - LISTED} more")
    return found + _more(alert, link)


def _state(incident: NotifiedIncident) -> Iterator[str]:
    what = f"{incident.severity}, since {when(incident.opened_ts)}"
    if incident.ended_ts is not None:
        lasted = format_duration(max(0, incident.ended_ts - incident.opened_ts) // 1_000 * 1_000)
        what += f", ended {when(incident.ended_ts)} after {lasted}"
    if incident.size > 1:
        what += f"; {incident.size} alerts"
    yield what


def _attribution(attribution: Attribution) -> Iterator[str]:
    for moved in attribution.moved[:LISTED]:
        shares = (f"{share:.1%} {BAR * max(1, round(WIDE * share))}" for share in (moved.baseline, moved.now))
        yield line(f"{_name(moved)}: {' → '.join(shares)}")
    named = [f"{p.segment} ({p.part:.0%})" for p in attribution.segments[:LISTED] if p.named]
    if named:
        yield line(f"comes from: {', '.join(named)}")


def _name(moved: Moved) -> str:
    """What moved: a category, or a bin."""
    if moved.name is not None:
        return moved.name
    if moved.above is None:
        return f"up to {moved.to:g}" if moved.to is not None else "all"
    return f"above {moved.above:g}" if moved.to is None else f"{moved.above:g} to {moved.to:g}"


def _more(alert: Alert | None, link: str | None) -> list[str]:
    found = [] if alert is None else [f"stream-monitor alerts explain {line(alert.id[:8])}"]
    return found if link is None else [*found, link]


def digest_lines(digest: Digest, worst: Sequence[NotifiedIncident], total: int, link: str | None) -> list[str]:
    """The lines of a digest: the counts, and the worst incidents."""
    counts = [f"{digest.opened} opened", f"{digest.ended} ended"]
    if digest.other:
        counts.append(f"{digest.other} other messages")
    said = f"{digest.opened} open" if digest.why == "start" else ", ".join(counts)
    found = [f"{WHY[digest.why]}: {said}"]
    found += [line(f"{one.reason} ({one.severity}{_ended(one)})") for one in worst[:LISTED]]
    if total > LISTED:
        found.append(f"and {total - LISTED} more")
    return found if link is None else [*found, link]


def _ended(incident: NotifiedIncident) -> str:
    return "" if incident.ended_ts is None else f", ended {when(incident.ended_ts)}"


def decision_lines(decision: NotifiedDecision, link: str | None) -> list[str]:
    """The lines of a decision about a rollout."""
    word = decision.decision.replace("_", " ")
    weights = ", ".join(f"{version} {weight:g}" for version, weight in decision.weights.items())
    found = [
        line(f"rollout {decision.rollout} of {decision.model}: {word}: {decision.reason}"),
        line(f"candidate {decision.candidate}, primary {decision.primary}; weights: {weights}"),
        f"at {when(decision.ts)}",
    ]
    return found if link is None else [*found, link]


def acknowledgement_lines(incident: NotifiedIncident, remark: Acknowledgement) -> list[str]:
    """The lines of an acknowledgement."""
    why = f": {remark.why}" if remark.why else ""
    return [line(f"{remark.by} has seen it ({remark.verdict}){why}"), line(incident.reason)]


def page_link(base: str | None, *path: str) -> str | None:
    """An address on the page; None where no page is named."""
    if base is None:
        return None
    return f"{base.rstrip('/')}/#/{'/'.join(quote(part, safe='') for part in path)}" if path else base
