"""What only some requests need: TLS that is checked, and Apprise."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from stream_monitor.config.settings import parse
from stream_monitor.notify.sinks.contract import Again, Answer, Never, Sent
from stream_monitor.notify.sinks.registry import sink_of
from stream_monitor.notify.transport.send import send
from tests.certificates import certificate_of
from tests.notify.messages import messages
from tests.notify.servers import answer, service
from tests.notify.stories import KEY, T0


def told(given: dict[str, Any]) -> Answer:
    settings = parse({"notify": {"receivers": {"r": {"allow_private": True} | given}}}).notify.receivers["r"]
    sink = sink_of(settings)
    return send(sink, sink.render(messages()[0], T0, ""), settings, 60.0)


def test_a_certificate_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = certificate_of(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.certificate, certificate.key)
    with service() as there:
        there.socket = context.wrap_socket(there.socket, server_side=True)
        port = there.server_address[1]
        hook = {"kind": "webhook", "url": f"https://localhost:{port}/x", "key": KEY}
        found = told(hook)
        assert isinstance(found, Again) and "certificate is not trusted" in found.why
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.certificate))
        assert told(hook) == Sent()
        assert there.received[0].headers["host"] == f"localhost:{port}"
        assert len(there.received) == 1


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # Apprise imports it
def test_apprise_says_whether_it_was_accepted() -> None:
    with service() as there:
        port = there.server_address[1]
        assert told({"kind": "apprise", "url": f"json://127.0.0.1:{port}/hook"}) == Sent()
        assert b"amount moved" in there.received[0].body
        there.behaviour = answer(500)
        assert isinstance(told({"kind": "apprise", "url": f"json://127.0.0.1:{port}/hook"}), Again)
    assert isinstance(told({"kind": "apprise", "url": "nonsense://x"}), Never)
