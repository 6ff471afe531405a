"""`apprise`: any service that Apprise knows. It only tells whether it was accepted, so there is no `Retry-After`."""

from __future__ import annotations

from collections.abc import Sequence

from stream_monitor.config.receivers import AppriseSettings
from stream_monitor.events.notifications import Notification
from stream_monitor.notify.sinks.contract import Again, Answer, AppriseCall, Never, PlainSink, Request, Response, Sent

MOST_TITLE = 200


class Apprise(PlainSink):
    """A service behind Apprise."""

    def __init__(self, settings: AppriseSettings) -> None:
        self._url = settings.url.get_secret_value()

    def render(self, message: Notification, now: int, reference: str) -> Sequence[Request]:
        """A title and a text."""
        title = f"[{message.severity}] {message.text[0]}"[:MOST_TITLE]
        return [AppriseCall(self._url, title, "\n".join(message.text))]

    def read(self, response: Response) -> Answer:
        """200: accepted; 404: Apprise knows no such service; anything else is tried again."""
        if response.status == 404:
            return Never("Apprise knows no service with such a url")
        return Sent() if response.status == 200 else Again("Apprise says that it was not accepted")
