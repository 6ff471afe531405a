"""A reader of output topics, as a subscriber reads them: committed records only, no group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition

from stream_monitor.config.settings import Settings
from stream_monitor.errors import BrokerError, TopicsError
from stream_monitor.kafka.client_config import CALL_S, arrived, common, connected, made


class Tail:
    """Reads some topics from their beginning."""

    def __init__(self, settings: Settings, roles: Sequence[str]) -> None:
        self._roles = {settings.topic(role): role for role in roles}
        connected(settings)  # gives the reason, where a consumer would only time out
        self._consumer = made(
            Consumer,
            common(settings, "tail")
            | {
                "group.id": f"{settings.app}.tail",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
            },
        )
        try:
            self._ends = self._find_ends()
            self._consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for topic, number in self._ends])
        except KafkaException as error:
            raise BrokerError(f"cannot read {', '.join(self._roles)}: {error.args[0].str()}") from error

    def _find_ends(self) -> dict[tuple[str, int], int]:
        ends = {}
        for topic in self._roles:
            known = self._consumer.list_topics(topic, CALL_S).topics[topic]
            if known.error is not None:
                raise TopicsError(f"{topic}: {known.error.str()}")
            for number in known.partitions:
                ends[topic, number] = self._consumer.get_watermark_offsets(TopicPartition(topic, number), CALL_S)[1]
        return ends

    def read(self, timeout_s: float) -> list[tuple[str, bytes]]:
        """(role, value) of the records that arrived."""
        messages = arrived(self._consumer, 500, timeout_s)
        return [(self._roles[m.topic()], m.value()) for m in messages if m.error() is None and m.value() is not None]

    def caught_up(self) -> bool:
        """Whether all records that existed at the start are read."""
        positions = self._consumer.position([TopicPartition(topic, number) for topic, number in self._ends])
        return all(max(tp.offset, 0) >= self._ends[tp.topic, tp.partition] for tp in positions)

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()

    def backlog(self) -> Iterator[bytes]:
        """Values up to where the topics ended at the start."""
        while not self.caught_up():
            yield from (value for _, value in self.read(0.5))

    def coming(self) -> Iterator[bytes]:
        """Values as they arrive, without end."""
        while True:
            yield from (value for _, value in self.read(0.5))


def tail(settings: Settings, role: str, follow: bool) -> Iterator[bytes]:
    """Values of a topic from its beginning. Without `follow` it ends where the topic ended at the start."""
    reader = Tail(settings, [role])
    try:
        yield from reader.backlog()
        if follow:
            yield from reader.coming()
    finally:
        reader.close()
