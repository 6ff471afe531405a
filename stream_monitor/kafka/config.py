"""What all clients of Kafka have in common."""

from __future__ import annotations

import logging
import os
import socket
import time
import uuid
from typing import Any

from confluent_kafka import KafkaError
from confluent_kafka.admin import AdminClient

from stream_monitor.settings import Settings

log = logging.getLogger(__name__)

CALL_S = 30.0
TELL_AGAIN_S = 10.0
FETCH = {
    "fetch.wait.max.ms": 100,
    "fetch.queue.backoff.ms": 20,  # the default of a second stalls a partition whose queue was full
    "queued.min.messages": 20_000,
    "queued.max.messages.kbytes": 65_536,
}
PARTITIONER = {"murmur2": "murmur2_random", "crc32": "consistent_random"}
"""librdkafka's names for `topics.partitioner`."""


def common(settings: Settings, name: str) -> dict[str, Any]:
    """Configuration that every client shares; each has an id of its own, for equal ones can loop the assignor."""
    told: dict[str, float] = {}

    def on_error(error: KafkaError) -> None:
        # The true reason of "only time-outs" (a wrong password, say) comes here and nowhere else; over and over.
        now = time.monotonic()
        if now - told.get(error.name(), -TELL_AGAIN_S) >= TELL_AGAIN_S:
            told[error.name()] = now
            log.warning("kafka: %s", error.str(), extra={"code": error.name()})

    return {
        "bootstrap.servers": settings.kafka.bootstrap_servers,
        "client.id": f"{settings.app}-{name}-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}",
        "error_cb": on_error,
        "log_level": 0,
        **settings.kafka.options,
    }


def admin(settings: Settings) -> AdminClient:
    """An admin client."""
    return AdminClient(common(settings, "admin"))
