"""`email`: plain text and HTML. Messages of one thread refer to the same root, so that mail programs show them so."""

from __future__ import annotations

import hashlib
import html
from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from stream_monitor.config.receivers import EmailSettings
from stream_monitor.events.notifications import Notification
from stream_monitor.notify.sinks.contract import Again, Answer, Mail, Never, PlainSink, Request, Response, Sent

MOST_SUBJECT = 150
LOGIN = (454, 530, 534, 535, 538)
"""The server does not accept who we are, or wants a kind of protection that it does not get."""
ADDRESS = (550, 551, 553)
"""It knows no such mailbox, or takes none from us."""


class Email(PlainSink):
    """Mail."""

    def __init__(self, settings: EmailSettings) -> None:
        self._settings = settings
        self._domain = settings.sender.rpartition("@")[2]

    def render(self, message: Notification, now: int, reference: str) -> Sequence[Request]:
        """One mail. Lines were made of visible characters, so that none of them ends a header."""
        mail = EmailMessage(policy=SMTP)
        settings = self._settings
        mail["From"], mail["To"] = settings.sender, ", ".join(settings.to)
        mail["Subject"] = f"[{message.severity}] {message.text[0]}"[:MOST_SUBJECT]
        mail["Date"] = format_datetime(datetime.fromtimestamp(now / 1000, UTC))
        mail["Message-ID"] = self._identity(message.id)
        mail["Auto-Submitted"] = "auto-generated"
        if message.thread:
            root = self._identity(hashlib.sha256(f"{message.app}\x1f{message.thread}".encode()).hexdigest()[:32])
            mail["In-Reply-To"], mail["References"] = root, root
        mail.set_content("\n".join(message.text) + "\n")
        mail.add_alternative(page(message), subtype="html")
        return [Mail(settings, mail.as_bytes())]

    def _identity(self, name: str) -> str:
        return f"<{name}@{self._domain}>"

    def read(self, response: Response) -> Answer:
        """What a code of SMTP means."""
        status, why = response.status, f"it answers {response.status}"
        if 200 <= status < 400:
            return Sent()
        if status in LOGIN or status in ADDRESS:
            return Never(why)
        return Again(why) if status < 500 else Never(why, False)


def page(message: Notification) -> str:
    """The message in HTML: no scripts, no pictures from elsewhere, texts escaped."""
    first, *more = (line for line in message.text if line != message.link)
    parts = [f"<p><b>{html.escape(first)}</b></p>", *(f"<p>{html.escape(line)}</p>" for line in more)]
    if message.link is not None:
        parts.append(f'<p><a href="{html.escape(message.link)}">Open the page</a></p>')
    return f'<!DOCTYPE html><html><head><meta charset="utf-8"></head><body>{"".join(parts)}</body></html>'
