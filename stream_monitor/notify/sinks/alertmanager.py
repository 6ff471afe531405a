"""`alertmanager`: its API v2, as Prometheus uses it: what is open is sent again each minute, with an end in four."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from stream_monitor.config.notify import SEVERITIES
from stream_monitor.config.receivers import AlertmanagerSettings
from stream_monitor.events.contracts import Alert
from stream_monitor.events.notifications import Notification
from stream_monitor.notify.incidents import Incident, Member
from stream_monitor.notify.sinks.contract import PlainSink, Request, json_request
from stream_monitor.notify.texts import line

ENDS_MS = 240_000
AGAIN_S = 60.0
MOST = 500
"""Alerts of a request."""


class Alertmanager(PlainSink):
    """An Alertmanager. Each of our alerts is one of its, by its labels."""

    groups = False
    refresh_s: float | None = AGAIN_S

    def __init__(self, settings: AlertmanagerSettings) -> None:
        self._url = f"{settings.url.rstrip('/')}/api/v2/alerts"
        self._labels = dict(settings.labels)
        self._headers: dict[str, str] = {}
        if settings.token is not None:
            self._headers["Authorization"] = f"Bearer {settings.token.get_secret_value()}"
        if settings.username is not None and settings.password is not None:
            login = f"{settings.username}:{settings.password.get_secret_value()}".encode()
            self._headers["Authorization"] = f"Basic {base64.b64encode(login).decode()}"

    def render(self, message: Notification, now: int, reference: str) -> Sequence[Request]:
        """The alerts that a message is about; what is over ends now, and so does a former severity of what is not."""
        found = list[dict[str, Any]]()
        for alert in message.alerts:
            over = alert.status == "resolved"
            found.append(self._alert(_labels(alert, alert.severity), alert.opened_ts, now, over, message))
            if message.type in ("incident.worse", "incident.outcome"):
                former = [severity for severity in SEVERITIES if severity != alert.severity]
                found += [self._alert(_labels(alert, s), alert.opened_ts, now, True, message) for s in former]
        if not message.alerts:
            labels = {"alertname": f"stream_monitor_{message.type.replace('.', '_')}", "severity": message.severity}
            if message.decision is not None:
                labels |= {"model": line(message.decision.model), "rollout": line(message.decision.rollout)}
            found.append(self._alert(labels, message.ts, now, False, message))
        return self._requests(found)

    def refresh(self, incidents: Sequence[Incident], now: int) -> Sequence[Request]:
        """Every alert that is open and was told."""
        found = list[dict[str, Any]]()
        for incident in incidents:
            for member in incident.members.values():
                if member.ended_ts is None:
                    labels = _labels(member, member.severity) | {"model": line(incident.model)}
                    found.append(self._dated(labels, member.opened_ts, now, False) | _annotations(member.reason))
        return self._requests(found)

    def _alert(self, labels: dict[str, str], begin: int, now: int, over: bool, message: Notification) -> dict[str, Any]:
        found = self._dated(labels, begin, now, over) | _annotations("\n".join(message.text))
        return found if message.link is None else found | {"generatorURL": message.link}

    def _dated(self, labels: dict[str, str], begin: int, now: int, over: bool) -> dict[str, Any]:
        end = now if over else now + ENDS_MS
        own = {"app_role": "stream_monitor"} | self._labels
        return {"labels": own | labels, "startsAt": _written(min(begin, end)), "endsAt": _written(end)}

    def _requests(self, alerts: list[dict[str, Any]]) -> list[Request]:
        return [json_request(self._url, part, self._headers) for part in _parts(alerts)]


def _parts(alerts: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    yield from (alerts[at : at + MOST] for at in range(0, len(alerts), MOST))


def _labels(alert: Alert | Member, severity: str) -> dict[str, str]:
    """What tells one alert from another. Names of strangers are values, and never names of labels."""
    named = {name: line(getattr(alert, name)) for name in ("version", "segment", "measure", "group", "kind")}
    model = {"model": line(alert.model)} if isinstance(alert, Alert) else {}
    return {"alertname": f"stream_monitor_{alert.kind}", "severity": severity} | model | named


def _annotations(text: str) -> dict[str, Any]:
    first, _, rest = text.partition("\n")
    return {"annotations": {"summary": line(first), "description": rest[:10_000]}}


def _written(ts: int) -> str:
    return datetime.fromtimestamp(max(ts, 0) / 1000, UTC).isoformat(timespec="milliseconds")
