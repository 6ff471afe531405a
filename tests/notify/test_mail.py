"""Mail on a real SMTP server of this machine: encrypted, with a login, refused, silent."""

from __future__ import annotations

import email
import ssl
import threading
from collections.abc import Iterator
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Any, cast

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword, Session

from stream_monitor.config.receivers import EmailSettings
from stream_monitor.config.settings import parse
from stream_monitor.notify.sinks.contract import Again, Answer, Never, Sent
from stream_monitor.notify.sinks.registry import sink_of
from stream_monitor.notify.transport.send import send
from tests.certificates import certificate_of
from tests.notify.messages import messages
from tests.notify.stories import T0

PASSWORD = "hunter2-hunter2"


class Mailbox:
    """Keeps what comes, or answers otherwise."""

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], EmailMessage]] = []
        self.answers: dict[str, str] = {}
        self.silent = threading.Event()

    async def handle_RCPT(
        self, server: Any, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if (refusal := self.answers.get("RCPT")) is not None:
            return refusal
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:
        if (refusal := self.answers.get("DATA")) is not None:
            return refusal
        content = cast(bytes, envelope.content)
        read = email.message_from_bytes(content, policy=SMTP)
        self.mails.append((envelope.rcpt_tos, read))
        return "250 OK"


def authenticate(server: Any, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
    right = isinstance(data, LoginPassword) and (data.login, data.password) == (b"ann", PASSWORD.encode())
    return AuthResult(success=right, handled=False)


class Listener(Controller):
    """aiosmtpd connects to its own port to see that it is there, and knows it only where it is not 0."""

    def _trigger_server(self) -> None:
        assert self.server is not None
        self.port = self.server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        super()._trigger_server()  # type: ignore[no-untyped-call]


class Server:
    """An SMTP server with TLS."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, tls: str) -> None:
        certificate = certificate_of(folder)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate.certificate, certificate.key)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.certificate))
        self.mailbox, self.tls = Mailbox(), tls
        options: dict[str, Any] = {"authenticator": authenticate, "auth_require_tls": tls == "starttls"}
        if tls == "tls":
            options["ssl_context"] = context
        if tls == "starttls":
            options |= {"tls_context": context, "require_starttls": True}
        self.controller = Listener(self.mailbox, hostname="127.0.0.1", port=0, ready_timeout=60, **options)

    def settings(self, **given: Any) -> EmailSettings:
        raw = {
            "kind": "email", "host": "localhost", "port": self.controller.port, "tls": self.tls, "allow_private": True,
            "sender": "monitor@shop.example", "to": ["ann@shop.example", "bob@shop.example"],
        }  # fmt: skip
        found = parse({"notify": {"receivers": {"r": raw | given}}}).notify.receivers["r"]
        assert isinstance(found, EmailSettings)
        return found


@pytest.fixture(params=["starttls", "tls", "none"])
def server(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    found = Server(tmp_path, monkeypatch, request.param)
    found.controller.start()
    yield found
    found.controller.stop()


def told(settings: EmailSettings, kind: str = "incident.opened", seconds: float = 60.0) -> Answer:
    sink = sink_of(settings)
    message = next(m for m in messages("größe") if m.type == kind)
    found = send(sink, sink.render(message, T0, ""), settings, seconds)
    assert PASSWORD not in str(found)
    return found


def test_a_mail_has_the_reason_as_its_subject_and_threads_with_those_of_its_incident(server: Server) -> None:
    assert told(server.settings()) == Sent()
    assert told(server.settings(), "incident.resolved") == Sent()
    (to, first), (_, second) = server.mailbox.mails
    assert to == ["ann@shop.example", "bob@shop.example"] and first["Subject"] == "[critical] größe 7: größe moved"
    assert first["Message-ID"] != second["Message-ID"] and first["References"] == second["References"]
    plain, page = first.get_body(("plain",)), first.get_body(("html",))
    assert plain is not None and plain.get_content().splitlines()[0] == "größe 7: größe moved"
    assert page is not None and "<b>größe 7: größe moved</b>" in page.get_content()


def test_a_login_is_used_and_a_wrong_one_stops_the_receiver(server: Server) -> None:
    if server.tls != "none":
        assert told(server.settings(username="ann", password=PASSWORD)) == Sent()
        assert told(server.settings(username="ann", password="x" + PASSWORD)) == Never("it answers 535")
        assert len(server.mailbox.mails) == 1


@pytest.mark.parametrize(
    ("step", "said", "expected"),
    [
        ("DATA", "451 later", Again("it answers 451")), ("DATA", "554 no", Never("it answers 554", False)),
        ("RCPT", "450 later", Again("it answers 450")), ("RCPT", "550 who?", Never("it answers 550")),
        ("DATA", "421 closing", Again("it answers 421")),
    ],
)  # fmt: skip
def test_refusals(server: Server, step: str, said: str, expected: Answer) -> None:
    server.mailbox.answers[step] = said
    assert told(server.settings()) == expected


def test_a_server_without_encryption_gets_no_mail_where_encryption_is_wanted(server: Server) -> None:
    if server.tls == "none":
        assert told(server.settings(tls="starttls")) == Never("it answers 538")
    elif server.tls == "starttls":
        assert isinstance(told(server.settings(tls="tls")), Again)
    assert not server.mailbox.mails


def test_a_certificate_that_is_not_trusted_is_refused(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    if server.tls != "none":
        assert isinstance(told(server.settings()), Again)
        assert not server.mailbox.mails


def test_private_addresses_are_refused(server: Server) -> None:
    found = told(server.settings(allow_private=False))
    assert isinstance(found, Again) and "no answer from localhost" in found.why and not server.mailbox.mails
