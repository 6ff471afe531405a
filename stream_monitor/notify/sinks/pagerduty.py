"""`pagerduty`: Events API v2. Each of our incidents is one of PagerDuty's, by its id as `dedup_key`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from stream_monitor.config.receivers import PagerDutySettings
from stream_monitor.events.notifications import Notification
from stream_monitor.notify.incidents import rank
from stream_monitor.notify.sinks.contract import Again, Answer, Never, PlainSink, Request, Response, json_request
from stream_monitor.notify.sinks.contract import read_status as status_of

MOST_SUMMARY = 1_024
MOST_DETAIL = 30
"""Lines of a message that an event has."""


class PagerDuty(PlainSink):
    """A service of PagerDuty."""

    groups = False
    acknowledges = True

    def __init__(self, settings: PagerDutySettings) -> None:
        self._url = f"{settings.url.rstrip('/')}/v2/enqueue"
        self._key = settings.routing_key.get_secret_value()

    def render(self, message: Notification, now: int, reference: str) -> Sequence[Request]:
        """Trigger, acknowledge or resolve. That labels found no harm, and mere steps of rollouts, page nobody."""
        key = message.id if message.incident is None else message.incident.id
        match message.type:
            case "incident.resolved":
                return [self._event("resolve", key)]
            case "incident.acknowledged":
                return [self._event("acknowledge", key)]
            case "incident.outcome" if message.incident is not None and message.incident.error != "worse":
                return []
            case "decision" if rank(message.severity) == 0:
                return []
            case "test":
                return [self._event("trigger", message.id, message), self._event("resolve", message.id)]
        return [self._event("trigger", key, message)]

    def _event(self, action: str, key: str, message: Notification | None = None) -> Request:
        event: dict[str, Any] = {"routing_key": self._key, "event_action": action, "dedup_key": key[:255]}
        if message is not None:
            event |= {"payload": _payload(message), "client": "stream_monitor"}
            if message.link is not None:
                event |= {"client_url": message.link, "links": [{"href": message.link, "text": "Open the page"}]}
        return json_request(self._url, event)

    def read(self, response: Response) -> Answer:
        """PagerDuty answers 400 to an event that is wrong, and to a key that is none of its."""
        if response.status == 400 and b"routing_key" in response.body:
            return Never("it answers 400: routing_key is no key of an integration")
        if response.status == 403:
            return Again("it answers 403: too many events at once")
        return status_of(response)


def _payload(message: Notification) -> dict[str, Any]:
    details: dict[str, Any] = {f"{at:02d}": line for at, line in enumerate(message.text[:MOST_DETAIL])}
    if message.incident is not None:
        details["incident"] = msgspec.to_builtins(message.incident)
    incident = message.incident
    return {
        "summary": message.text[0][:MOST_SUMMARY],
        "source": message.app,
        "severity": message.severity,
        "timestamp": datetime.fromtimestamp(message.ts / 1000, UTC).isoformat(),
        "component": "" if incident is None else incident.measure,
        "group": "" if incident is None else incident.model,
        "class": message.type if incident is None else incident.kind,
        "custom_details": details,
    }
