from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_monitor.kafka.local import LocalKafka
from tests.broker_folder import broker_folder
from tests.failures.fleet import Fleet, fleet_of, settings_for

QUICK_GROUPS = {
    "group.consumer.session.timeout.ms": "3000",
    "group.consumer.min.session.timeout.ms": "3000",
    "group.consumer.heartbeat.interval.ms": "500",
    "group.consumer.min.heartbeat.interval.ms": "500",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
}
"""A dead worker is missed after three seconds, not after a quarter to a full minute."""


@pytest.fixture(scope="session")
def broker(real_kafka: None) -> Iterator[LocalKafka]:
    """A broker of the suite's own: it is killed, frozen and restarted."""
    with broker_folder() as folder, LocalKafka(folder, properties=QUICK_GROUPS) as broker:
        yield broker


@pytest.fixture
def fleet(broker: LocalKafka, tmp_path: Path) -> Iterator[Fleet]:
    with fleet_of(settings_for(broker.bootstrap), tmp_path) as fleet:
        yield fleet


@pytest.fixture
def seeds(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--seeds"))


@pytest.fixture
def first_seed(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--first-seed"))
