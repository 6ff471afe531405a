"""Messages of every type, with names that a stranger chose where wanted."""

from __future__ import annotations

from typing import get_args

from stream_monitor.events.contracts import Attribution, Moved, SegmentPart
from stream_monitor.events.notifications import Notification, NotificationType, NotifiedDecision
from stream_monitor.notify.incidents import Incident, Place
from stream_monitor.notify.notices import Change, NoticeWriter
from tests.notify.stories import T0, alert

TYPES: tuple[NotificationType, ...] = get_args(NotificationType)


def messages(name: str = "amount", redact: bool = False) -> list[Notification]:
    """One of each type; `name` is that of model, version, segment, measure, category and whatever else has one."""
    head = NoticeWriter("app", "team", "https://page.example/monitor", redact)
    record = alert(
        "a-1", model=name, version=name, segment=f"country={name}", measure=name, reason=f"{name} 7: {name} moved",
        severity="critical",
    )  # fmt: skip
    record.attribution = Attribution(
        moved=[Moved(name=name, baseline=0.1, now=0.9), Moved(above=1.0, to=2.0, baseline=0.2, now=0.1)],
        segments=[SegmentPart(f"country={name}", 0.9, 0.9, 0.0, 0.5, 0.5, named=True)],
    )
    incident, other = (Incident(i, name, Place("alerts", 0, 0)) for i in ("a", "b"))
    incident.take(record)
    other.take(alert("b-1", model=name, measure=name, reason=f"{name}: {name}"))
    found = []
    for kind in TYPES:
        change = Change(kind, Place("alerts", 0, 7), T0, T0, name, "a", record, severity="critical")
        match kind:
            case "decision":
                decision = NotifiedDecision(
                    id="d", rollout=name, seq=3, ts=T0, decision="rolled_back", state="rolled_back", model=name,
                    candidate=name, primary="7", weights={name: 0.0, "7": 1.0}, reason=f"{name}: harm",
                )  # fmt: skip
                notice = head.about_decision(change, decision)
            case "digest":
                change.type, change.held = "incident.opened", "quiet"
                notice = head.about_many([change], [incident, other])
            case "receiver.stopped" | "test" | "incident.acknowledged":
                change.text = ("the receiver other has stopped",)
                notice = head.plain(change, incident if kind == "incident.acknowledged" else None, T0)
            case _:
                if kind == "incident.resolved":
                    record.status = "resolved"
                    incident.take(record)
                notice = head.about_incidents([change], [incident, other])
        assert notice.notification.type == kind
        found.append(notice.notification)
    return found
