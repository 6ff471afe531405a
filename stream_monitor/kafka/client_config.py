"""The configuration that all Kafka clients share, and the true reason when a broker refuses a connection."""

from __future__ import annotations

import logging
import os
import re
import socket
import time
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka.admin import AdminClient

from stream_monitor.config.settings import Settings
from stream_monitor.errors import BrokerError, SettingsError

log = logging.getLogger(__name__)

CALL_S = 30.0
TELL_AGAIN_S = 10.0
ASK_AGAIN_S = 0.5
REFUSED_S = 2.0
"""For this many seconds, a refusal or a closed port counts as a broker that is just starting."""
SILENT_S = 3.0
"""After this many seconds without an answer the log names what the client waits for."""
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
"""Errors that waiting does not mend: a wrong password, a certificate that is not trusted."""

_ASIDES = re.compile(r"^\S+/bootstrap: | \(after \d+ms in state [^)]*\)")
"""Details that librdkafka adds for its developers."""

ENDED = "connections are ended without a word, as a listener with TLS does to a client without"
"""The reason that is reported when librdkafka has given no other one."""

T = TypeVar("T")


class Reasons:
    """The connection errors that librdkafka reported. The calls themselves only time out, with a wrong password too."""

    def __init__(self, aloud: bool = True) -> None:
        self._aloud = aloud
        """Whether an error is logged at once. It is not where a single message follows anyhow."""
        self._told: dict[str, float] = {}
        self._heard: tuple[float, str] = (0.0, "")
        self._refused: tuple[float, float, str] | None = None
        """When the refusals began, when the latest one came, and its text."""
        self._down: float | None = None
        """When all brokers were first found unreachable."""

    def record(self, error: KafkaError) -> None:
        """The `error_cb` of a client. It must not raise. librdkafka calls it again and again."""
        now, text = time.monotonic(), error.str()
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._down = now if self._down is None else self._down
            text = f"{text}: {ENDED}" if not self._heard[1] else text
        if error.code() != KafkaError._ALL_BROKERS_DOWN or not self._heard[1]:  # "all brokers down" names no reason
            self._heard = now, text
        if error.code() in REFUSALS:
            since = now if self._refused is None else self._refused[0]
            self._refused = since, now, text
        if self._aloud and now - self._told.get(error.name(), -TELL_AGAIN_S) >= TELL_AGAIN_S:
            self._told[error.name()] = now
            log.warning("kafka: %s", text, extra={"code": error.name()})

    @property
    def refused(self) -> bool:
        """Whether a broker keeps refusing us. A single refusal may come from a broker that is just starting."""
        return self._refused is not None and time.monotonic() - self._refused[0] >= REFUSED_S

    @property
    def refusal(self) -> bool:
        """Whether a broker has refused us."""
        return self._refused is not None

    @property
    def unreachable(self) -> bool:
        """Whether no broker could be reached for a while: no process listens there, or the name is unknown."""
        return self._down is not None and time.monotonic() - self._down >= REFUSED_S

    def of(self, error: KafkaException) -> str:
        """Why a call failed: its own message, and the latest connection error."""
        message: str = error.args[0].str()
        at, heard = self._refused[1:] if self._refused is not None else self._heard
        recent = heard and time.monotonic() - at < RECENT_S
        return f"{message} ({heard})" if recent and heard not in message else message

    def briefly(self, error: KafkaException) -> str:
        """The latest connection error, in place of the call's own message, which is only that it timed out."""
        heard = self._refused[2] if self._refused is not None else self._heard[1]
        return _ASIDES.sub("", heard or error.args[0].str()).rstrip("?.")


def common(settings: Settings, name: str, reasons: Reasons | None = None) -> dict[str, Any]:
    """The configuration that every client shares. Each client has its own id: equal ids can make the assignor loop."""
    return {
        "bootstrap.servers": settings.kafka.bootstrap_servers,
        "client.id": f"{settings.app}-{name}-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}",
        "error_cb": (reasons or Reasons()).record,
        "log_level": 0,
        **settings.kafka.client_options(),
    }


def made(client: Callable[[dict[str, Any]], T], config: dict[str, Any]) -> T:
    """A client. SettingsError when librdkafka rejects an option: the message names the option, not its value."""
    try:
        return client(config)
    except (KafkaException, TypeError, ValueError) as error:
        reason = error.args[0].str() if isinstance(error, KafkaException) else str(error)
        raise SettingsError(f"kafka.options: {reason}") from None


def admin(settings: Settings, reasons: Reasons | None = None) -> AdminClient:
    """An admin client."""
    return made(AdminClient, common(settings, "admin", reasons))


def connected(settings: Settings) -> AdminClient:
    """An admin client with a working connection to a broker.

    BrokerError gives the true reason: within 4 s where a broker refuses us, no process listens or the name is unknown.
    A broker that accepts the connection but does not answer may be busy: the client waits half a minute for it, and
    logs that it waits.
    """
    reasons = Reasons(aloud=False)
    client = admin(settings, reasons)
    started, reported = time.monotonic(), False
    where = settings.kafka.bootstrap_servers
    while True:
        try:
            client.list_topics(timeout=ASK_AGAIN_S)
            return client
        except KafkaException as error:
            client.poll(0)  # runs the callbacks that fill `reasons`
            spent = time.monotonic() - started
            if reasons.refused or reasons.unreachable or spent >= CALL_S:
                who = "refused by" if reasons.refusal else "no answer from"
                raise BrokerError(
                    f"{who} {where}: {reasons.briefly(error)}. Is it the right address "
                    "(kafka.bootstrap_servers), with the right TLS and SASL (kafka.options)?"
                ) from error
            if spent >= SILENT_S and not reported:
                reported = True
                log.warning(
                    "no answer from %s within %.0f s: waiting for it, up to %.0f s (is kafka.bootstrap_servers right?)",
                    where, SILENT_S, CALL_S,
                )  # fmt: skip


def arrived(consumer: Consumer, most: int, timeout_s: float) -> list[Message]:
    """At most `most` messages: those that are here. Waits for the first one only, up to the timeout.

    `Consumer.consume` waits for the whole timeout unless it gets as many as it was asked for. That is right for a
    stage, which wants large batches, and wrong for a reader that ends with the last message.
    """
    messages = consumer.consume(1, timeout_s)
    return messages + consumer.consume(most - 1, 0) if messages else messages
