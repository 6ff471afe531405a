"""librdkafka's mock cluster as an embedded broker: for the demo and for `run --embedded`.

Any client of this machine can connect while it runs. It keeps 5 MiB a partition, exposes aborted records and stores no
transactional offsets. It is good for a first look, not for anything that must be right.
"""

from __future__ import annotations

from confluent_kafka import Producer

from stream_monitor.config.settings import ROLES_IN, ROLES_INTERNAL, ROLES_OUT, Settings
from stream_monitor.stages.topology import Topology

CALL_S = 10.0


class MockBroker:
    """Runs as long as this object exists; a context manager."""

    def __init__(self) -> None:
        self._owner = Producer({"bootstrap.servers": "embedded", "test.mock.num.brokers": 1, "log_level": 0})
        broker = next(iter(self._owner.list_topics(timeout=CALL_S).brokers.values()))
        self.bootstrap = f"{broker.host}:{broker.port}"

    def reached_by(self, settings: Settings) -> Settings:
        """The same settings, with the address of this broker."""
        kafka = settings.kafka.model_copy(update={"bootstrap_servers": self.bootstrap, "options": {}})
        return settings.model_copy(update={"kafka": kafka})

    def topology(self, settings: Settings) -> Topology:
        """The partition counts: topics are created on first use, all with the same count."""
        counts = {}
        for role in (*ROLES_IN, *ROLES_INTERNAL, *ROLES_OUT, "decisions"):
            topic = settings.topic(role)
            counts[role] = len(self._owner.list_topics(topic, CALL_S).topics[topic].partitions)
        return Topology(counts["predictions"], counts["observations"], counts["profiles"])

    def __enter__(self) -> MockBroker:
        return self

    def __exit__(self, *_: object) -> None:
        self._owner.flush(0)
