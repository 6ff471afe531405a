"""Producing events as a user would, for the demo."""

from __future__ import annotations

from confluent_kafka import Producer

from stream_monitor.kafka.clients import PARTITIONER, common, made
from stream_monitor.settings import Settings


class Feed:
    """A plain producer of input events."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        config = {"partitioner": PARTITIONER[settings.topics.partitioner], "linger.ms": 5}
        self._producer = made(Producer, common(settings, "feed") | config)

    def send(self, role: str, key: str, value: bytes) -> None:
        """Queue an event; waits when the queue is full."""
        while True:
            try:
                self._producer.produce(self.settings.topic(role), value, key)
                return
            except BufferError:
                self._producer.poll(0.1)

    def flush(self) -> None:
        """Wait until all is with the broker."""
        self._producer.flush()
