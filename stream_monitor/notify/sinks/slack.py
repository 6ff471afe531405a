"""`slack`: with a bot's token a message an incident, kept up to date, with its course in its thread; or a webhook's.

Texts of strangers stand in `plain_text`, where Slack knows no markup, and in the notification's text escaped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import orjson

from stream_monitor.config.receivers import SlackSettings
from stream_monitor.events.notifications import Notification
from stream_monitor.notify.sinks.contract import (
    Again,
    Answer,
    Never,
    PlainSink,
    Request,
    Response,
    Sent,
    json_request,
    pause,
    read_status,
)

MOST_TEXT = 2_900
"""Of a block; Slack takes 3,000 characters."""
MARKS = {"critical": "●", "warning": "◐", "info": "○"}
PASSING = ("ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "request_timeout",
           "team_added_to_org", "message_limit_exceeded")  # fmt: skip
ABOUT_MESSAGE = ("msg_too_long", "invalid_blocks", "invalid_blocks_format", "no_text", "msg_blocks_too_long")
GONE = ("message_not_found", "cant_update_message", "edit_window_closed")
"""The first message cannot be changed any more: that is no reason to hold back what follows it."""
_ERROR = re.compile(r"[a-z_]{1,60}")


def escaped(text: str) -> str:
    """A text that Slack's markup does not obey."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def content(message: Notification) -> dict[str, Any]:
    """The text of a notification, and the blocks of the message."""
    lines = [line for line in message.text if line != message.link]
    over = message.incident is not None and message.incident.ended_ts is not None
    first = f"{'✓' if over else MARKS[message.severity]} {lines[0]}"
    shown = "\n".join([first, *lines[1:]])[:MOST_TEXT]
    blocks: list[Any] = [{"type": "section", "text": {"type": "plain_text", "text": shown, "emoji": False}}]
    if message.link is not None:
        blocks.append(
            {"type": "section", "text": {"type": "mrkdwn", "text": f"<{escaped(message.link)}|Open the page>"}}
        )
    return {"text": escaped(first)[:MOST_TEXT], "blocks": blocks}


class SlackWebhook(PlainSink):
    """An incoming webhook: a message each."""

    def __init__(self, settings: SlackSettings) -> None:
        assert settings.url is not None
        self._url = settings.url.get_secret_value()

    def render(self, message: Notification, now: int, reference: str) -> Sequence[Request]:
        """One message."""
        return [json_request(self._url, content(message))]


class SlackBot(PlainSink):
    """A bot that posts to a channel."""

    def __init__(self, settings: SlackSettings) -> None:
        assert settings.token is not None
        self._api, self._channel = settings.api.rstrip("/"), settings.channel
        self._headers = {
            "Authorization": f"Bearer {settings.token.get_secret_value()}",
            "Content-Type": "application/json; charset=utf-8",
        }

    def render(self, message: Notification, now: int, reference: str) -> Sequence[Request]:
        """A new message; of a thread that has one the first is brought up to date, and this one follows it."""
        body = content(message)
        channel, _, ts = reference.partition("/")
        if not ts:
            return [self._call("chat.postMessage", {"channel": self._channel, "unfurl_links": False} | body)]
        found = []
        if message.incident is not None and message.incident.id == message.thread:
            found.append(self._call("chat.update", {"channel": channel, "ts": ts} | body))
        reply = {"channel": channel, "thread_ts": ts, "unfurl_links": False} | body
        return [*found, self._call("chat.postMessage", reply)]

    def _call(self, method: str, body: dict[str, Any]) -> Request:
        return json_request(f"{self._api}/{method}", body, self._headers)

    def read(self, response: Response) -> Answer:
        """Slack says in the body whether it has accepted a message, with the status 200."""
        if response.status != 200:
            return read_status(response)
        try:
            answer = orjson.loads(response.body)
            accepted = answer["ok"]
        except (orjson.JSONDecodeError, TypeError, KeyError):
            return Again("its answer is not that of Slack")
        if accepted is True:
            channel, ts = answer.get("channel"), answer.get("ts")
            known = isinstance(channel, str) and isinstance(ts, str)
            return Sent(f"{channel}/{ts}"[:100] if known else "")
        error = str(answer.get("error"))
        why = f"it answers {error}" if _ERROR.fullmatch(error) else "it accepts nothing, and does not say why"
        if error in GONE:
            return Sent()
        if error in PASSING:
            return Again(why, pause(response))
        return Never(why, error not in ABOUT_MESSAGE)


def slack(settings: SlackSettings) -> SlackBot | SlackWebhook:
    """By a bot, or by a webhook."""
    return SlackWebhook(settings) if settings.url is not None else SlackBot(settings)
