"""Messages out of changes: what one holds, its id, and what is left out of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
from msgspec import Struct

from stream_monitor.events.contracts import Alert
from stream_monitor.events.notifications import (
    Digest,
    Notification,
    NotificationType,
    NotifiedDecision,
    NotifiedIncident,
    Receipt,
    Severity,
)
from stream_monitor.events.rollouts import DecisionName
from stream_monitor.notify.incidents import TOLD_OUTCOMES, Incident, IncidentStatus, Place, rank
from stream_monitor.notify.texts import decision_lines, digest_lines, incident_lines, page_link

MOST_TOGETHER = 20
MOST_ALERTS = 10
MOST_SUMMARY = 300
MOST_BYTES = 60_000
"""Of a message in JSON: records are left out until it is smaller."""
GRAVE: dict[DecisionName, Severity] = {
    "rolled_back": "critical",
    "hold": "warning",
    "inconclusive": "warning",
    "aborted": "warning",
    "refused": "warning",
}
"""The severity of decisions; of the others it is info."""

Held = Literal["", "late", "quiet", "rate", "start"]


class Change(Struct):
    """Something that is worth a message, until the message is sent."""

    type: NotificationType
    place: Place | None
    """Of the record; None where it is about none."""
    ts: int
    """Kafka time of the record."""
    due: int
    """When it may be told (epoch ms)."""
    model: str
    incident: str = ""
    alert: Alert | None = None
    decision: NotifiedDecision | None = None
    held: Held = ""
    waits: bool = False
    """For what labels say."""
    severity: Severity = "info"
    text: tuple[str, ...] = ()

    def opens(self) -> bool:
        """Whether it begins to tell of something."""
        return self.type in ("incident.opened", "silence", "incident.worse")


@dataclass(frozen=True, slots=True)
class Notice:
    """A message, and what it is about."""

    notification: Notification
    changes: tuple[Change, ...]
    since: int
    """Kafka time of the oldest record."""
    told: tuple[IncidentStatus, ...] = ()


@dataclass(frozen=True, slots=True)
class NoticeWriter:
    """What is the same in all messages to a receiver."""

    app: str
    receiver: str
    link: str | None
    redact: bool = False

    def id_of(self, changes: Sequence[Change], what: str) -> str:
        """The id of a message: equal records give an equal id, whenever and however often they are told."""
        places = sorted(f"{c.place or c.incident}" for c in changes)
        text = "\x1f".join([self.app, self.receiver, what, *places])
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]

    def about_incidents(self, changes: Sequence[Change], incidents: Sequence[Incident]) -> Notice:
        """A message about incidents, the gravest first."""
        ordered = sorted(incidents, key=lambda i: (-rank(i.severity), not i.is_open, i.place, i.id))
        views = [self._shown(incident.view()) for incident in ordered]
        first, *others = views
        leading = max(changes, key=lambda c: (c.opens(), c.type == "incident.opened", c.incident == first.id))
        over = leading.type == "incident.worse" and not any(incident.is_open for incident in ordered)
        kind: NotificationType = "incident.resolved" if over else leading.type
        alerts = [c.alert for c in changes if c.alert is not None]
        chief = next((a for a in alerts if (a.incident or a.id) == first.id), alerts[0] if alerts else None)
        shown = None if chief is None else self._redacted(chief)
        link = None if chief is None else page_link(self.link, "alerts", chief.id)
        return self._notice(
            changes,
            Notification(
                id=self.id_of(changes, kind), type=kind, ts=max(c.ts for c in changes), app=self.app,
                receiver=self.receiver, severity=max((v.severity for v in views), key=rank),
                thread=ordered[0].thread or ordered[0].id, text=incident_lines(first, others, shown, link),
                incident=first, together=others[:MOST_TOGETHER],
                alerts=[self._redacted(alert) for alert in alerts[:MOST_ALERTS]], link=link,
            ),
            ordered,
        )  # fmt: skip

    def about_decision(self, change: Change, decision: NotifiedDecision) -> Notice:
        """A message about a decision of a rollout."""
        link = page_link(self.link, "rollouts", decision.model, decision.rollout)
        thread = f"{decision.model}/{decision.rollout}"
        return self._notice(
            [change],
            Notification(
                id=self.id_of([change], "decision"), type="decision", ts=change.ts, app=self.app,
                receiver=self.receiver, severity=change.severity, thread=thread,
                text=decision_lines(decision, link), decision=decision, link=link,
            ),
        )  # fmt: skip

    def about_many(self, changes: Sequence[Change], incidents: Sequence[Incident]) -> Notice:
        """A digest."""
        views = sorted(
            (self._shown(i.view()) for i in incidents), key=lambda v: (v.ended_ts is not None, -rank(v.severity), v.id)
        )
        opened = len({c.incident for c in changes if c.type in ("incident.opened", "silence")})
        ended = sum(c.type == "incident.resolved" for c in changes)
        named = {c.incident for c in changes if c.type in ("incident.opened", "silence", "incident.resolved")}
        digest = Digest(
            why=changes[0].held or "late", opened=opened, ended=ended,
            other=sum(c.incident not in named for c in changes), since=min(c.ts for c in changes),
        )  # fmt: skip
        link = page_link(self.link, "alerts")
        severity = max((*(v.severity for v in views), *(c.severity for c in changes)), key=rank)
        return self._notice(
            changes,
            Notification(
                id=self.id_of(changes, f"digest {digest.why}"), type="digest", ts=max(c.ts for c in changes),
                app=self.app, receiver=self.receiver, severity=severity,
                text=digest_lines(digest, views, len(views), link), incident=views[0] if views else None,
                together=views[1 : MOST_TOGETHER + 1], digest=digest, link=link,
            ),
            incidents,
        )  # fmt: skip

    def plain(self, change: Change, incident: Incident | None, ts: int) -> Notice:
        """A message that holds only its lines."""
        what = f"{change.type} {change.ts} {' '.join(change.text)}"
        return self._notice(
            [change],
            Notification(
                id=self.id_of([change], what), type=change.type, ts=ts, app=self.app, receiver=self.receiver,
                severity=change.severity, thread="" if incident is None else incident.thread or incident.id,
                text=list(change.text), incident=None if incident is None else self._shown(incident.view()),
                link=page_link(self.link),
            ),
            () if incident is None else (incident,),
        )  # fmt: skip

    def _notice(self, changes: Sequence[Change], message: Notification, incidents: Sequence[Incident] = ()) -> Notice:
        while (left := message.alerts or message.together) and len(msgspec.json.encode(message)) > MOST_BYTES:
            left.pop()
        statuses = tuple(incident.now() for incident in incidents)
        return Notice(message, tuple(changes), min(c.ts for c in changes), statuses)

    def _shown(self, view: NotifiedIncident) -> NotifiedIncident:
        """An incident without what a redacted reason may name: categories, bins and values of segments."""
        if not self.redact:
            return view
        reason = f"{view.model} {view.version}: {view.measure}: {view.kind}"
        return msgspec.structs.replace(view, reason=reason, segments=[])

    def _redacted(self, alert: Alert) -> Alert:
        """A record without categories and bins, where the receiver is to know none."""
        if not self.redact:
            return alert
        attribution = alert.attribution
        if attribution is not None:
            attribution = msgspec.structs.replace(attribution, moved=[], segments=[])
        findings = [msgspec.structs.replace(finding, evidence={}) for finding in alert.findings]
        reason, segment = (
            f"{alert.model} {alert.version}: {alert.measure}: {alert.kind}",
            alert.segment.partition("=")[0],
        )
        return msgspec.structs.replace(
            alert, findings=findings, attribution=attribution, reason=reason, segment=segment
        )


def receipt_of(notice: Notice, now: int, tries: int, reference: str, error: str = "") -> Receipt:
    """The receipt of a message; with an error that of one that was given up."""
    message = notice.notification
    outcomes = {status.outcome for status in notice.told} & set(TOLD_OUTCOMES)
    return Receipt(
        receiver=message.receiver, notification=message.id, type=message.type, ts=now,
        status="given up" if error else "sent", summary=message.text[0][:MOST_SUMMARY], severity=message.severity,
        thread=message.thread, reference=reference, incidents=[status.incident for status in notice.told],
        ended=[status.incident for status in notice.told if status.ended],
        outcome=outcomes.pop() if len(outcomes) == 1 else None, delay_ms=max(0, now - notice.since), tries=tries,
        error=error[:MOST_SUMMARY],
    )  # fmt: skip
