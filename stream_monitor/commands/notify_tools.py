"""`stream-monitor notify test`, `preview` and `history`."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator
from urllib.parse import urlsplit

import msgspec

from stream_monitor.config.receivers import ReceiverSettings
from stream_monitor.config.secrets import RECEIVER_KEYS, reveal
from stream_monitor.config.settings import Settings
from stream_monitor.errors import SettingsError, StreamMonitorError, suggest
from stream_monitor.events.contracts import Alert
from stream_monitor.events.notifications import Notification, NotificationType, Receipt
from stream_monitor.kafka.tail import tail
from stream_monitor.notify.delivery import terms_of
from stream_monitor.notify.incidents import Incident, Place
from stream_monitor.notify.notices import Change, Notice
from stream_monitor.notify.routes import Subject, recipient
from stream_monitor.notify.run import NOBODY
from stream_monitor.notify.sinks.contract import Again, HttpRequest, Mail, Request, Sent
from stream_monitor.notify.sinks.registry import sink_of
from stream_monitor.notify.transport import apprise
from stream_monitor.notify.transport.send import send
from stream_monitor.rejudge.explain import find
from stream_monitor.terminal import Column, Screen, Table
from stream_monitor.timestamps import to_the_second

HIDDEN = "**********"


def _named(settings: Settings, receiver: str | None) -> list[str]:
    """The receivers that are meant; SettingsError where there is none of that name."""
    known = settings.notify.receivers
    if not known:
        raise SettingsError(NOBODY)
    if receiver is not None and receiver not in known:
        raise SettingsError(f"no receiver is called {receiver!r}; {suggest(receiver, known, 'receivers are')}")
    return [receiver] if receiver is not None else list(known)


def _now() -> int:
    return round(time.time() * 1000)


def _trial(settings: Settings, name: str, now: int) -> Notification:
    """A message that is marked as a test."""
    text = f"this is a test of the receiver {name}, by stream-monitor notify test: nothing has happened"
    change = Change("test", None, now, now, "", text=(text,))
    return (
        terms_of(settings, name, sink_of(settings.notify.receivers[name])).writer.plain(change, None, now).notification
    )


def try_receivers(settings: Settings, receiver: str | None, out: Screen) -> bool:
    """Send a test to each receiver; whether all accepted it."""
    accepted = True
    for name in _named(settings, receiver):
        terms = settings.notify.receivers[name]
        if terms.kind == "apprise":
            apprise.require()
        sink, began, now = sink_of(terms), time.monotonic(), _now()
        answer = send(sink, sink.render(_trial(settings, name, now), now, ""), terms)
        took = f"{1000 * (time.monotonic() - began):.0f} ms"
        if isinstance(answer, Sent):
            out.fine(f"{name} ({terms.kind}): accepted, in {took}")
            continue
        accepted = False
        said = "may be accepted later" if isinstance(answer, Again) else "will not be accepted"
        out.problem(f"{name} ({terms.kind}): {said}: {answer.why}, in {took}")
    return accepted


def preview(settings: Settings, wanted: str, receiver: str | None, out: Screen) -> None:
    """Print the requests about an alert, without their secrets."""
    names = _named(settings, receiver)
    records = find([msgspec.json.decode(value, type=Alert) for value in tail(settings, "alerts", follow=False)], wanted)
    for name in names:
        terms = settings.notify.receivers[name]
        sink, now = sink_of(terms), _now()
        notice = _notice(settings, name, records)
        out.line(f"{name} ({terms.kind}){_quiet_note(settings, name, records[-1])}")
        for request in sink.render(notice.notification, now, ""):
            for text in _shown(request):
                out.line(_without_secrets(text, terms))
        out.line()


def _notice(settings: Settings, name: str, records: list[Alert]) -> Notice:
    """The message about an alert, as if it had just opened."""
    first = records[0]
    incident = Incident(first.incident or first.id, first.model, Place("alerts", 0, 0))
    for record in records:
        incident.take(record)
    kind: NotificationType = "silence" if first.kind == "silence" else "incident.opened"
    change = Change(kind, incident.place, first.ts, first.ts, first.model, incident.id, first)
    sink = sink_of(settings.notify.receivers[name])
    return terms_of(settings, name, sink).writer.about_incidents([change], [incident])


def _quiet_note(settings: Settings, name: str, alert: Alert) -> str:
    named = (alert.model, alert.version, alert.segment, alert.measure, alert.group, alert.kind, alert.severity)
    if (found := recipient(settings.notify, name, Subject(settings.app, *named))) is None:
        return ": no route leads there, so it would not be told"
    return "" if found.quiet is None else f": not from {found.quiet.begin} to {found.quiet.end} ({found.quiet.zone})"


def _shown(request: Request) -> Iterator[str]:
    if isinstance(request, HttpRequest):
        yield f"POST {request.url}"
        yield from (f"{key}: {value}" for key, value in request.headers.items())
        yield from ("", request.body.decode())
    elif isinstance(request, Mail):
        yield f"mail by {request.settings.host}:{request.settings.port}"
        yield from request.content.decode().splitlines()
    else:
        yield from (request.title, *request.body.splitlines())


def _without_secrets(text: str, terms: ReceiverSettings) -> str:
    """A text in which what the settings keep secret is asterisks; of a secret address the host stays."""
    for key in RECEIVER_KEYS:
        secret = reveal(getattr(terms, key, None))
        if isinstance(secret, str) and secret:
            host = urlsplit(secret).hostname if key == "url" else None
            if key != "url" or getattr(terms, key) != secret:
                text = text.replace(secret, f"{HIDDEN} of {host}" if host else HIDDEN)
                text = text.replace(json.dumps(secret)[1:-1], HIDDEN)
    return text


def history(settings: Settings, receiver: str | None, last: int, out: Screen) -> None:
    """Print the latest receipts."""
    found = deque[Receipt](maxlen=last)
    for value in tail(settings, "receipts", follow=False):
        try:
            receipt = msgspec.json.decode(value, type=Receipt)
        except msgspec.MsgspecError as error:
            raise StreamMonitorError(f"a record on {settings.topic('receipts')} is no receipt: {error}") from None
        if receiver in (None, receipt.receiver):
            found.append(receipt)
    table = Table([Column("when"), Column("receiver"), Column("type"), Column("status"), Column("delay", "figure"),
                   Column("tries", "figure"), Column("message", "prose")])  # fmt: skip
    for one in sorted(found, key=lambda receipt: receipt.ts):
        text = one.summary if not one.error else f"{one.summary} ({one.error})"
        delay = f"{one.delay_ms / 1000:.1f} s"
        table.row(to_the_second(one.ts), one.receiver, one.type, one.status, delay, str(one.tries), text)
    if found:
        out.table(table)
    else:
        out.line("no message was sent yet")
