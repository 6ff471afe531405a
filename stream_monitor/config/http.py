"""Sections about what a worker says of itself: metrics and health over HTTP, and its log."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from stream_monitor.config import secrets
from stream_monitor.config.detection import Section
from stream_monitor.config.durations import Duration, format_duration, ms

LEAST_HUNG_MS = ms("10s")


class HttpSettings(Section):
    """Where /metrics, /healthz and /readyz are served, and to whom: see security.md."""

    host: str = Field("127.0.0.1", description="beyond loopback token and TLS are demanded, or `open`")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(
        9464, description="of the first process of a command; the next take the next. Not set: passes over used ones"
    )
    enabled: bool = True
    token: Annotated[SecretStr | None, AfterValidator(secrets.checked_token)] = Field(
        None, description="that /metrics demands (`Authorization: Bearer …`); at least 16 characters"
    )
    tls_certificate: str | None = Field(None, description="file of the certificate chain (PEM): serve HTTPS")
    tls_key: str | None = Field(None, description="file of its key, not encrypted; default: in the certificate's file")
    open: bool = Field(False, description="true: serve other machines without token or TLS, for something else guards")
    hung_after: Duration = Field(
        ms("2m"), description="/healthz answers 503 once a worker has not come back for so long"
    )

    @model_validator(mode="after")
    def _time_to_come_back(self) -> HttpSettings:
        if self.hung_after < LEAST_HUNG_MS:
            raise ValueError(
                f"hung_after must be at least {format_duration(LEAST_HUNG_MS)}, or a busy worker seems hung"
            )
        return self

    @model_validator(mode="after")
    def _key_has_certificate(self) -> HttpSettings:
        if self.tls_key and not self.tls_certificate:
            raise ValueError("tls_key is the key of a tls_certificate, and none is given")
        return self


class DashboardSettings(Section):
    """Where the page is served, and what it keeps. Token, TLS and `open` are those of `http`."""

    host: str = Field("127.0.0.1", description="beyond loopback `http.token` and TLS are demanded, or `http.open`")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(
        8080, description="of the page. Not set: a port in use is passed over; 0: any free one"
    )
    path: str | None = Field(
        None, description="file of what the page has read, so that a restart goes on; default: a temporary one"
    )
    disk: Annotated[int, Field(ge=10_000_000)] = Field(
        4_000_000_000, description="bytes of that file; above, the oldest of the shortest windows are deleted"
    )
    catch_up: Duration = Field(
        ms("1d"), description="how far back metrics and dead letters are read at the first start"
    )


class LogSettings(Section):
    """What the log on standard error looks like."""

    format: Literal["auto", "text", "json"] = Field(
        "auto", description="text: lines for people; json: an object a line; auto: text on a terminal, else json"
    )
