"""Writers without transactions: of events, as a user's program writes them, and of a few records that must arrive."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from stream_monitor.config.settings import Settings
from stream_monitor.errors import BrokerError
from stream_monitor.kafka.client_config import CALL_S, PARTITIONER, common, made
from stream_monitor.stages.contract import Headers


class EventWriter:
    """A plain producer of input events."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        config = {"partitioner": PARTITIONER[settings.topics.partitioner], "linger.ms": 5}
        self._producer = made(Producer, common(settings, "events") | config)

    def send(self, role: str, key: str, value: bytes, headers: Headers = ()) -> None:
        """Queue an event; waits while the queue is full."""
        while True:
            try:
                self._producer.produce(self.settings.topic(role), value, key, headers=list(headers))
                return
            except BufferError:
                self._producer.poll(0.1)

    def flush(self) -> None:
        """Wait until the broker has all events."""
        self._producer.flush()


class KeyedWriter:
    """Writes one record after the other, each of which must arrive. It keeps its connection between them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        config = {"enable.idempotence": True, "partitioner": PARTITIONER["murmur2"]}
        self._producer = made(Producer, common(settings, "writer") | config)

    def write(self, role: str, key: bytes, value: bytes | None) -> None:
        """Write a record and wait until the broker has it; None deletes the key. BrokerError when it did not arrive."""
        failed: list[KafkaError] = []

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                failed.append(error)

        topic = self.settings.topic(role)
        try:
            self._producer.produce(topic, value, key, on_delivery=delivered)
            unsent = self._producer.flush(CALL_S)
        except KafkaException as error:
            raise BrokerError(f"cannot write to {topic}: {error.args[0].str()}") from error
        if failed or unsent:
            reason = failed[0].str() if failed else f"no answer within {CALL_S:.0f} s"
            raise BrokerError(f"{topic} did not take the record: {reason}. `topics create` makes the topic")


def write_keyed(settings: Settings, role: str, key: bytes, value: bytes | None) -> None:
    """Write one record and wait until the broker has it; None deletes the key. BrokerError when it did not arrive."""
    KeyedWriter(settings).write(role, key, value)


def write_records(settings: Settings, role: str, records: Sequence[tuple[int, bytes]], name: str, failure: str) -> None:
    """Write (partition, value) records to a topic and wait until the broker has acknowledged each of them.

    The text of a BrokerError begins with `failure` or with the number of unacknowledged records. It asks the person to
    repeat `name`.
    """
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            failed.append(error)

    producer = made(Producer, common(settings, name) | {"enable.idempotence": True, "compression.type": "zstd"})
    try:
        for partition, value in records:
            producer.produce(settings.topic(role), value, partition=partition, on_delivery=delivered)
        unsent = producer.flush(CALL_S)
    except KafkaException as error:
        raise BrokerError(f"{failure}: {error.args[0].str()}") from error
    if failed or unsent:
        reason = failed[0].str() if failed else f"no answer within {CALL_S:.0f} s"
        raise BrokerError(
            f"{len(failed) + unsent} of {len(records)} records were not acknowledged: {reason}; {name} again"
        )
