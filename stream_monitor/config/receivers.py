"""The settings of receivers, by kind. What is a secret here, `secrets.RECEIVER_KEYS` names."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from stream_monitor.config import secrets
from stream_monitor.config.detection import Section

PAGERDUTY = "https://events.pagerduty.com"
LEAST_KEY, MOST_KEY = 24, 64
"""Bytes of a webhook's key, as Standard Webhooks has it."""

_ADDRESS = re.compile(r"[!-?A-~]+@[!-?A-~]+")


def checked_url(url: str) -> str:
    """An address of HTTP without a name and password in it; ValueError does not repeat it, for it may be a secret."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("is no address; write https://host/path") from None
    if parts.scheme not in ("https", "http") or not parts.hostname or port == 0:
        raise ValueError("is no address; write https://host/path")
    if parts.username is not None or parts.password is not None:
        raise ValueError("has a name or password in it: use the keys of this kind of receiver")
    if not re.fullmatch(r"[!-~]+", url):
        raise ValueError("has blanks or letters that an address must write as %XX")
    return url


def _is_reference(secret: SecretStr) -> bool:
    """Whether a secret is still to be read; what is read then is checked again."""
    return secret.get_secret_value().startswith((secrets.FILE, secrets.ENV))


def _checked_secret_url(url: SecretStr) -> SecretStr:
    if not _is_reference(url):
        checked_url(url.get_secret_value())
    return url


Url = Annotated[str, AfterValidator(checked_url)]
SecretUrl = Annotated[SecretStr, AfterValidator(_checked_secret_url)]


def key_bytes(key: SecretStr) -> bytes:
    """The bytes of a webhook's key: base64, with or without `whsec_`; ValueError without the text."""
    text = key.get_secret_value().removeprefix("whsec_")
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("must be base64, best with whsec_ before it") from None
    if not LEAST_KEY <= len(raw) <= MOST_KEY:
        raise ValueError(f"must have {LEAST_KEY} to {MOST_KEY} bytes, in base64, and has {len(raw)}")
    return raw


def _checked_key(key: SecretStr | None) -> SecretStr | None:
    if key is not None and not _is_reference(key):
        key_bytes(key)
    return key


class ReceiverSettings(Section):
    """What all receivers have."""

    kind: str
    matters: bool = False
    """Wait for what labels say, and tell only of drift with which the error moved."""
    redact: bool = False
    """Leave out categories and bins."""
    allow_private: bool = False
    """Send to addresses of private networks and of this machine."""
    proxy: Url | None = None
    """An HTTP proxy."""


class WebhookSettings(ReceiverSettings):
    """JSON to an address, signed by the scheme of Standard Webhooks."""

    kind: Literal["webhook"]
    url: SecretUrl
    key: Annotated[SecretStr, AfterValidator(_checked_key)]
    former_key: Annotated[SecretStr | None, AfterValidator(_checked_key)] = None
    """While the key is replaced: messages have a signature by each."""


class SlackSettings(ReceiverSettings):
    """A channel of Slack: by a bot's token, or by an incoming webhook."""

    kind: Literal["slack"]
    token: SecretStr | None = None
    channel: Annotated[str, Field(min_length=1, max_length=80)] | None = None
    url: SecretUrl | None = None
    api: Url = "https://slack.com/api"

    @model_validator(mode="after")
    def _one_way(self) -> SlackSettings:
        if (self.url is None) == (self.token is None):
            raise ValueError("needs either token (of a bot) and channel, or url (of an incoming webhook)")
        if (self.token is None) != (self.channel is None):
            raise ValueError("token and channel belong together; an incoming webhook's url has its channel")
        return self


class TeamsSettings(ReceiverSettings):
    """A channel of Microsoft Teams, by the address of a workflow."""

    kind: Literal["teams"]
    url: SecretUrl


class PagerDutySettings(ReceiverSettings):
    """A service of PagerDuty, by Events API v2."""

    kind: Literal["pagerduty"]
    routing_key: SecretStr
    url: Url = PAGERDUTY

    @field_validator("routing_key")
    @classmethod
    def _length(cls, key: SecretStr) -> SecretStr:
        if not _is_reference(key) and not re.fullmatch(r"[0-9A-Za-z]{32}", key.get_secret_value()):
            raise ValueError("must be the 32 letters and digits of an integration of the kind Events API v2")
        return key


class AlertmanagerSettings(ReceiverSettings):
    """A Prometheus Alertmanager, which groups, routes and silences then."""

    kind: Literal["alertmanager"]
    url: Url
    username: str | None = None
    password: SecretStr | None = None
    token: SecretStr | None = None
    labels: dict[Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")], str] = Field({})

    @model_validator(mode="after")
    def _one_login(self) -> AlertmanagerSettings:
        if (self.username is None) != (self.password is None) or (self.token and self.username):
            raise ValueError("needs username and password together, or token, or none of them")
        return self


def _mail_address(text: str) -> str:
    if not _ADDRESS.fullmatch(text) or len(text) > 254:
        raise ValueError(f"{text[:60]!r} is no mail address; write name@example.com")
    return text


MailAddress = Annotated[str, AfterValidator(_mail_address)]


class EmailSettings(ReceiverSettings):
    """Mail, by an SMTP server."""

    kind: Literal["email"]
    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,253}$")]
    port: Annotated[int, Field(ge=1, le=65_535)] = 587
    tls: Literal["starttls", "tls", "none"] = "starttls"
    username: str | None = None
    password: SecretStr | None = None
    sender: MailAddress
    to: Annotated[tuple[MailAddress, ...], Field(min_length=1, max_length=50)]

    @model_validator(mode="after")
    def _login_is_safe(self) -> EmailSettings:
        if (self.username is None) != (self.password is None):
            raise ValueError("needs username and password together, or none of them")
        if self.tls == "none" and self.password is not None and not is_this_machine(self.host):
            raise ValueError("tls: none would show the password to the network")
        if self.proxy is not None:
            raise ValueError("mail goes through no HTTP proxy; leave proxy out")
        return self


def is_this_machine(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"


class AppriseSettings(ReceiverSettings):
    """Any service that Apprise knows, by its URL."""

    kind: Literal["apprise"]
    url: SecretStr


RECEIVERS: dict[str, type[ReceiverSettings]] = {
    "webhook": WebhookSettings,
    "slack": SlackSettings,
    "teams": TeamsSettings,
    "pagerduty": PagerDutySettings,
    "alertmanager": AlertmanagerSettings,
    "email": EmailSettings,
    "apprise": AppriseSettings,
}
