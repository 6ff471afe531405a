"""Alerts and incidents of the store, with what people said of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from stream_monitor.dashboard.packing import unpack_record
from stream_monitor.dashboard.store import Snapshot
from stream_monitor.dashboard.windows import Choice, UnknownName, health_records
from stream_monitor.events.contracts import Alert, ErrorChange
from stream_monitor.events.reason_command import LABELS_AWAITED
from stream_monitor.events.remarks import Acknowledgement, Annotation, Mute, Remark, read_remark
from stream_monitor.profiles.names import ALL_SEGMENTS

RANK = {"critical": 0, "warning": 1, "info": 2}
LISTED = 200
"""Incidents that a list has at most; its totals count all."""
_COLUMNS = "id, incident, severity, opened, ended, first, last, outcome, end_unread"


@dataclass(slots=True)
class Remarks:
    """What people said."""

    acknowledgements: dict[str, Acknowledgement]
    mutes: list[Mute]
    annotations: list[Annotation]

    def mute_of(self, alert: dict[str, Any], now: int | None = None) -> Mute | None:
        """The mute that covers an alert that has ended at some time of its, or an open one at present.

        Args:
            alert: the alert.
            now: the model's event time (epoch ms); None: that at which the alert opened.
        """
        first = alert["opened"] if alert["ended"] else max(now or 0, alert["opened"])
        for mute in self.mutes:
            fields = {name: getattr(mute, name) for name in ("version", "segment", "measure", "kind")}
            alike = mute.model == alert["model"] and all(not v or alert[name] == v for name, v in fields.items())
            if alike and first < mute.until_ts and (alert["ended"] or mute.from_ts) >= mute.from_ts:
                return mute
        return None


def remarks_of(store: Snapshot) -> Remarks:
    """All remarks."""
    found = Remarks({}, [], [])
    for (record,) in store.rows("SELECT record FROM remark ORDER BY offset"):
        remark: Remark = read_remark(record)
        match remark:
            case Acknowledgement():
                found.acknowledgements[remark.incident] = remark
            case Mute():
                found.mutes.append(remark)
            case Annotation():
                found.annotations.append(remark)
    return found


def _decoded(packed: bytes | None) -> Alert | None:
    return None if packed is None else msgspec.json.decode(unpack_record(packed), type=Alert)


def _brief(row: Sequence[Any], whole: bool = False) -> dict[str, Any] | None:
    """An alert for a list: what it is about, and its latest reason. `whole` adds findings and attribution."""
    identity, incident, severity, opened, ended, first, last, outcome, end_unread = row
    newest, opening, told = _decoded(last), _decoded(first), _decoded(outcome)
    latest = newest or opening or told
    if latest is None:
        return None
    said = told or opening or newest
    shown = latest if latest.status == "update" else opening or latest
    error = said.attribution.error if said is not None and said.attribution is not None else None
    alert: dict[str, Any] = {
        "id": identity,
        "incident": incident,
        "model": latest.model,
        "version": latest.version,
        "segment": latest.segment,
        "measure": latest.measure,
        "group": latest.group,
        "kind": latest.kind,
        "severity": severity,
        "opened": opened,
        "at": (opening or latest).ts,
        "ended": ended,
        "end_unread": bool(end_unread),
        "reason": _answered(shown.reason, None if error is None else error.state),
        "matters": None if error is None else _state(error),
    }
    if whole:
        told_of = (opening or latest).attribution
        alert["findings"] = msgspec.to_builtins(shown.findings)
        alert["attribution"] = None if told_of is None else msgspec.to_builtins(told_of)
        alert["error"] = None if error is None else msgspec.to_builtins(error)
    return alert


def _state(error: ErrorChange) -> str:
    """What labels say of a drift. A rise may be certain and yet be less than is tolerated: `little`."""
    if error.state == "worse" and not error.alarmed and error.now is not None and error.baseline is not None:
        return "worse" if error.now - error.baseline > (error.tolerance or 0.0) else "little"
    return error.state


def _answered(reason: str, state: str | None) -> str:
    """A reason without the sentence that labels will tell, once they have told."""
    return reason if state in (None, "unknown") else reason.replace(f"; {LABELS_AWAITED}", "")


def alerts_of(store: Snapshot, choice: Choice, whole: bool = False) -> list[dict[str, Any]]:
    """The alerts of a version and segment that were open in a range, oldest first."""
    query = (
        f"SELECT {_COLUMNS} FROM alert WHERE model = ? AND opened < ? AND (ended IS NULL OR ended > ?) ORDER BY opened"
    )
    rows = store.rows(query, (choice.model, choice.until, choice.since))
    found = [alert for row in rows if (alert := _brief(row, whole)) is not None]
    return [a for a in found if a["version"] in (choice.version, ALL_SEGMENTS) and a["segment"] == choice.segment]


ELSEWHERE = 50
"""Open alerts of other segments and versions that a model's view names at most."""


def alerts_elsewhere(store: Snapshot, choice: Choice) -> list[dict[str, Any]]:
    """The open alerts of a model that are not of the version and segment that a view shows; the gravest first."""
    query = f"SELECT {_COLUMNS} FROM alert WHERE model = ? AND ended IS NULL ORDER BY opened DESC"
    found = [alert for row in store.rows(query, (choice.model,)) if (alert := _brief(row)) is not None]
    others = [a for a in found if a["version"] not in (choice.version, ALL_SEGMENTS) or a["segment"] != choice.segment]
    return sorted(others, key=lambda a: (RANK[a["severity"]], -a["opened"], a["id"]))[:ELSEWHERE]


def incidents_view(
    store: Snapshot, state: str = "all", severity: str | None = None, model: str | None = None
) -> dict[str, Any]:
    """Incidents, the latest first: their alerts, the one that stands for them, and what was said of them."""
    query = f"SELECT {_COLUMNS} FROM alert WHERE (? IS NULL OR model = ?) ORDER BY opened DESC, id LIMIT 20000"
    alerts = [alert for row in store.rows(query, (model, model)) if (alert := _brief(row)) is not None]
    remarks, now = remarks_of(store), _event_times(store)
    groups: dict[str, list[dict[str, Any]]] = {}
    for alert in alerts:
        groups.setdefault(alert["incident"], []).append(alert)
    found = [_incident(identity, members, remarks, now) for identity, members in groups.items()]
    wanted = [
        one
        for one in found
        if (state == "all" or (one["ended"] is None) == (state == "open"))
        and (severity is None or one["severity"] == severity)
    ]
    wanted.sort(key=_urgency)
    verdicts = [one["acknowledged"]["verdict"] for one in found[:100] if one["acknowledged"]]
    return {
        "incidents": wanted[:LISTED],
        "total": len(wanted),
        "alerts": sum(one["size"] for one in wanted),
        "judged": {"of": len(verdicts), "real": verdicts.count("real"), "false": verdicts.count("false alarm")},
        "span": [min((a["opened"] for a in alerts), default=None), max((a["at"] for a in alerts), default=None)],
    }


def _urgency(incident: dict[str, Any]) -> tuple[Any, ...]:
    """Open ones first, of these the gravest, then the latest."""
    is_over = incident["ended"] is not None
    return is_over, 0 if is_over else RANK[incident["severity"]], -incident["opened"], incident["id"]


def _event_times(store: Snapshot) -> dict[str, int]:
    """By model: the end of its last window."""
    return {health.model: health.window_end for health, _ in health_records(store)}


def _incident(
    identity: str, members: list[dict[str, Any]], remarks: Remarks, times: Mapping[str, int]
) -> dict[str, Any]:
    """An incident; of its alerts an open one stands for it as long as there is one."""
    members.sort(
        key=lambda a: (
            a["ended"] is not None, a["segment"] != ALL_SEGMENTS, RANK[a["severity"]], a["opened"], a["id"],
        )
    )  # fmt: skip
    chief = members[0]
    now = max(times.get(chief["model"], 0), *(a["at"] for a in members), *(a["ended"] or 0 for a in members))
    matters = [a["matters"] for a in members if a["matters"] not in (None, "unknown")]
    order = ("worse", "little", "undecided", "better", "unchanged")
    acknowledged, mute = remarks.acknowledgements.get(identity), remarks.mute_of(chief, now)
    return {
        "id": identity,
        "model": chief["model"],
        "measure": chief["measure"],
        "version": chief["version"],
        "kind": chief["kind"],
        "group": chief["group"],
        "reason": chief["reason"],
        "severity": min((a["severity"] for a in members), key=RANK.__getitem__),
        "opened": min(a["opened"] for a in members),
        "at": min(a["at"] for a in members),
        "now": now,
        "ended": None if any(a["ended"] is None for a in members) else max(a["ended"] for a in members),
        "matters": min(matters, key=order.index) if matters else None,
        "alerts": members[:50],
        "size": len(members),
        "acknowledged": None if acknowledged is None else msgspec.to_builtins(acknowledged),
        "muted": None if mute is None else msgspec.to_builtins(mute),
    }


def alert_view(store: Snapshot, identity: str) -> dict[str, Any]:
    """One alert: its records as they were published, its incident, and what else rang in the same hours.

    Raises:
        UnknownName: no such alert is in the store.
    """
    row = store.one(f"SELECT {_COLUMNS} FROM alert WHERE id = ?", (identity,))
    alert = None if row is None else _brief(row, whole=True)
    if row is None or alert is None:
        raise UnknownName(f"no alert {identity!r} is in the store; records older than the topic's retention are not")
    members = store.rows(f"SELECT {_COLUMNS} FROM alert WHERE incident = ?", (alert["incident"],))
    known: Iterable[dict[str, Any] | None] = (_brief(one) for one in members)
    incident = _incident(
        alert["incident"], [one for one in known if one is not None], remarks_of(store), _event_times(store)
    )
    records = [msgspec.json.decode(unpack_record(packed)) for packed in row[5:8] if packed is not None]
    return alert | {"records": records, "about": incident, "together": _together(store, alert)}


def _together(store: Snapshot, alert: dict[str, Any]) -> list[dict[str, Any]]:
    """Alerts of other incidents of the model that opened in the same window."""
    width = max(alert["at"] - alert["opened"], 3_600_000)
    query = f"SELECT {_COLUMNS} FROM alert WHERE model = ? AND incident != ? AND opened BETWEEN ? AND ? LIMIT 20"
    values = alert["model"], alert["incident"], alert["opened"] - width, alert["opened"] + width
    return [one for row in store.rows(query, values) if (one := _brief(row)) is not None]
