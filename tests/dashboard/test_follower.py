"""What the follower makes of topics that are gone, shorter, or not told of."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stream_monitor.config.settings import Settings
from stream_monitor.errors import BrokerError
from stream_monitor.kafka.follower import Follower
from stream_monitor.kafka.mock_broker import MockBroker
from stream_monitor.stages.contract import Partition
from tests.dashboard import stories

STARTS = {"health": None, "alerts": None}


class Told(Follower):
    """Has the ends of partitions from here."""

    ends: dict[Partition, int]

    def _look(self) -> None:
        self._ends = dict(self.ends)
        self._begins = dict.fromkeys(self.ends, 0)


@pytest.fixture(scope="module")
def settings() -> Iterator[Settings]:
    with MockBroker() as broker:
        yield broker.reached_by(stories.settings())


def follower(settings: Settings, ends: dict[Partition, int], positions: dict[Partition, int]) -> Told:
    Told.ends = ends
    return Told(settings, ("health", "alerts"), positions, STARTS)


def test_a_topic_that_ends_before_what_was_read_was_made_anew(settings: Settings) -> None:
    with follower(settings, {("health", 0): 3, ("alerts", 0): 9}, {("health", 0): 7, ("alerts", 0): 7}) as found:
        assert found.made_anew == ["health"]


def test_a_topic_with_fewer_partitions_was_made_anew(settings: Settings) -> None:
    with follower(settings, {("health", 0): 9}, {("health", 0): 7, ("health", 1): 0}) as found:
        assert found.made_anew == ["health"]


def test_a_topic_that_a_broker_does_not_tell_of_is_not_forgotten(settings: Settings) -> None:
    """A broker that has just started, or one that refuses: what was read of the topic still holds."""
    with follower(settings, {("health", 0): 9}, {("health", 0): 7, ("alerts", 0): 7}) as found:
        assert found.made_anew == []


def test_a_topic_that_is_made_anew_while_it_is_read_is_told(settings: Settings) -> None:
    with follower(settings, {("health", 0): 9}, {("health", 0): 7}) as found:
        found.follow(("health",))
        Told.ends = {("health", 0): 2}
        with pytest.raises(BrokerError, match="made anew"):
            found.poll(10, 0.0)
