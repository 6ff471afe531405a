"""Every service against a server that answers rightly, refuses, hangs, closes, redirects and lies."""

from __future__ import annotations

import json
import socket
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from standardwebhooks import Webhook, WebhookVerificationError

from stream_monitor.config.notify import NotifySettings
from stream_monitor.config.receivers import RECEIVERS, ReceiverSettings
from stream_monitor.config.settings import parse
from stream_monitor.events.notifications import Notification
from stream_monitor.events.schemas import json_schema
from stream_monitor.notify.incidents import Incident, Place
from stream_monitor.notify.sinks import pagerduty, slack, teams
from stream_monitor.notify.sinks.contract import Again, HttpRequest, Mail, Never, Response, Sent
from stream_monitor.notify.sinks.registry import SINKS, sink_of
from stream_monitor.notify.transport.connections import is_public
from stream_monitor.notify.transport.send import send
from tests.effort import examples
from tests.hostile_names import NAMES
from tests.notify.messages import TYPES, messages
from tests.notify.servers import Service, answer, close, drip, hang, raw, service
from tests.notify.stories import KEY, T0, alert

SECRET = "hunter2hunter2hunter2hunter2hunt"
NOW = T0
SLACK_OK = json.dumps({"ok": True, "channel": "C1", "ts": "17.5"}).encode()
HTTP = ["webhook", "slack", "slack-bot", "teams", "pagerduty", "alertmanager"]


def receiver(name: str, url: str = "https://hook.example") -> ReceiverSettings:
    """A receiver of a kind whose secrets all hold `SECRET`."""
    given: dict[str, dict[str, Any]] = {
        "webhook": {"url": f"{url}/{SECRET}", "key": KEY},
        "slack": {"url": f"{url}/{SECRET}"},
        "slack-bot": {"token": SECRET, "channel": "#alerts", "api": url},
        "teams": {"url": f"{url}/{SECRET}?sig={SECRET}"},
        "pagerduty": {"routing_key": SECRET, "url": url},
        "alertmanager": {"url": url, "token": SECRET},
        "email": {"host": "mail.example", "sender": "monitor@shop.example", "to": ["ann@shop.example"]},
        "apprise": {"url": f"json://127.0.0.1/{SECRET}"},
    }
    raw_settings = {"kind": name.partition("-")[0], "allow_private": True} | given[name]
    rules: NotifySettings = parse({"notify": {"receivers": {"r": raw_settings}}}).notify
    return rules.receivers["r"]


@pytest.fixture
def there() -> Iterator[Service]:
    with service() as found:
        yield found


def opened() -> Notification:
    return messages()[0]


def told(name: str, there: Service, seconds: float = 60.0) -> Any:
    settings = receiver(name, there.url)
    sink = sink_of(settings)
    found = send(sink, sink.render(opened(), NOW, ""), settings, seconds)
    assert SECRET not in str(found)
    return found


def test_every_kind_of_the_settings_has_its_service() -> None:
    assert SINKS.keys() == RECEIVERS.keys()


@pytest.mark.parametrize("name", HTTP)
def test_what_is_accepted_is_sent(name: str, there: Service) -> None:
    there.behaviour = answer(200, SLACK_OK)
    assert isinstance(told(name, there), Sent)
    assert len(there.received) == 1 and json.loads(there.received[0].body)


@pytest.mark.parametrize("name", HTTP)
def test_the_pause_that_a_service_asks_for_is_obeyed(name: str, there: Service) -> None:
    there.behaviour = answer(429, Retry_After="7")
    assert told(name, there).after_s == 7
    there.behaviour = answer(503, Retry_After=format_datetime(datetime.now(UTC) + timedelta(seconds=600)))
    assert 0 < told(name, there).after_s <= 600
    for nonsense in ("-5", "1e9", "soon", "99999999999", "Tue, 99 Nov 2026 00:00:00 GMT"):
        there.behaviour = answer(429, Retry_After=nonsense)
        assert told(name, there).after_s is None
    there.behaviour = answer(429, Retry_After="999999")
    assert told(name, there).after_s == 3_600


@pytest.mark.parametrize("name", HTTP)
@pytest.mark.parametrize("behaviour", [
    answer(500), answer(502), answer(408), close, raw(b"nonsense\r\n\r\n"), raw(b"HTTP/1.1"), raw(b""),
    raw(b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 200_000), raw(b"\x15\x03\x01"),
])  # fmt: skip
def test_what_may_heal_is_tried_again(name: str, behaviour: Any, there: Service) -> None:
    there.behaviour = behaviour
    assert isinstance(told(name, there), Again)


@pytest.mark.parametrize("name", HTTP)
@pytest.mark.parametrize("behaviour", [hang, drip])
def test_no_service_keeps_a_receiver_waiting(name: str, behaviour: Any, there: Service) -> None:
    there.behaviour = behaviour
    found = told(name, there, seconds=0.2)
    assert isinstance(found, Again) and "within 0.2 s" in found.why


@pytest.mark.parametrize("name", HTTP)
def test_a_redirect_is_not_followed(name: str, there: Service) -> None:
    there.behaviour = answer(302, Location=f"{there.url}/elsewhere")
    found = told(name, there)
    assert isinstance(found, Never) and found.is_about_receiver and "redirect" in found.why
    assert len(there.received) == 1


@pytest.mark.parametrize("name", HTTP)
@pytest.mark.parametrize("status", [401, 404, 410])
def test_what_does_not_heal_stops_the_receiver(name: str, status: int, there: Service) -> None:
    there.behaviour = answer(status)
    assert told(name, there) == Never(f"it answers {status}", True)


@pytest.mark.parametrize("name", HTTP)
def test_a_message_that_is_refused_stops_nobody(name: str, there: Service) -> None:
    there.behaviour = answer(422)
    assert told(name, there) == Never("it answers 422", False)


@pytest.mark.parametrize("name", HTTP)
def test_a_lie_about_the_length_of_an_answer_makes_no_double(name: str, there: Service) -> None:
    there.behaviour = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n" + SLACK_OK)
    assert isinstance(told(name, there), Sent)
    there.behaviour = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * 10**6)
    assert isinstance(told(name, there), Again if name == "slack-bot" else Sent)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("ratelimited", Again), ("internal_error", Again), ("invalid_auth", Never), ("channel_not_found", Never),
        ("message_not_found", Sent), ("msg_too_long", Never), (f"x{SECRET} <script>", Never),
    ],
)  # fmt: skip
def test_slack_says_in_the_body_what_became_of_it(error: str, expected: type, there: Service) -> None:
    there.behaviour = answer(200, json.dumps({"ok": False, "error": error}).encode(), Retry_After="30")
    found = told("slack-bot", there)
    assert isinstance(found, expected)
    assert not isinstance(found, Never) or found.is_about_receiver == (error != "msg_too_long")


def test_slack_keeps_a_message_of_an_incident_up_to_date() -> None:
    sink = sink_of(receiver("slack-bot"))
    first = sink.read(Response(200, {}, SLACK_OK, NOW))
    assert first == Sent("C1/17.5")
    (post,) = sink.render(opened(), NOW, "")
    ended = next(m for m in messages() if m.type == "incident.resolved")
    update, reply = sink.render(ended, NOW, "C1/17.5")
    assert isinstance(post, HttpRequest) and isinstance(update, HttpRequest) and isinstance(reply, HttpRequest)
    assert post.url.endswith("/chat.postMessage") and update.url.endswith("/chat.update")
    assert json.loads(update.body)["ts"] == json.loads(reply.body)["thread_ts"] == "17.5"
    assert json.loads(update.body)["channel"] == "C1" and json.loads(post.body)["channel"] == "#alerts"


def test_a_webhook_is_signed_by_the_standard_and_while_a_key_is_replaced_by_both() -> None:
    other = "whsec_" + "B" * 43 + "="
    rules = parse(
        {"notify": {"receivers": {"r": {"kind": "webhook", "url": "https://x", "key": KEY, "former_key": other}}}}
    )
    sink = sink_of(rules.notify.receivers["r"])
    now = round(datetime.now(UTC).timestamp() * 1000)
    schema = Draft202012Validator(json_schema("notification"))
    for message in messages("né\n<x>"):
        (request,) = sink.render(message, now, "")
        assert isinstance(request, HttpRequest)
        for key in (KEY, other):
            told_body = Webhook(key).verify(request.body, dict(request.headers))
        schema.validate(told_body)
        assert msgspec.json.decode(request.body, type=Notification) == message
        assert request.headers["webhook-id"] == message.id == told_body["id"]
        for wrong in (request.body + b" ", request.body.replace(b"critical", b"info")):
            with pytest.raises(WebhookVerificationError):
                Webhook(KEY).verify(wrong, dict(request.headers))


def bodies(name: str, kind: str, reference: str = "") -> list[dict[str, Any]]:
    message = next(m for m in messages() if m.type == kind)
    found = []
    for request in sink_of(receiver(name)).render(message, NOW, reference):
        assert isinstance(request, HttpRequest)
        found.append(json.loads(request.body))
    return found


def test_pagerduty_has_an_incident_of_each_of_ours() -> None:
    (trigger,) = bodies("pagerduty", "incident.opened")
    assert trigger["event_action"] == "trigger" and trigger["dedup_key"] == "a" and trigger["routing_key"] == SECRET
    assert trigger["payload"]["severity"] == "critical" and trigger["payload"]["source"] == "app"
    assert trigger["payload"]["summary"].endswith("amount moved") and trigger["links"][0]["href"].startswith("https://")
    (resolve,) = bodies("pagerduty", "incident.resolved")
    assert (resolve["event_action"], resolve["dedup_key"]) == ("resolve", "a")
    (ack,) = bodies("pagerduty", "incident.acknowledged")
    assert (ack["event_action"], ack["dedup_key"]) == ("acknowledge", "a")
    assert bodies("pagerduty", "incident.outcome") == []
    assert [event["event_action"] for event in bodies("pagerduty", "test")] == ["trigger", "resolve"]
    sink = pagerduty.PagerDuty(receiver("pagerduty"))  # type: ignore[arg-type]
    refused = Response(400, {}, b'{"errors": ["Length of \'routing_key\' is incorrect"]}', NOW)
    assert sink.read(refused).is_about_receiver  # type: ignore[union-attr]
    assert not sink.read(Response(400, {}, b"{}", NOW)).is_about_receiver  # type: ignore[union-attr]


def test_alertmanager_is_told_again_of_what_is_open_with_an_end_in_four_minutes() -> None:
    sink = sink_of(receiver("alertmanager"))
    incident = Incident("a", "fraud", Place("alerts", 0, 0))
    incident.take(alert("a-1"))
    incident.take(alert("a-2", segment="country=DE"))
    incident.take(alert("a-2", "resolved", segment="country=DE"))
    (request,) = sink.refresh([incident], NOW)
    assert isinstance(request, HttpRequest)
    (again,) = json.loads(request.body)
    ends = datetime.fromisoformat(again["endsAt"]).timestamp() * 1000
    assert ends - NOW == 240_000 and sink.refresh_s == 60
    (message,) = [m for m in messages() if m.type == "incident.resolved"]
    (over,) = json.loads(sink.render(message, NOW, "")[0].body)  # type: ignore[union-attr]
    assert datetime.fromisoformat(over["endsAt"]).timestamp() * 1000 == NOW
    assert (
        again["labels"].keys()
        == over["labels"].keys()
        >= {"alertname", "model", "version", "segment", "measure", "kind", "severity"}
    )


@pytest.mark.parametrize("address", [
    "127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "100.64.0.1", "::1", "fe80::1%eth0", "fd00::1",
    "::ffff:10.0.0.1", "0.0.0.0", "224.0.0.1",
])  # fmt: skip
def test_private_addresses_are_told_from_public_ones(address: str) -> None:
    assert not is_public(address) and is_public("8.8.8.8") and is_public("2606:4700::1111")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"])
def test_a_private_address_is_refused_unless_the_settings_allow_it(host: str, there: Service) -> None:
    port = there.server_address[1]
    rules = parse({"notify": {"receivers": {"r": {"kind": "webhook", "url": f"http://{host}:{port}/", "key": KEY}}}})
    settings = rules.notify.receivers["r"]
    sink = sink_of(settings)
    found = send(sink, sink.render(opened(), NOW, ""), settings)
    assert isinstance(found, Again) and not there.received
    assert "allow_private" in found.why or "v6" in socket.gethostname() or "[" in host


def test_a_proxy_is_asked_where_the_settings_name_one(there: Service) -> None:
    settings = receiver("webhook", "http://hook.example").model_copy(update={"proxy": there.url})
    sink = sink_of(settings)
    assert isinstance(send(sink, sink.render(opened(), NOW, ""), settings), Sent)
    assert there.received[0].path == f"http://hook.example/{SECRET}"
    assert there.received[0].headers["host"] == "hook.example"


def test_a_redacted_message_names_no_category_bin_or_segment() -> None:
    for message in messages("secret_category", redact=True):
        if message.alerts:
            assert not message.alerts[0].findings and not message.alerts[0].attribution.moved  # type: ignore[union-attr]
            assert "→" not in "".join(message.text) and "comes from" not in "".join(message.text)
            assert message.incident is not None and message.incident.segments == []
            assert message.alerts[0].segment == "country"


HOSTILE = [*NAMES.values(), "<!channel>", "<https://x|y>", "<@U1>", "*b* _i_ `c`", "<script>alert(1)</script>",
           '"><img src=x>', "a\r\nBcc: x@y.example\r\n\r\nhello", "[a](https://x)", "{{7*7}}", "&amp;"]  # fmt: skip


@given(st.one_of(st.sampled_from(HOSTILE), st.text(min_size=1, max_size=128)))
@examples(60)
def test_no_name_of_a_stranger_is_obeyed_anywhere(name: str) -> None:
    name = name.encode("utf-8", "replace").decode()
    for message in messages(name):
        assert not {unicodedata.category(c) for c in "".join(message.text)} & {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}
        for text in slack_texts(message):
            without_ours = text.replace(f"<{message.link}|Open the page>", "")
            assert not {"<", ">"} & set(without_ours)
        card = json.loads(teams.Teams(receiver("teams")).render(message, NOW, "")[0].body)  # type: ignore[union-attr, arg-type]
        assert {part["type"] for part in card["attachments"][0]["content"]["body"]} == {"RichTextBlock"}
        (mail,) = sink_of(receiver("email")).render(message, NOW, "")
        assert isinstance(mail, Mail)
        check_mail(mail.content, message)


def slack_texts(message: Notification) -> Iterator[str]:
    """Every text that Slack reads as markup."""
    body = slack.content(message)
    yield body["text"]
    for block in body["blocks"]:
        if block["text"]["type"] == "mrkdwn":
            yield block["text"]["text"]
        else:
            assert block["text"] | {"text": ""} == {"type": "plain_text", "text": "", "emoji": False}


def check_mail(content: bytes, message: Notification) -> None:
    import email
    from email.policy import SMTP

    read = email.message_from_bytes(content, policy=SMTP)
    assert read["To"] == "ann@shop.example" and read["Bcc"] is None and read["From"] == "monitor@shop.example"
    allowed = {"From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "In-Reply-To", "References",
               "MIME-Version", "Content-Type"}  # fmt: skip
    assert set(read.keys()) <= allowed
    page = read.get_body(("html",)).get_content()  # type: ignore[union-attr]
    tags = page.replace("<p>", "").replace("</p>", "").replace("<b>", "").replace("</b>", "")
    assert (
        tags.count("<") == tags.replace("\n", "").count(">") == (10 if message.link is not None else 8) or message.link
    )
    assert "<script" not in page and "<img" not in page


def test_what_moved_is_drawn() -> None:
    assert f"amount: 10.0% {'▇'} → 90.0% {'▇' * 11}" in opened().text
    assert "1 to 2: 20.0% ▇▇ → 10.0% ▇" in opened().text


def test_there_is_a_message_of_every_type() -> None:
    assert [message.type for message in messages()] == list(TYPES)
