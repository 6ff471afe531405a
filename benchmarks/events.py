"""The events of the benchmarks: 20 features (15 numbers, 5 categories), about 585 bytes of JSON."""

from __future__ import annotations

import random
import time

import msgspec

PER_MS = 20


def make_events(count: int, models: int = 1, seed: int = 1) -> list[tuple[str, bytes]]:
    """(id, event) in order of event time, 20,000 a second of it."""
    rng = random.Random(seed)
    encode = msgspec.json.Encoder().encode
    start = int(time.time() * 1000) - count // PER_MS
    names = [f"feature_{i:02}" for i in range(15)]
    levels = {f"category_{i}": [f"level-{i}-{k:02}" for k in range(20)] for i in range(5)}
    events: list[tuple[str, bytes]] = []
    for i in range(count):
        features: dict[str, object] = {name: round(rng.gauss(10, 3), 6) for name in names}
        features |= {name: rng.choice(values) for name, values in levels.items()}
        id_ = f"{rng.getrandbits(64):016x}"
        event = {
            "id": id_,
            "model": f"model-{i % models}",
            "version": "1",
            "ts": start + i // PER_MS,
            "features": features,
            "prediction": rng.random() < 0.3,
            "probabilities": round(rng.random(), 4),
            "latency_ms": round(rng.expovariate(0.05), 2),
        }
        events.append((id_, encode(event)))
    return events
