"""Incidents out of alerts, and what in the course of one is worth a message."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct, field

from stream_monitor.config.notify import SEVERITIES
from stream_monitor.events.contracts import Alert
from stream_monitor.events.notifications import NotificationType, NotifiedIncident, Severity
from stream_monitor.events.reason_command import without_command
from stream_monitor.profiles.names import ALL_SEGMENTS

MOST_MEMBERS = 500
"""Alerts of an incident that are followed; more are counted, and do not keep it open."""
MOST_NAMED = 20
"""Segments of an incident that a message names."""
LARGE_PART = 0.25
"""A segment with more of the drift than this is told when it joins."""
TOLD_OUTCOMES = ("worse", "better", "unchanged")
_ORDER = ("worse", "undecided", "better", "unchanged", "unknown")


class Place(NamedTuple):
    """Where a record lies."""

    role: str
    number: int
    offset: int


class Member(Struct):
    """An alert of an incident, as its last record says."""

    id: str
    version: str
    segment: str
    measure: str
    group: str
    kind: str
    severity: Severity
    opened_ts: int
    ts: int
    reason: str
    ended_ts: int | None = None
    outcome: str = "unknown"


class IncidentStatus(NamedTuple):
    """What a message says of an incident: it may have gone on before the message is accepted."""

    incident: str
    severity: Severity
    outcome: str
    ended: bool


class Incident(Struct):
    """An incident: its alerts, and what a receiver has been told of it."""

    id: str
    model: str
    place: Place
    """Of the record that it began with."""
    members: dict[str, Member] = field(default_factory=dict)
    size: int = 0
    parts: dict[str, float] = field(default_factory=dict)
    """By segment: its part of the drift, as the last attribution says."""
    told: Severity | None = None
    """The severity that the receiver knows; None: it does not know the incident."""
    told_outcome: str = ""
    told_end: bool = False
    thread: str = ""

    @property
    def is_open(self) -> bool:
        """Whether an alert of it is open."""
        return any(member.ended_ts is None for member in self.members.values())

    @property
    def severity(self) -> Severity:
        """That of its gravest alert."""
        return max((member.severity for member in self.members.values()), key=rank, default="info")

    @property
    def outcome(self) -> str:
        """What labels say of all its alerts together."""
        return min((member.outcome for member in self.members.values()), key=_ORDER.index, default="unknown")

    def chief(self) -> Member:
        """The alert that stands for it: an open one, of all events, the gravest, the first."""
        return min(
            self.members.values(),
            key=lambda m: (
                m.ended_ts is not None, -rank(m.severity), m.segment != ALL_SEGMENTS, m.opened_ts, m.id,
            ),
        )  # fmt: skip

    def take(self, alert: Alert) -> NotificationType | None:
        """Take in a record; returns what of it is worth a message, if anything."""
        was_open, was_severity, was_outcome = self.is_open, self.severity, self.outcome
        if not self._keep(alert):
            return None
        if alert.attribution is not None and alert.attribution.segments:
            self.parts = {part.segment: part.part for part in alert.attribution.segments}
        match alert.status:
            case "open" if not was_open:
                return "silence" if alert.kind == "silence" else "incident.opened"
            case "open" if self.parts.get(alert.segment, 0.0) > LARGE_PART:
                return "incident.worse"
            case "open" | "update":
                return "incident.worse" if rank(self.severity) > rank(was_severity) else None
            case "resolved":
                return None if self.is_open or not was_open else "incident.resolved"
            case "outcome":
                return "incident.outcome" if self.outcome != was_outcome and self.outcome in TOLD_OUTCOMES else None

    def _keep(self, alert: Alert) -> bool:
        """Keep the latest of an alert; returns whether the alert is followed."""
        former = self.members.get(alert.id)
        if former is None:
            self.size += 1
            if len(self.members) >= MOST_MEMBERS:
                return False
        error = None if alert.attribution is None else alert.attribution.error
        known = "unknown" if former is None else former.outcome
        self.members[alert.id] = Member(
            id=alert.id, version=alert.version, segment=alert.segment, measure=alert.measure, group=alert.group,
            kind=alert.kind, severity=alert.severity, opened_ts=alert.opened_ts, ts=alert.ts,
            reason=without_command(alert.reason), ended_ts=_end(alert, former),
            outcome=known if error is None else error.state,
        )  # fmt: skip
        return True

    def now(self) -> IncidentStatus:
        """What a message that is made now says of it."""
        return IncidentStatus(self.id, self.severity, self.outcome, not self.is_open)

    def hear(self, status: IncidentStatus) -> None:
        """The receiver knows this of it."""
        self.told, self.told_end = status.severity, status.ended
        if status.outcome != "unknown":
            self.told_outcome = status.outcome

    def view(self) -> NotifiedIncident:
        """The incident for a message."""
        chief = self.chief()
        segments = sorted({m.segment for m in self.members.values()} - {ALL_SEGMENTS})
        return NotifiedIncident(
            id=self.id, model=self.model, version=chief.version, measure=chief.measure, group=chief.group,
            kind=chief.kind, severity=self.severity, opened_ts=min(m.opened_ts for m in self.members.values()),
            reason=chief.reason, segments=segments[:MOST_NAMED], size=self.size,
            ended_ts=None if self.is_open else max(m.ended_ts or 0 for m in self.members.values()),
            error=None if self.outcome == "unknown" else self.outcome,  # type: ignore[arg-type]
        )  # fmt: skip


def _end(alert: Alert, former: Member | None) -> int | None:
    """When an alert ended; an outcome of one of which no other record is known is taken for one of the past."""
    if alert.status == "resolved":
        return alert.ts
    if former is not None:
        return former.ended_ts
    return alert.ts if alert.status == "outcome" else None


def rank(severity: str) -> int:
    """The higher, the more severe."""
    return SEVERITIES.index(severity)
