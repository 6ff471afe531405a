"""The broker that the other tests lean on: it keeps Kafka's promises, and its data through a kill."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Consumer, IsolationLevel, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from stream_monitor.errors import BrokerError
from stream_monitor.kafka.local import LocalKafka

pytestmark = pytest.mark.kafka
CALL_S = 30.0


def new_topic(bootstrap: str) -> str:
    name = f"local-{uuid.uuid4().hex}"
    admin = AdminClient({"bootstrap.servers": bootstrap})  # named: its death would cancel the request
    admin.create_topics([NewTopic(name, 1, 1)])[name].result(CALL_S)
    return name


@contextmanager
def transaction(bootstrap: str) -> Iterator[Producer]:
    """An open transaction; the body ends it."""
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": uuid.uuid4().hex})
    producer.init_transactions(CALL_S)
    producer.begin_transaction()
    yield producer


def commit(bootstrap: str, topic: str, value: bytes) -> None:
    with transaction(bootstrap) as producer:
        producer.produce(topic, value)
        producer.commit_transaction(CALL_S)


def abort(bootstrap: str, topic: str, value: bytes) -> None:
    """Abort what the broker has already stored: the flush is what makes this a test."""
    with transaction(bootstrap) as producer:
        producer.produce(topic, value)
        assert producer.flush(CALL_S) == 0
        producer.abort_transaction(CALL_S)


def end_of(bootstrap: str, topic: str) -> int:
    """The end with all that is undecided or aborted."""
    partition = TopicPartition(topic, 0)
    admin = AdminClient({"bootstrap.servers": bootstrap})
    asked = admin.list_offsets({partition: OffsetSpec.latest()}, isolation_level=IsolationLevel.READ_UNCOMMITTED)
    return int(asked[partition].result(CALL_S).offset)


def values(bootstrap: str, topic: str, isolation: str = "read_committed") -> list[bytes]:
    """Everything that a reader of this isolation sees.

    The end of a partition fires in front of an undecided transaction too, and a transaction is undecided until its
    marker is written, a moment after the commit returned: so it counts only where nothing undecided follows.
    """
    config = {"bootstrap.servers": bootstrap, "group.id": "unused", "enable.partition.eof": True}
    consumer = Consumer(config | {"isolation.level": isolation, "enable.auto.commit": False})
    seen: list[bytes] = []
    with closing(consumer):
        consumer.assign([TopicPartition(topic, 0, 0)])
        end = end_of(bootstrap, topic)
        while (message := consumer.poll(CALL_S)) is not None:
            if (error := message.error()) is None:
                seen.append(message.value())
            elif error.code() != KafkaError._PARTITION_EOF:
                raise AssertionError(error)
            elif message.offset() >= end:
                return seen
    raise AssertionError(f"no end in {CALL_S} s after {seen}")


def test_a_committed_transaction_is_visible_to_a_reader_of_committed_records(kafka: str) -> None:
    topic = new_topic(kafka)
    commit(kafka, topic, b"kept")
    assert values(kafka, topic) == [b"kept"]


def test_an_aborted_record_is_invisible_to_a_reader_of_committed_records(kafka: str) -> None:
    topic = new_topic(kafka)
    abort(kafka, topic, b"dropped")
    commit(kafka, topic, b"kept")
    assert values(kafka, topic, "read_uncommitted") == [b"dropped", b"kept"]
    assert values(kafka, topic) == [b"kept"]


def test_data_survives_a_kill_and_a_start(tmp_path: Path, real_kafka: None) -> None:
    with LocalKafka(tmp_path) as broker:
        topic = new_topic(broker.bootstrap)
        commit(broker.bootstrap, topic, b"kept")
        # A commit returns before its marker is in the partition; reading it first makes the kill come after both.
        assert values(broker.bootstrap, topic) == [b"kept"]
        broker.kill()
        broker.start()
        assert values(broker.bootstrap, topic) == [b"kept"]


def test_a_frozen_broker_answers_again_after_the_thaw(tmp_path: Path, real_kafka: None) -> None:
    with LocalKafka(tmp_path) as broker:
        admin = AdminClient({"bootstrap.servers": broker.bootstrap, "socket.timeout.ms": 1_000})
        broker.freeze()
        with pytest.raises(Exception, match=r"_TRANSPORT|_TIMED_OUT"):
            admin.list_topics(timeout=1)
        broker.thaw()
        assert list(admin.list_topics(timeout=CALL_S).brokers) == [1]


def test_a_port_in_use_is_refused_rather_than_taken_for_our_broker(kafka: str, tmp_path: Path) -> None:
    port = int(kafka.rsplit(":", 1)[1])
    if not kafka.startswith("127.0.0.1:"):
        pytest.skip("the given Kafka is not on this machine")
    with pytest.raises(BrokerError, match=f"port {port} cannot be had"):
        LocalKafka(tmp_path, port).start()


def test_a_broker_that_cannot_start_tells_the_end_of_its_log(tmp_path: Path, real_kafka: None) -> None:
    broken = LocalKafka(tmp_path, properties={"num.io.threads": "none"})
    with pytest.raises(BrokerError, match=r"num\.io\.threads"):
        broken.start()
