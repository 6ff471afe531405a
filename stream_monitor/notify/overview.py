"""What `stream-monitor check` says of receivers and routes."""

from __future__ import annotations

from collections.abc import Iterable

from stream_monitor.config.notify import NotifySettings, RouteSettings
from stream_monitor.config.secrets import reveal
from stream_monitor.config.settings import Settings
from stream_monitor.errors import SettingsError
from stream_monitor.events.contracts import Alert
from stream_monitor.notify.incidents import Incident, Place
from stream_monitor.notify.routes import Subject, idle_receivers, recipients, unreachable
from stream_monitor.notify.transport import apprise

LISTED = 5
NOBODY = "nobody"


def receiver_problems(settings: NotifySettings) -> list[str]:
    """What keeps `notify` from a start."""
    problems = []
    if any(receiver.kind == "apprise" for receiver in settings.receivers.values()):
        try:
            apprise.require()
        except SettingsError as error:
            problems.append(f"notify: {error}")
    for at, before in unreachable(settings.routes):
        problems.append(
            f"notify.routes.{at}: nothing reaches it, for notify.routes.{before} takes all that it matches: put it "
            "before that one, or give that one `also: true`"
        )
    return problems


def receiver_notes(settings: NotifySettings) -> list[str]:
    """A line a receiver: what it is told of, and what is strange about it."""
    notes = []
    for name, receiver in settings.receivers.items():
        routes = [_shown(route) for route in settings.routes if name in route.to]
        changes = "; ".join(routes) if settings.routes else "everything"
        notes.append(f"notify.receivers.{name} ({receiver.kind}) is told of {changes or 'nothing'}")
        address = reveal(getattr(receiver, "url", None))
        if isinstance(address, str) and address.startswith("http://"):
            notes.append(f"notify.receivers.{name}: messages travel without encryption: its url begins with http://")
    for name in idle_receivers(settings):
        notes.append(f"notify.receivers.{name}: no route names it, so it is told of nothing")
    return notes


def _shown(route: RouteSettings) -> str:
    given = route.match.patterns()
    text = ", ".join(f"{key} {' or '.join(patterns)}" for key, patterns in given.items()) or "everything"
    quiet = route.quiet
    if quiet is None:
        return text
    below = f" what is below {quiet.below}" if quiet.below is not None else ""
    return f"{text} (quiet{below} from {quiet.begin} to {quiet.end} {quiet.zone}, {quiet.days})"


def incident_notes(settings: Settings, alerts: Iterable[Alert]) -> list[str]:
    """Whom the open incidents would be told to."""
    incidents, chiefs = dict[str, Incident](), dict[str, Alert]()
    for alert in alerts:
        identity = alert.incident or alert.id
        incident = incidents.setdefault(identity, Incident(identity, alert.model, Place("alerts", 0, 0)))
        incident.take(alert)
        chiefs.setdefault(identity, alert)
    found = dict[str, list[str]]()
    for identity, incident in incidents.items():
        if incident.is_open:
            alert = chiefs[identity]
            named = (alert.model, alert.version, alert.segment, alert.measure, alert.group, alert.kind)
            targets = recipients(settings.notify, Subject(settings.app, *named, incident.severity, incident.outcome))
            whom = ", ".join(one.receiver for one in targets) or NOBODY
            found.setdefault(whom, []).append(f"{alert.measure} of {alert.model}")
    return [
        f"{len(named)} open incident(s) would be told to {whom}: {', '.join(named[:LISTED])}"
        + (" …" if len(named) > LISTED else "")
        for whom, named in sorted(found.items())
    ]
