"""What each service gives: requests out of a message, and the meaning of an answer.

`render` and `read` are pure and raise nothing. A message of no interest to a service has no requests. Those of one
message are sent in order until one is not accepted; when it is tried again, all of them are sent again, so a service
that knows no doubles comes last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import NamedTuple, Protocol

import orjson

from stream_monitor.config.receivers import EmailSettings
from stream_monitor.events.notifications import Notification
from stream_monitor.notify.incidents import Incident
from stream_monitor.version import __version__

LONGEST_WAIT_S = 3_600.0
"""A service that asks for a longer pause is asked again after this."""
AGENT = f"stream-monitor/{__version__}"
STOPPING = (401, 403, 404, 405, 410)
"""Answers that do not heal: the address or the key is wrong, or the service has ended it."""


class HttpRequest(NamedTuple):
    """A POST."""

    url: str
    body: bytes
    headers: Mapping[str, str] = {}


class Mail(NamedTuple):
    """A mail for a server."""

    settings: EmailSettings
    content: bytes


class AppriseCall(NamedTuple):
    """A message for a service that Apprise knows."""

    url: str
    title: str
    body: str


Request = HttpRequest | Mail | AppriseCall


class Response(NamedTuple):
    """An answer: of HTTP with the names of its headers in small letters, or the code and text of SMTP."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    at: int
    """When it came (epoch ms)."""


class Sent(NamedTuple):
    """The service has accepted it."""

    reference: str = ""
    """By which later messages of the thread find it."""


class Again(NamedTuple):
    """It may be accepted later."""

    why: str
    after_s: float | None = None
    """The pause that the service asks for."""


class Never(NamedTuple):
    """It will not be accepted."""

    why: str
    is_about_receiver: bool = True
    """Whether no other message would be, either: then the receiver stops."""


Answer = Sent | Again | Never


class Sink(Protocol):
    """A service."""

    groups: bool
    """Whether messages may be about several incidents, or digests."""
    acknowledges: bool
    """Whether it is told of acknowledgements."""
    refresh_s: float | None
    """How often it must be told again of all that is open."""

    def render(self, message: Notification, now: int, reference: str) -> Sequence[Request]:
        """The requests of a message; `reference` is that of the first message of its thread."""

    def read(self, response: Response) -> Answer:
        """What an answer means."""

    def refresh(self, incidents: Sequence[Incident], now: int) -> Sequence[Request]:
        """The requests that say again what is open."""


class PlainSink:
    """What most services share: messages about several incidents, and answers by the status of HTTP."""

    groups = True
    acknowledges = False
    refresh_s: float | None = None

    def read(self, response: Response) -> Answer:
        """What a status means."""
        return read_status(response)

    def refresh(self, incidents: Sequence[Incident], now: int) -> Sequence[Request]:
        """Nothing: the service remembers."""
        return ()


def json_request(url: str, content: object, headers: Mapping[str, str] | None = None) -> HttpRequest:
    """A POST of JSON."""
    body = orjson.dumps(content, default=str)
    return HttpRequest(url, body, {"Content-Type": "application/json", **(headers or {})})


def read_status(response: Response) -> Answer:
    """What a status of HTTP means. The text of an answer is not repeated: it may hold what we sent, keys included."""
    status, why = response.status, f"it answers {response.status}"
    if 200 <= status < 300:
        return Sent()
    if 300 <= status < 400:
        return Never(f"{why}, a redirect, which is not followed: set its url to the address that answers")
    if status in (408, 425, 429) or status >= 500:
        return Again(why, pause(response))
    return Never(why, status in STOPPING)


def pause(response: Response) -> float | None:
    """The seconds that an answer asks for by `Retry-After`: a number, or a date."""
    text = response.headers.get("retry-after", "").strip()
    if text.isdecimal() and len(text) < 10:
        return min(float(text), LONGEST_WAIT_S)
    try:
        seconds = parsedate_to_datetime(text).timestamp() - response.at / 1000
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return min(max(seconds, 0.0), LONGEST_WAIT_S)
