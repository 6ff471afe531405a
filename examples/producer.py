"""Sends predictions and labels of a model to Kafka: `python examples/producer.py [SECONDS] [RATE]`.

After two fifths of the time the amounts are three times as large. STREAM_MONITOR__KAFKA__BOOTSTRAP_SERVERS names the
broker.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time

from confluent_kafka import Producer

SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 300.0
RATE = int(sys.argv[2]) if len(sys.argv) > 2 else 200
SERVERS = os.environ.get("STREAM_MONITOR__KAFKA__BOOTSTRAP_SERVERS", "localhost:9092")
APP = os.environ.get("STREAM_MONITOR__APP", "stream-monitor")

producer = Producer({"bootstrap.servers": SERVERS, "partitioner": "murmur2_random", "linger.ms": 50})
rng, started = random.Random(1), time.monotonic()
for i in range(int(SECONDS * RATE)):
    drifted = i > 0.4 * SECONDS * RATE
    fraud = rng.random() < 0.1
    event = {
        "id": f"{os.getpid()}-{i}",
        "model": "fraud",
        "version": "7",
        "ts": int(time.time() * 1000),
        "features": {
            "amount": rng.expovariate(1 / 40) * (3 if drifted else 1),
            "country": rng.choice(["DE", "FR", "IT"]),
        },
        "prediction": fraud,
        "probabilities": rng.betavariate(5, 2) if fraud else rng.betavariate(1, 8),
        "latency_ms": rng.gammavariate(4, 3),
    }
    label = {"id": event["id"], "label": fraud if rng.random() < 0.95 else not fraud}
    producer.produce(f"{APP}.predictions", json.dumps(event), key=event["id"])
    producer.produce(f"{APP}.labels", json.dumps(label), key=event["id"])
    producer.poll(0)  # a longer poll returns with each delivery report
    time.sleep(max(0.0, started + i / RATE - time.monotonic()))
producer.flush()
