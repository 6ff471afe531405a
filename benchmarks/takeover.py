"""A describe worker is killed while predictions wait: how long until the other one has joined labels to them.

`python -m benchmarks.takeover [--pending 1000000]`. Two workers of describe, one of judge, the broker's own time-outs
(a dead member is missed after 45 s), labels of a thousand predictions of the dead worker and the living one.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

from stream_monitor.config.settings import Settings, parse
from stream_monitor.kafka.local import LocalKafka
from stream_monitor.kafka.topic_reader import TopicReader
from stream_monitor.kafka.topics import ready
from stream_monitor.kafka.writer import EventWriter
from stream_monitor.service.run import start_workers, stop_workers

LABELS = 1_000
PATIENCE_S = 300.0


def lag(audit: TopicReader, role: str) -> int:
    """Records of a topic that describe has not committed."""
    parts = audit.partitions(role)
    spans, committed = audit.spans(parts), audit.committed("describe", parts)
    return sum(span.end - committed.get(part, span.first) for part, span in spans.items())


def seconds_until_read(audit: TopicReader, role: str) -> float:
    started = time.monotonic()
    while lag(audit, role):
        if time.monotonic() - started > PATIENCE_S:
            raise SystemExit(f"{role} was not read within {PATIENCE_S:.0f} s")
        time.sleep(0.1)
    return time.monotonic() - started


def takeover(rules: Settings, pending: int) -> dict[str, Any]:
    topology, feed, audit = ready(rules), EventWriter(rules), TopicReader(rules)
    describes = start_workers(rules, topology, ["describe"], 2)
    judges = start_workers(rules, topology, ["judge"], 1)
    try:
        for i in range(pending):
            event = {"id": f"{i}", "ts": int(time.time() * 1000), "features": {"x": i % 97}, "prediction": i % 2 == 0}
            feed.send("predictions", f"{i}", json.dumps(event).encode())
        feed.flush()
        seconds_until_read(audit, "predictions")
        dead = describes.pop()
        assert dead.process.pid is not None
        os.kill(dead.process.pid, signal.SIGKILL)
        killed = time.monotonic()
        for i in range(0, pending, max(1, pending // LABELS)):
            feed.send("labels", f"{i}", json.dumps({"id": f"{i}", "label": True}).encode())
        feed.flush()
        seconds_until_read(audit, "labels")
        return {"pending": pending, "takeover_s": round(time.monotonic() - killed, 1)}
    finally:
        stop_workers([*describes, *judges])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.takeover", description=__doc__)
    parser.add_argument("--pending", type=int, default=1_000_000, help="predictions that wait")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, LocalKafka(Path(folder)) as broker:
        kafka = {"bootstrap_servers": broker.bootstrap}
        rules = parse({"app": "takeover", "kafka": kafka, "http": {"enabled": False}, "topics": {"partitions": 4}})
        result = takeover(rules, options.pending)
    print(f"{result['pending']:,} waited; {result['takeover_s']} s from the kill to the last join")
    if options.json:
        options.json.write_text(json.dumps(result))


if __name__ == "__main__":
    main()
