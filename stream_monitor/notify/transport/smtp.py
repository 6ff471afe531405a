"""SMTP by the standard library, encrypted unless the settings say otherwise."""

from __future__ import annotations

import smtplib
import socket
import ssl
import time

from stream_monitor.config.receivers import EmailSettings
from stream_monitor.notify.sinks.contract import Mail, Response
from stream_monitor.notify.transport.connections import TIMEOUT_S, Deadline, connect
from stream_monitor.notify.transport.http import Failure

NO_ENCRYPTION = 538
"""The code of a server that offers no encryption, or no login, where the settings ask for it."""


class _Client(smtplib.SMTP):
    """A client that connects to allowed addresses only."""

    def __init__(self, settings: EmailSettings, deadline: Deadline) -> None:
        self._settings, self._deadline = settings, deadline
        super().__init__(timeout=deadline.left)
        self._host = settings.host  # by which the certificate is checked

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        raw = connect(host, port, self._deadline, self._settings.allow_private)
        if self._settings.tls == "tls":
            return ssl.create_default_context().wrap_socket(raw, server_hostname=host)
        return raw


def deliver(mail: Mail, seconds: float = TIMEOUT_S) -> Response | Failure:
    """Give a mail to the server; the answer is that to the mail, or to what was refused before it."""
    settings, deadline = mail.settings, Deadline(seconds)
    try:
        return _answer(_deliver(mail, deadline))
    except smtplib.SMTPRecipientsRefused as error:
        return _answer(max(code for code, _ in error.recipients.values()))
    except smtplib.SMTPNotSupportedError:
        return _answer(NO_ENCRYPTION)
    except smtplib.SMTPResponseException as error:
        return _answer(error.smtp_code)
    except (OSError, smtplib.SMTPException, UnicodeError) as error:
        why = f"within {seconds:g} s" if deadline.is_over else getattr(error, "strerror", None) or str(error)
        return Failure(f"no answer from {settings.host}: {why}"[:300])


def _answer(code: int) -> Response:
    return Response(code, {}, b"", round(time.time() * 1000))


def _deliver(mail: Mail, deadline: Deadline) -> int:
    settings = mail.settings
    client = _Client(settings, deadline)
    with deadline.watch(lambda: client.sock):
        try:
            client.connect(settings.host, settings.port)
            if settings.tls == "starttls":
                client.starttls(context=ssl.create_default_context())
            if settings.username is not None and settings.password is not None:
                client.login(settings.username, settings.password.get_secret_value())
            client.sendmail(settings.sender, list(settings.to), mail.content)
            return 250
        finally:
            client.close()
