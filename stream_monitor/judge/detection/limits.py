"""Static limits on any statistic of any measure: `latency_ms.p99 > 250`, or `error.mean > 0.2 critical`."""

from __future__ import annotations

import re
from typing import NamedTuple

from stream_monitor.errors import SettingsError
from stream_monitor.events.contracts import Finding, MeasureSummary
from stream_monitor.profiles.measures import TimelineName, bounded, measure_named
from stream_monitor.profiles.quantiles import share_above
from stream_monitor.types import F64, I64

STATISTICS = ("mean", "std", "min", "max", "p50", "p95", "p99", "p999", "sum", "n", "missing")
SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p999": 0.999}
"""By statistic: the share of values at or below that quantile."""
_PATTERN = re.compile(
    r"(?P<measure>.+)\.(?P<statistic>\w+)\s*(?P<relation>[<>])\s*(?P<value>[-+.\deE]+)(?P<critical>\s+critical)?\s*",
    re.DOTALL,
)


class Limit(NamedTuple):
    """A parsed limit. It is violated when the relation holds."""

    measure: str
    statistic: str
    relation: str
    value: float
    text: str

    def on(self, timeline: TimelineName) -> str:
        """The measure of a timeline that the limit watches; a feature is meant by its own name, whatever it is."""
        return measure_named(self.measure) if timeline == "input" else bounded(self.measure)


def parse_limit(text: str) -> Limit:
    """Parse `measure.statistic > value`. A SettingsError names the error."""
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise SettingsError(f"detection.limits: {text!r} is no limit; write for example `latency_ms.p99 > 250`")
    if match["statistic"] not in STATISTICS:
        raise SettingsError(
            f"detection.limits: {text!r} names {match['statistic']!r}; statistics are {', '.join(STATISTICS)}"
        )
    try:
        value = float(match["value"])
    except ValueError:
        raise SettingsError(f"detection.limits: {match['value']!r} in {text!r} is not a number") from None
    return Limit(
        match["measure"].strip() or match["measure"], match["statistic"], match["relation"], value, text.strip()
    )


def is_critical(text: str) -> bool:
    """Whether a limit asks for critical alerts: its text ends with the word."""
    match = _PATTERN.fullmatch(text)
    return match is not None and match["critical"] is not None


def violation(limit: Limit, summary: MeasureSummary, counts: I64 | None, borders: F64 | None) -> float | None:
    """The statistic when it violates the limit, else None.

    A limit on a quantile is exact when its value is one of the edges: the share of values above it decides.
    """
    actual = getattr(summary, limit.statistic)
    if actual is None:
        return None
    if limit.statistic in SHARES and counts is not None and borders is not None:
        above = share_above(counts, borders, limit.value)
        if above is not None:
            exceeds = above > 1 - SHARES[limit.statistic]
            return float(actual) if exceeds == (limit.relation == ">") else None
    return float(actual) if (actual > limit.value if limit.relation == ">" else actual < limit.value) else None


def findings_of(limit: Limit, summary: MeasureSummary, counts: I64 | None, borders: F64 | None) -> list[Finding]:
    """The finding of a window that violates the limit; empty when the limit is kept."""
    value = violation(limit, summary, counts, borders)
    if value is None:
        return []
    return [
        Finding(
            detector=limit.text,
            score=value,
            threshold=limit.value,
            direction="up" if limit.relation == ">" else "down",
            evidence={"n": summary.n},
        )
    ]
