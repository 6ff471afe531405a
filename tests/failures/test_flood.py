"""A producer that sends nothing but rubbish: a worker that shall stop at it stops loudly, and loses nothing."""

from __future__ import annotations

import pytest

from stream_monitor.config.settings import parse
from tests.failures.fleet import Fleet, Traffic, settle
from tests.failures.test_topics import refuses

pytestmark = pytest.mark.kafka
RULES = {"limit": 0.05, "burst": 20}


def test_a_flood_stops_the_worker_until_a_person_decides(fleet: Fleet) -> None:
    plain = fleet.rules
    strict = parse({"dead_letters": RULES | {"above": "stop"}}).dead_letters
    fleet.rules = plain.model_copy(update={"dead_letters": strict})
    traffic = Traffic(fleet.rules, 41)
    traffic.send(200)
    for _ in range(500):
        traffic._send("labels", "the same partition", b"{")
    traffic.send(200)
    for _ in range(2):
        refuses(fleet, "describe", "too many events cannot be counted")
    fleet.rules = plain.model_copy(update={"dead_letters": parse({"dead_letters": RULES}).dead_letters})
    report = settle(fleet, traffic)
    assert report.events["labels"] > 500
