from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from stream_monitor.errors import BrokerError
from stream_monitor.kafka.local import LocalKafka


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap address of a real Apache Kafka: a given one, or one that the suite starts."""
    given = os.environ.get("STREAM_MONITOR_TEST_BOOTSTRAP")
    if given:
        yield given
        return
    broker = LocalKafka(tmp_path_factory.mktemp("kafka"))
    try:
        broker.start()
    except BrokerError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"NO APACHE KAFKA, so nothing about Kafka is tested: {error}")
    yield broker.bootstrap
    broker.kill()
