"""The reason of an alert: sentences for a person, made from the record alone.

A reason says, in this order: model, version and segment; what moved, from what to what in the measure's own unit; since
when and in how many values; whether it matters; where it comes from; and the command that shows more. There is one
recipe for each kind of finding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stream_monitor.config.durations import format_duration
from stream_monitor.events.contracts import Alert, ErrorChange, Finding, Moved
from stream_monitor.events.reason_command import LABELS_AWAITED, with_command
from stream_monitor.judge.alerts.figures import apart, moment, number, share
from stream_monitor.judge.alerts.loss_reason import command_of, end_of_loss, is_about_loss, is_loss, loss_of
from stream_monitor.judge.detection.limits import parse_limit
from stream_monitor.profiles.measures import ERRORS, JOINT, NULL_ANSWER, OVERRIDDEN
from stream_monitor.profiles.names import ALL_MODELS, ALL_SEGMENTS

CLEAR_RATIO = 1.25
"""From this ratio of two medians on, a sentence says how many times as large the values are."""
NAMED = 3
"""How many categories or features a sentence names."""

ITEMS = ("labels", "feedback")
"""What an alert of silence is about, if not about predictions."""
_RATES = {
    "error": "the error rate",
    "label_disagreement": "the share of labels that labelers disagree on",
    NULL_ANSWER: "the share of null answers",
    OVERRIDDEN: "the share of answers that a person overrode",
}
_QUANTILES = {"p50": "median", "mean": "mean"}


def reason_of(alert: Alert) -> str:
    """The reason of an alert with status `open`, `update` or `resolved`."""
    if alert.status == "resolved":
        return f"{subject_of(alert)}: {_end(alert)}"
    if is_loss(alert.findings):
        return with_command(f"{subject_of(alert)}: {loss_of(alert)}", command_of(alert))
    sentences = [f"{_what(alert)}{_since(alert)}", *_consequences(alert)]
    return with_command(f"{subject_of(alert)}: {'; '.join(sentences)}", f"alerts explain {alert.id[:8]}")


def outcome_of(alert: Alert, change: ErrorChange) -> str:
    """The reason of an alert with status `outcome`: what the labels say about a drift."""
    measure = change.measure.replace("_", " ") or "error"
    before, now = change.baseline, change.now
    moved = "" if before is None or now is None else f" ({_pair(change.measure, before, now)} in {change.n:,} labels)"
    cause = ": an alert on the error opened" if change.alarmed else ""
    what = {
        "worse": f"the {measure} rose with it{moved}{cause}"
        + (": this drift matters" if matters(change) else ", by less than is tolerated"),
        "better": f"the {measure} fell with it{moved}",
        "unchanged": f"the {measure} did not rise by more than {_rise(change, change.bound)}{moved}: "
        "this drift does not matter so far",
        "undecided": f"the labels cannot tell yet whether the {measure} rose{moved}{_doubt(change)}",
        "unknown": f"nobody can say yet whether the {measure} moved{moved}",
    }[change.state]
    return f"{subject_of(alert)}: {alert.measure} changed at {moment(alert.opened_ts, alert.ts)}, and {what}"


def _rise(change: ErrorChange, size: float | None) -> str:
    if size is None:
        return "is tolerated"
    return f"{number(100 * max(size, 0.0))} points" if change.measure == "error" else number(max(size, 0.0))


def _doubt(change: ErrorChange) -> str:
    """What keeps an outcome undecided: the rise that is still possible, and how long labels take."""
    doubts = ""
    if change.bound is not None and change.tolerance is not None:
        possible, tolerated = _rise(change, change.bound), _rise(change, change.tolerance)
        doubts += f"; a rise by {possible} is possible, {tolerated} are tolerated"
    if change.label_delay is not None:
        doubts += f"; half of the labels come within {format_duration(change.label_delay)}"
    return doubts


def matters(change: ErrorChange) -> bool:
    """Whether a rise is above the tolerance; with very many labels a far smaller one is clear, too."""
    if change.alarmed or change.now is None or change.baseline is None:
        return True
    return change.now - change.baseline > (change.tolerance or 0.0)


def subject_of(alert: Alert) -> str:
    """Model, version and segment, as one text."""
    if alert.model == ALL_MODELS:
        return "all models"
    version = "" if alert.version == ALL_SEGMENTS else f" {alert.version}"
    return f"{alert.model}{version}" + ("" if alert.segment == ALL_SEGMENTS else f" [{alert.segment}]")


# --- what ---


def _what(alert: Alert) -> str:
    finding = alert.findings[0]
    match alert.kind:
        case "silence":
            return _silence(alert.measure, finding)
        case "limit":
            return f"{_limit(finding)}{_of_how_many(alert)}"
        case "quality":
            return _quality(alert, finding)
    if finding.detector == "volume":
        return _volume(alert, finding)
    if alert.measure == JOINT:
        names = [feature["name"] for feature in finding.evidence.get("features", [])]
        most = list(dict.fromkeys(names))[:NAMED]
        return "the features together changed" + (f", most of all {_list(most)}" if most else "")
    if "categories" in finding.evidence:
        return f"{alert.measure} changed: {_categories(finding.evidence['categories'])}{_of_how_many(alert)}"
    return f"{_numeric(alert, finding)}{_of_how_many(alert)}"


def _silence(measure: str, finding: Finding) -> str:
    if "usual_ms" in finding.evidence:
        gap, longest = (format_duration(finding.evidence[name]) for name in ("silent_ms", "usual_ms"))
        return f"no {measure} came in {gap} of predictions (usual gaps are up to {longest})"
    if "expected" in finding.evidence:
        lasted, expected = format_duration(finding.evidence["silent_ms"]), number(finding.evidence["expected"])
        return f"no event for {lasted}, where {expected} were expected"
    silent, tolerated = 1_000 * int(finding.score // 1_000), int(finding.threshold)
    return f"nothing has come for {format_duration(silent)} (tolerated: {format_duration(tolerated)})"


def _limit(finding: Finding) -> str:
    limit, (value, bound) = parse_limit(finding.detector), apart(finding.score, finding.threshold)
    relation = "above" if limit.relation == ">" else "below"
    return f"{limit.measure}.{limit.statistic} is {value}, {relation} the limit {bound}"


def _volume(alert: Alert, finding: Finding) -> str:
    usual, window = finding.evidence["baseline"], format_duration(max(alert.ts - alert.opened_ts, 0))
    within = f" in {window}" if alert.status == "open" else " in a window"
    return f"{number(finding.score)} events{within}, usually {number(usual['min'])} to {number(usual['max'])}"


def _quality(alert: Alert, finding: Finding) -> str:
    shares = finding.evidence.get("shares")
    name = alert.measure
    if shares is None:
        return f"{name}: {finding.detector} {finding.direction} by {share(abs(finding.score))}"
    moved, of = f"{share(shares['baseline'])} → {share(shares['now'])}", f"of {shares['n']:,}"
    if finding.detector == "missing":
        way = "is missing more often" if finding.direction == "up" else "is missing less often"
        return f"{name} {way} ({moved} {of} events)"
    if finding.detector == "type_change":
        return f"{name} has values of another type ({moved} {of} values)"
    before, now = _shares_by_name(finding.evidence.get("categories", {}))
    new = [category for category in now if not before.get(category)]
    named = f": {_list(new[:NAMED])}" if new else ""
    return f"{name} has categories that were not seen before ({moved} {of} values){named}"


def _categories(moved: Mapping[str, Sequence[Any]]) -> str:
    before, now = _shares_by_name(moved)
    return ", ".join(f"{_quoted(name)} {share(before[name])} → {share(now[name])}" for name in list(now)[:NAMED])


def _shares_by_name(moved: Mapping[str, Sequence[Any]]) -> tuple[dict[str, float], dict[str, float]]:
    names = moved.get("name", [])
    return dict(zip(names, moved.get("baseline", []), strict=True)), dict(zip(names, moved.get("now", []), strict=True))


def _numeric(alert: Alert, finding: Finding) -> str:
    baseline, now = _figures(finding)
    name = alert.measure
    if _is_rate(baseline, now):
        what = _RATES.get(name, f"the share of {name} = 1")
        return f"{what} {_way(finding)} ({share(baseline['mean'])} → {share(now['mean'])})"
    if finding.detector == "tail":
        figures = [
            f"{x} {number(baseline[x])} → {number(now[x])}" for x in ("p99", "mean") if x in baseline and x in now
        ]
        return f"{name} has more large values ({', '.join(figures)})"
    ratio = _ratio(baseline, now)
    if ratio is not None:
        return f"{name} is about {ratio} times as large ({_middle(baseline, now)})"
    moved = alert.attribution.moved if alert.attribution is not None else []
    most = f", most of all {_bin(moved[0])}" if moved and _medians_say_little(baseline, now, finding) else ""
    middle = _middle(baseline, now)
    return f"{name} {_way(finding)}" + (f" ({middle}{most})" if middle or most else "")


def _figures(finding: Finding) -> tuple[dict[str, Any], dict[str, Any]]:
    """The figures of the baseline and of now, by the names of statistics."""
    evidence = finding.evidence
    baseline = dict(evidence.get("baseline") or {})
    now = dict(evidence.get("now") or {})
    if "after" in evidence:  # a detector that estimates both levels
        baseline["mean"], now["mean"] = evidence["before"]["mean"], evidence["after"]["mean"]
    return baseline, now


def _is_rate(baseline: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether the values are 0 and 1, by their ends and medians."""
    known = {figures[x] for figures in (baseline, now) for x in ("min", "max", "p50") if x in figures}
    return "min" in baseline and known <= {0.0, 1.0} and "mean" in baseline and "mean" in now


def _ratio(baseline: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """How many times as large the median is; None when that says little, as of values around 0."""
    before, after = baseline.get("p50"), now.get("p50")
    if before is None or after is None or before <= 0 or after <= 0 or baseline.get("min", 0) < 0:
        return None
    ratio = after / before
    if 1 / CLEAR_RATIO < ratio < CLEAR_RATIO:
        return None
    return f"{ratio:.2g}" if ratio < 10 else f"{ratio:,.0f}"


def _middle(baseline: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The median, or the mean where the medians are equal or unknown, before and now."""
    for statistic, word in _QUANTILES.items():
        before, after = baseline.get(statistic), now.get(statistic)
        if before is not None and after is not None and before != after:
            return f"{word} {number(before)} → {number(after)}"
    return ""


def _medians_say_little(baseline: Mapping[str, Any], now: Mapping[str, Any], finding: Finding) -> bool:
    """Whether the values changed in another way than that all went up or down."""
    return finding.direction == "changed" or baseline.get("p50") == now.get("p50") or "shift" not in finding.evidence


def _bin(moved: Moved) -> str:
    if moved.name is not None:
        place = moved.name
    elif moved.above is None:
        place = "all values" if moved.to is None else f"values up to {number(moved.to)}"
    else:
        place = f"values above {number(moved.above)}" + ("" if moved.to is None else f" and up to {number(moved.to)}")
    return f"{place}: {share(moved.baseline)} → {share(moved.now)}"


def _way(finding: Finding) -> str:
    return {"up": "went up", "down": "went down", "changed": "changed"}[finding.direction]


# --- since when, of how many, whether it matters, where from, and the end ---


def _of_how_many(alert: Alert) -> str:
    evidence = alert.findings[0].evidence
    now = evidence.get("now") or {}
    n = now.get("n") or evidence.get("n") or (evidence.get("shift") or {}).get("n")
    return f" in {int(n):,} {'labels' if alert.group == 'outcome' else 'values'}" if n else ""


def _since(alert: Alert) -> str:
    began = alert.findings[0].change_ts
    return f", since {moment(alert.opened_ts if began is None else began, alert.ts)}"


def _consequences(alert: Alert) -> list[str]:
    sentences = list[str]()
    attribution = alert.attribution
    unknown = attribution is not None and attribution.error is not None and attribution.error.state == "unknown"
    if unknown and alert.group in ("input", "output"):
        sentences.append(LABELS_AWAITED)
    if alert.measure in ERRORS and alert.findings[0].direction == "up":
        sentences.append("answers got worse")
    for part in [part for part in (attribution.segments if attribution is not None else []) if part.named]:
        sentences.append(f"{min(part.part, 1):.0%} of it from {part.segment}")
    return sentences


def _end(alert: Alert) -> str:
    lasted = format_duration(max(alert.ts - alert.opened_ts, 0))
    ended = f"at {moment(alert.ts, alert.opened_ts)}, {lasted} after it began"
    match alert.kind:
        case "silence":
            return f"{alert.measure if alert.measure in ITEMS else 'events'} come again"
        case "quality" if is_about_loss(alert.model, alert.measure):
            return end_of_loss(alert.model, alert.measure)
        case "limit":
            return f"{alert.measure} is within its limit again, {ended}"
    return f"{alert.measure} is no longer found beyond its tolerance, {ended}"


def _pair(measure: str, before: float, now: float) -> str:
    write = share if measure == "error" else number
    return f"{write(before)} → {write(now)}"


def _quoted(name: str) -> str:
    return f'"{name}"' if not name or name != name.strip() else name


def _list(names: Sequence[str]) -> str:
    return ", ".join(_quoted(name) for name in names)
