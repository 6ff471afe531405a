"""CloudEvents on a real Apache Kafka: headers reach describe through the rekey stage, and every event is counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.failures.fleet import Traffic, fleet_of, settings_for, settle
from tests.formats.test_cloudevents import BINARY, STRUCTURED, envelope

pytestmark = pytest.mark.kafka


class CloudTraffic(Traffic):
    """The same traffic in binary and structured mode by turns."""

    def _send(self, role: str, key: str, event: Any) -> None:
        raw = event if isinstance(event, bytes) else json.dumps(event).encode()
        value, headers = (raw, BINARY) if self.sent % 2 else (envelope(raw), STRUCTURED)
        self.feed.send(role, f"{self.sent}" if role != "predictions" else key, value, headers)
        self.sent += 1


def test_cloudevents_are_rekeyed_joined_and_counted_exactly(kafka: str, tmp_path: Path) -> None:
    formats = dict.fromkeys(("predictions", "labels", "feedback"), "cloudevents")
    rules = settings_for(kafka, topics={"partitions": 4, "formats": formats}, join={"rekey": True})
    with fleet_of(rules, tmp_path) as fleet:
        traffic = CloudTraffic(rules, 61)
        traffic.send(300)
        report = settle(fleet, traffic)
    assert report.events["labels"] > 100
