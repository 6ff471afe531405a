"""The broker goes away: killed, stopped in order, frozen, not there at the start or at the stop (failure test 8)."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from stream_monitor.kafka.local import LocalKafka
from tests.failures.fleet import Fleet, Traffic, fleet_of, settings_for, settle
from tests.failures.worker import Fault

pytestmark = pytest.mark.kafka
ROLES = ("describe", "judge")


LONG = [pytest.param(blow, marks=pytest.mark.long) for blow in ("kill", "stop")]


@pytest.mark.parametrize("blow", ["freeze", *LONG])
def test_a_broker_that_comes_back(broker: LocalKafka, fleet: Fleet, blow: str) -> None:
    """Workers wait for it or end loudly, and then a supervisor starts them; either way nothing is lost or doubled.

    A killed broker can call a transaction ended and never write its marker: the worker with that id ends it.
    """
    traffic = Traffic(fleet.rules, 31)
    fleet.heal()
    traffic.send(1_000)
    settle(fleet, traffic)
    traffic.send(1_000)  # while these are being counted
    getattr(broker, blow)()
    time.sleep(1)  # how long it is away
    broker.thaw() if blow == "freeze" else broker.start()
    traffic.send(1_000)
    settle(fleet, traffic)


def test_a_worker_whose_broker_hangs_ends_with_its_reason(broker: LocalKafka, fleet: Fleet) -> None:
    """An error ends the worker while the broker does not answer: the log has the reason before the worker leaves."""
    traffic = Traffic(fleet.rules, 33)
    worker = fleet.start("describe", Fault(broken="process", frozen=broker.pid or 0))
    traffic.send(200)
    try:
        assert worker.ended() == 1
        assert "the fault of this test" in worker.said(), worker.said()
        assert worker.said().index("the fault of this test") < worker.said().index("gave up"), worker.said()
    finally:
        broker.thaw()
    fleet.heal()
    settle(fleet, traffic)


@pytest.mark.long
@pytest.mark.parametrize("role", ROLES)
def test_no_broker_at_the_start_is_said(tmp_path: Path, broker: LocalKafka, role: str) -> None:
    with fleet_of(settings_for(broker.bootstrap), tmp_path) as fleet:
        fleet.rules = fleet.rules.model_copy(
            update={"kafka": fleet.rules.kafka.model_copy(update={"bootstrap_servers": "127.0.0.1:1"})}
        )
        worker = fleet.start(role)
        assert worker.ended() == 1
        assert "127.0.0.1:1" in worker.said()


@pytest.mark.long
def test_a_worker_that_stops_while_the_broker_is_away_ends(broker: LocalKafka, fleet: Fleet) -> None:
    traffic = Traffic(fleet.rules, 32)
    fleet.heal()
    traffic.send(500)
    settle(fleet, traffic)
    broker.freeze()
    try:
        for role in ROLES:
            for worker in fleet.running(role):
                worker.signal(signal.SIGTERM)
                worker.ended()
    finally:
        broker.thaw()
    traffic.send(500)
    settle(fleet, traffic)
