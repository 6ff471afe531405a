"""What all clients of Kafka share: their configuration, and the true reason when a broker does not let them in."""

from __future__ import annotations

import logging
import os
import socket
import time
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from stream_monitor.errors import BrokerError, SettingsError
from stream_monitor.settings import Settings

log = logging.getLogger(__name__)

CALL_S = 30.0
TELL_AGAIN_S = 10.0
ASK_AGAIN_S = 1.0
REFUSED_S = 3.0
RECENT_S = 120.0
FETCH = {
    "fetch.wait.max.ms": 100,
    "fetch.queue.backoff.ms": 20,  # the default of a second stalls a partition whose queue was full
    "queued.min.messages": 20_000,
    "queued.max.messages.kbytes": 65_536,
}
PARTITIONER = {"murmur2": "murmur2_random", "crc32": "consistent_random"}
"""librdkafka's names for `topics.partitioner`."""
REFUSALS = (KafkaError._AUTHENTICATION, KafkaError._SSL)
"""What waiting does not mend: a wrong password, a certificate that is not trusted."""

T = TypeVar("T")


class Reasons:
    """What librdkafka said of its connections: calls themselves only time out, with a wrong password too."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}
        self._heard: tuple[float, str] = (0.0, "")
        self._refused: tuple[float, float, str] | None = None
        """When the refusals began, when the last came, and what it said."""

    def hear(self, error: KafkaError) -> None:
        """The `error_cb` of a client; it must not raise, and is called over and over."""
        now, text = time.monotonic(), error.str()
        self._heard = now, text
        if error.code() in REFUSALS:
            since = now if self._refused is None else self._refused[0]
            self._refused = since, now, text
        if now - self._told.get(error.name(), -TELL_AGAIN_S) >= TELL_AGAIN_S:
            self._told[error.name()] = now
            log.warning("kafka: %s", text, extra={"code": error.name()})

    @property
    def refused(self) -> bool:
        """Whether a broker goes on not letting us in; a single time may be one that is just starting."""
        return self._refused is not None and time.monotonic() - self._refused[0] >= REFUSED_S

    def of(self, error: KafkaException) -> str:
        """Why a call failed: what it says itself, and what was heard of late."""
        told: str = error.args[0].str()
        at, heard = self._refused[1:] if self._refused is not None else self._heard
        recent = heard and time.monotonic() - at < RECENT_S
        return f"{told} ({heard})" if recent and heard not in told else told


def common(settings: Settings, name: str, reasons: Reasons | None = None) -> dict[str, Any]:
    """Configuration that every client shares; each has an id of its own, for equal ones can loop the assignor."""
    return {
        "bootstrap.servers": settings.kafka.bootstrap_servers,
        "client.id": f"{settings.app}-{name}-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}",
        "error_cb": (reasons or Reasons()).hear,
        "log_level": 0,
        **settings.kafka.client_options(),
    }


def made(client: Callable[[dict[str, Any]], T], config: dict[str, Any]) -> T:
    """A client; SettingsError when librdkafka does not take the options, which says which and not what was in it."""
    try:
        return client(config)
    except (KafkaException, TypeError, ValueError) as error:
        told = error.args[0].str() if isinstance(error, KafkaException) else str(error)
        raise SettingsError(f"kafka.options: {told}") from None


def admin(settings: Settings, reasons: Reasons | None = None) -> AdminClient:
    """An admin client."""
    return made(AdminClient, common(settings, "admin", reasons))


def connected(settings: Settings) -> AdminClient:
    """An admin client that a broker has let in.

    BrokerError with the true reason: at once when a broker refuses us, after half a minute when none answers.
    """
    reasons = Reasons()
    client = admin(settings, reasons)
    deadline = time.monotonic() + CALL_S
    while True:
        try:
            client.list_topics(timeout=ASK_AGAIN_S)
            return client
        except KafkaException as error:
            client.poll(0)  # brings what `reasons` hear
            if not reasons.refused and time.monotonic() < deadline:
                continue
            who = "refused by" if reasons.refused else "no answer from"
            raise BrokerError(
                f"{who} {settings.kafka.bootstrap_servers}: {reasons.of(error)}. Is it the right address "
                "(kafka.bootstrap_servers), with the right TLS and SASL (kafka.options)?"
            ) from error
