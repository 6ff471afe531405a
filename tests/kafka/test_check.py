"""`check` looks at the latest events of the topics."""

from __future__ import annotations

import json
import uuid

import pytest

from stream_monitor.config.settings import parse
from stream_monitor.kafka.topics import create
from stream_monitor.kafka.writer import EventWriter
from stream_monitor.service.check import check

pytestmark = pytest.mark.kafka


def test_rankings_and_limits_on_what_never_comes_are_notes_and_no_problems(kafka: str) -> None:
    settings = parse(
        {
            "app": f"t{uuid.uuid4().hex[:10]}",
            "kafka": {"bootstrap_servers": kafka},
            "detection": {"limits": ["ammount.mean > 3", "signal.clicks.mean > 1", "amount.p99 > 5"]},
        }
    )
    create(settings)
    feed = EventWriter(settings)
    for at in range(200):
        event = {"id": f"e{at}", "ts": 1, "features": {"amount": 1}, "prediction": ["a", "b"]}
        feed.send("predictions", f"e{at}", json.dumps(event).encode())
    feed.send("feedback", "e1", b'{"id":"e1","signals":{"clicks":1}}')
    feed.flush()
    _, problems, notes = check(settings)
    assert problems == []
    ranking, limit = notes
    assert ranking.startswith("200 of the latest predictions of model default are arrays")
    assert "'ammount.mean > 3' watches 'ammount'" in limit and "did you mean 'amount'?" in limit
