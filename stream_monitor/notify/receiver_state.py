"""What one receiver is still to be told, and what it knows: incidents, and changes whose messages are not sent.

A record that is worth a message makes a `Change`, which is pending until its message was accepted or it needs none.
All is a function of records, remarks and the time that the caller gives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from stream_monitor.config.notify import NotifySettings
from stream_monitor.config.receivers import ReceiverSettings
from stream_monitor.events.contracts import Alert
from stream_monitor.events.notifications import NotifiedDecision
from stream_monitor.events.remarks import Acknowledgement
from stream_monitor.notify.incidents import Incident, Place, rank
from stream_monitor.notify.notices import GRAVE, Change, Notice, NoticeWriter
from stream_monitor.notify.progress import Progress, runs_of
from stream_monitor.notify.receipts import ReceiptBook
from stream_monitor.notify.remarks import RemarkBook
from stream_monitor.notify.routes import Recipient, Subject, recipient
from stream_monitor.notify.texts import acknowledgement_lines
from stream_monitor.profiles.names import ALL_SEGMENTS

MOST_PENDING = 1_000
"""Changes that wait for their messages; above it no more are read, and the rest waits in Kafka."""
MOST_OPEN = 1_000
"""Incidents that are followed; above it the least severe are forgotten, and counted."""
MOST_ENDED = 1_000
"""Ended incidents that are remembered for what labels say of them."""

Era = Literal["new", "told", "past"]


@dataclass(frozen=True, slots=True)
class Terms:
    """Under which a receiver is told."""

    settings: NotifySettings
    receiver: ReceiverSettings
    writer: NoticeWriter
    groups: bool = True
    """Whether a message may be about several incidents, or a digest; not where the service has its own incidents."""
    acknowledges: bool = False
    """Whether the service is told of acknowledgements."""


class ReceiverState:
    """What one receiver knows, and is still to be told."""

    def __init__(self, terms: Terms, remarks: RemarkBook, receipts: ReceiptBook) -> None:
        self.terms, self.remarks, self.receipts = terms, remarks, receipts
        self.incidents: dict[str, Incident] = {}
        self.pending: list[Change] = []
        self.forgotten = 0
        """Incidents that were forgotten because too many were open."""
        self._worthy: dict[tuple[str, int], set[int]] = {}
        """By partition: offsets of records that were worth a message, from the first that waits on."""

    @property
    def is_full(self) -> bool:
        """Whether no more records are to be read until some messages are sent."""
        return len(self.pending) >= MOST_PENDING

    # --- what comes ---

    def take_alert(self, alert: Alert, place: Place, ts: int, now: int, era: Era = "new") -> None:
        """Take in a record of `alerts`.

        Args:
            alert: the record.
            place: where it lies.
            ts: its Kafka time (epoch ms).
            now: the time (epoch ms).
            era: whether it is new; or its message was sent before a restart (`told`); or it is older than this receiver
                (`past`).
        """
        identity = alert.incident or alert.id
        addressed = self._recipient_of_alert(alert) is not None
        incident = self.incidents.get(identity)
        if incident is None:
            if not addressed and identity not in self.receipts.known:
                return
            incident = self._follow(identity, alert, place)
        kind = incident.take(alert)
        known = incident.told is not None or self.opening(identity) is not None
        if kind is None or not (addressed or known):
            return
        if kind == "incident.worse" and not known:
            kind = "incident.opened"
        due = now + self.terms.settings.group_wait
        change = Change(kind, place, ts, due, alert.model, identity, alert, severity=incident.severity)
        error = None if alert.attribution is None else alert.attribution.error
        if self.terms.receiver.matters and error is not None and change.opens() and incident.outcome == "unknown":
            change.waits, change.due = True, ts + self.terms.settings.matters_within
        if era == "new":
            self._add(change, now)
        elif era == "told" and not change.waits and not self.is_needless(change):
            incident.hear(incident.now())
        self._worthy.setdefault(place[:2], set()).add(place.offset)

    def take_decision(self, decision: NotifiedDecision, place: Place, ts: int, now: int, era: Era = "new") -> None:
        """Take in a record of `decisions`. A report of the evidence is no news."""
        if decision.decision == "progress":
            return
        change = Change("decision", place, ts, now, decision.model, decision=decision)
        change.severity = GRAVE.get(decision.decision, "info")
        if self.recipient_of(change) is not None:
            self._worthy.setdefault(place[:2], set()).add(place.offset)
            if era == "new":
                self._add(change, now)

    def take_start(self, number: int, now: int) -> None:
        """Tell once what is open in a partition of `alerts` that this receiver reads for the first time."""
        for incident in self.incidents.values():
            if incident.place.number == number and incident.is_open and incident.told is None:
                change = Change("incident.opened", incident.place, now, now, incident.model, incident.id)
                change.severity, change.held = incident.severity, "start"
                self._add(change, now)

    def acknowledge(self, remark: Acknowledgement, now: int) -> None:
        """Tell the receiver that somebody has seen an incident that it knows."""
        incident, known = self.incidents.get(remark.incident), self.receipts.known.get(remark.incident)
        if not self.terms.acknowledges or incident is None or incident.told is None or not incident.is_open:
            return
        waiting = any(c.type == "incident.acknowledged" and c.incident == incident.id for c in self.pending)
        if not waiting and (known is None or not known.acknowledged):
            change = Change("incident.acknowledged", None, now, now, incident.model, incident.id)
            change.severity, change.text = incident.severity, tuple(acknowledgement_lines(incident.view(), remark))
            self._add(change, now)

    def say(self, text: list[str], now: int) -> None:
        """Tell the receiver that another one has stopped."""
        self._add(Change("receiver.stopped", None, now, now, "", severity="warning", text=tuple(text)), now)

    def _add(self, change: Change, now: int) -> None:
        if not change.held and self.terms.groups and now - change.ts > self.terms.settings.stale_after:
            change.held = "late"
        self.pending.append(change)

    def _follow(self, identity: str, alert: Alert, place: Place) -> Incident:
        """Begin to follow an incident. What a receiver knew of it before a restart, the receipts say."""
        incident = self.incidents[identity] = Incident(identity, alert.model, place)
        if (known := self.receipts.known.get(identity)) is not None:
            incident.thread, incident.told = known.thread, known.severity
            incident.told_outcome, incident.told_end = known.outcome, known.ended
        self._keep_bounds()
        return incident

    def _keep_bounds(self) -> None:
        if len(self.incidents) <= min(MOST_OPEN, MOST_ENDED):
            return
        waiting = {change.incident for change in self.pending}
        settled = [i for i in self.incidents.values() if i.members and i.id not in waiting]
        ended = [i for i in settled if not i.is_open]
        for incident in ended[: max(0, len(ended) - MOST_ENDED)]:
            del self.incidents[incident.id]
        if len(self.incidents) - len(ended) > MOST_OPEN and (still := [i for i in settled if i.is_open]):
            del self.incidents[min(still, key=lambda i: (rank(i.severity), i.place)).id]
            self.forgotten += 1

    # --- what of it needs no message ---

    def opening(self, identity: str) -> Change | None:
        """The change that opened an incident, while its message is still to be sent."""
        return next((c for c in self.pending if c.incident == identity and c.opens()), None)

    def is_needless(self, change: Change) -> bool:
        """Whether nobody is to be told of a change any more."""
        incident = self.incidents.get(change.incident)
        if incident is None:
            return change.type not in ("decision", "receiver.stopped")
        match change.type:
            case "incident.resolved":
                begun_again = incident.is_open
                return begun_again or incident.told_end or (incident.told is None and not self.opening(incident.id))
            case "incident.outcome":
                unknown = incident.told is None and self.opening(incident.id) is None and incident.outcome != "worse"
                return unknown or incident.outcome == incident.told_outcome or self._is_muted(change, incident)
            case "incident.opened" | "silence" | "incident.worse":
                return (
                    self._is_told(change, incident)
                    or self._is_muted(change, incident)
                    or self._is_harmless(change, incident)
                )
        return not incident.is_open

    def _is_told(self, change: Change, incident: Incident) -> bool:
        """Whether the receiver knows already, or need not know any more: one by one, only what is open is told late."""
        if not self.terms.groups and change.held and not incident.is_open:
            return True
        if incident.told is None or incident.told_end or change.type == "incident.worse":
            return False
        return rank(incident.told) >= rank(incident.severity)

    def _is_harmless(self, change: Change, incident: Incident) -> bool:
        return self.terms.receiver.matters and incident.outcome in ("unchanged", "better")

    def _is_muted(self, change: Change, incident: Incident) -> bool:
        about = incident.chief() if change.alert is None else change.alert
        return self.remarks.is_muted(change.model, about)

    # --- what was told ---

    def done(self, notice: Notice) -> None:
        """A message was accepted, or given up."""
        for status in notice.told:
            if (incident := self.incidents.get(status.incident)) is not None:
                incident.thread = incident.thread or notice.notification.thread or incident.id
                incident.hear(status)
        self.drop(notice.changes)

    def drop(self, changes: tuple[Change, ...] | list[Change]) -> None:
        """These changes need no message any more."""
        over = {id(change) for change in changes}
        self.pending = [change for change in self.pending if id(change) not in over]

    # --- a partition ---

    def progress(self, role: str, number: int, offset: int) -> Progress:
        """How far a partition is, of which `offset` is the next to read."""
        here = (role, number)
        waiting = [c.place.offset for c in self.pending if c.place is not None and c.place[:2] == here]
        still = [i.place.offset for i in self.incidents.values() if i.place[:2] == here and i.is_open]
        first = min(waiting, default=offset)
        worthy = self._worthy[here] = {at for at in self._worthy.get(here, ()) if at >= first} | set(waiting)
        return Progress(offset, min([offset, *waiting, *still]), runs_of(sorted(worthy), waiting))

    def forget(self, role: str, number: int) -> None:
        """Another instance reads a partition now."""
        here = (role, number)
        self.pending = [c for c in self.pending if c.place is None or c.place[:2] != here]
        self.incidents = {k: i for k, i in self.incidents.items() if i.place[:2] != here}
        self._worthy.pop(here, None)

    # --- routes ---

    def recipient_of(self, change: Change) -> Recipient | None:
        """How the routes tell the receiver of a change; None: not at all."""
        if change.alert is not None:
            return self._recipient_of_alert(change.alert)
        if (decision := change.decision) is not None:
            return self._recipient(
                decision.model, decision.candidate, ALL_SEGMENTS, "", "", "decision", change.severity, "unknown"
            )
        incident = self.incidents.get(change.incident)
        if incident is None:
            return None
        m = incident.chief()
        named = (incident.model, m.version, m.segment, m.measure, m.group, m.kind)
        return self._recipient(*named, incident.severity, incident.outcome)

    def _recipient_of_alert(self, alert: Alert) -> Recipient | None:
        mattered = "unknown"
        if alert.attribution is not None and alert.attribution.error is not None:
            mattered = alert.attribution.error.state
        named = (alert.model, alert.version, alert.segment, alert.measure, alert.group, alert.kind)
        return self._recipient(*named, alert.severity, mattered)

    def _recipient(self, *subject: str) -> Recipient | None:
        head = self.terms.writer
        return recipient(self.terms.settings, head.receiver, Subject(head.app, *subject))


def decision_of(value: bytes) -> NotifiedDecision:
    """A record of `decisions`; msgspec.MsgspecError where it is none."""
    return msgspec.json.decode(value, type=NotifiedDecision)
