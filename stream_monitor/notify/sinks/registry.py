"""The table of services, by the kind that settings name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stream_monitor.config.receivers import ReceiverSettings
from stream_monitor.notify.sinks.alertmanager import Alertmanager
from stream_monitor.notify.sinks.apprise import Apprise
from stream_monitor.notify.sinks.contract import Sink
from stream_monitor.notify.sinks.email import Email
from stream_monitor.notify.sinks.pagerduty import PagerDuty
from stream_monitor.notify.sinks.slack import slack
from stream_monitor.notify.sinks.teams import Teams
from stream_monitor.notify.sinks.webhook import Webhook

SINKS: dict[str, Callable[[Any], Sink]] = {
    "webhook": Webhook,
    "slack": slack,
    "teams": Teams,
    "pagerduty": PagerDuty,
    "alertmanager": Alertmanager,
    "email": Email,
    "apprise": Apprise,
}


def sink_of(settings: ReceiverSettings) -> Sink:
    """The service of a receiver."""
    return SINKS[settings.kind](settings)
