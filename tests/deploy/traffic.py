"""An app of its own on a real Kafka, and events in which something drifts."""

from __future__ import annotations

import json
import random
import time
import uuid
from typing import Any

from stream_monitor.config.settings import Settings, parse
from stream_monitor.kafka.writer import EventWriter

COUNT = 6_000


def settings_for(kafka: str, **sections: Any) -> Settings:
    """Short windows, and a baseline of few values."""
    quick: dict[str, Any] = {
        "app": f"d{uuid.uuid4().hex[:8]}",
        "kafka": {"bootstrap_servers": kafka},
        "time": {"pane": "1s", "windows": ["10s"], "allowed_lateness": "2s", "max_skew": "1s", "idle_after": "1s"},
        "baseline": {"first": 500},
        "commit": {"interval": "200ms"},
    }
    return parse(quick | sections)


def drifting(settings: Settings) -> None:
    """Twenty minutes of a model in event time; in the second half one feature doubles."""
    rng, now = random.Random(1), int(time.time() * 1_000)
    producer = EventWriter(settings)
    for i in range(COUNT):
        amount = rng.gauss(10, 1) * (2 if i > COUNT / 2 else 1)
        ts = now - (COUNT - i) * 200
        event = {"id": f"e{i}", "model": "m", "ts": ts, "features": {"amount": amount, "country": "DE"}}
        producer.send("predictions", f"e{i}", json.dumps(event | {"prediction": i % 2 == 0}).encode())
        producer.send("labels", f"e{i}", json.dumps({"id": f"e{i}", "ts": ts, "label": i % 2 == 0}).encode())
    producer.flush()


def odd(settings: Settings) -> None:
    """After `drifting`: a record that is no JSON, one whose id came before, and one that is half an hour late."""
    producer, now = EventWriter(settings), int(time.time() * 1_000)
    producer.send("predictions", "broken", b"{")
    for name, ts in (("e5", now - COUNT * 200 + 1_000), ("late", now - 1_800_000)):
        event = {"id": name, "model": "m", "ts": ts, "features": {"amount": 10.0}, "prediction": True}
        producer.send("predictions", name, json.dumps(event).encode())
    producer.flush()
