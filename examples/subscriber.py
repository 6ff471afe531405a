"""Reads alerts from Kafka and prints them: `python examples/subscriber.py`, until Ctrl-C.

STREAM_MONITOR__KAFKA__BOOTSTRAP_SERVERS names the broker. The group remembers what was read. An alert's
(id, status, revision) is unique, so a program that acts on alerts can tell what it has acted on.
"""

from __future__ import annotations

import json
import os

from confluent_kafka import Consumer

SERVERS = os.environ.get("STREAM_MONITOR__KAFKA__BOOTSTRAP_SERVERS", "localhost:9092")
APP = os.environ.get("STREAM_MONITOR__APP", "stream-monitor")

consumer = Consumer(
    {
        "bootstrap.servers": SERVERS,
        "group.id": f"{APP}.example-subscriber",
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",  # an aborted transaction's records are not there
    }
)
consumer.subscribe([f"{APP}.alerts"])
try:
    while True:
        message = consumer.poll(1.0)
        if message is None:
            continue
        if (error := message.error()) is not None:
            raise SystemExit(error.str())
        alert = json.loads(message.value())
        print(f"{alert['severity']} {alert['status']}: {alert['reason']} [{alert['id'][:8]}]", flush=True)
except KeyboardInterrupt:
    consumer.close()
