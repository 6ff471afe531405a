"""`teams`: an Adaptive Card for a workflow of Microsoft Teams. Its texts are runs, in which Teams knows no markup."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from stream_monitor.config.receivers import TeamsSettings
from stream_monitor.events.notifications import Notification
from stream_monitor.notify.sinks.contract import PlainSink, Request, json_request

MOST_BYTES = 26_000
"""Of a card; Teams takes 28 KB."""
COLOURS = {"critical": "attention", "warning": "warning", "info": "default"}


def _text(line: str, **look: Any) -> dict[str, Any]:
    return {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": line, **look}]}


class Teams(PlainSink):
    """A channel of Teams, by the address of a workflow."""

    def __init__(self, settings: TeamsSettings) -> None:
        self._url = settings.url.get_secret_value()

    def render(self, message: Notification, now: int, reference: str) -> Sequence[Request]:
        """One card."""
        first, *more = (line for line in message.text if line != message.link)
        colour = COLOURS[message.severity]
        body = [_text(first, weight="bolder", color=colour), *map(_text, more)]
        while len(body) > 1 and len(orjson.dumps(body)) > MOST_BYTES:
            body.pop()
        card: dict[str, Any] = {
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.4",
            "body": body,
        }
        if message.link is not None:
            card["actions"] = [{"type": "Action.OpenUrl", "title": "Open the page", "url": message.link}]
        attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
        return [json_request(self._url, {"type": "message", "attachments": [attachment]})]
