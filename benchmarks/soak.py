"""Hours of traffic at a steady rate: memory, file descriptors and threads of every worker must stay flat.

`python -m benchmarks.soak [--minutes 60] [--rate 2000] [--json FILE] [--plot FILE]`. Scaled: predictions wait three
minutes for labels, windows last ten seconds, so that every store fills and empties many times. Exits with 1 if a worker
grew by more than `GROWTH` in the last quarter, or if the windows do not add up to what was sent.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.plot import lines
from stream_monitor.config.settings import Settings, parse
from stream_monitor.kafka.local import LocalKafka
from stream_monitor.kafka.tail import Tail
from stream_monitor.kafka.topics import ready
from stream_monitor.kafka.writer import EventWriter
from stream_monitor.service.registry import stages_of
from stream_monitor.service.run import Worker, start_workers, stop_workers

SAMPLE_S = 10.0
GROWTH = 1.05
PROPERTIES = {"log.retention.bytes": "200000000", "log.segment.bytes": "50000000"}
"""The broker forgets, for the machine's disk has an end; the workers are what is measured."""


def rules_for(bootstrap: str) -> Settings:
    return parse({
        "app": "soak", "kafka": {"bootstrap_servers": bootstrap}, "http": {"enabled": False},
        "topics": {"partitions": 4}, "time": {"windows": ["10s"]}, "segments": [["country"]],
        "join": {"label_horizon": "3m", "early_horizon": "1m", "grain": "1m", "revisions": ["0s", "1m"]},
    })  # fmt: skip


class Producer(threading.Thread):
    """Predictions, a label for two of three, feedback for some, and a bad event now and then."""

    def __init__(self, rules: Settings, rate: int) -> None:
        super().__init__(daemon=True)
        self.feed, self.rate, self.sent, self.stopping = EventWriter(rules), rate, 0, threading.Event()

    def run(self) -> None:
        rng, started = random.Random(1), time.monotonic()
        while not self.stopping.is_set():
            self.stopping.wait(0.05)
            due = int((time.monotonic() - started) * self.rate)
            while self.sent < due:
                self._one(rng, f"e{self.sent}")
                self.sent += 1
        self.feed.flush()

    def _one(self, rng: random.Random, key: str) -> None:
        ts = int(time.time() * 1000)
        features = {"amount": rng.gauss(50, 9), "age": rng.randrange(90), "country": rng.choice(["DE", "FR", "IT"])}
        event = {
            "id": key,
            "model": f"m{rng.randrange(5)}",
            "ts": ts,
            "features": features,
            "prediction": rng.random() < 0.3,
        }
        self.feed.send("predictions", key, json.dumps(event).encode())
        if rng.random() < 0.66:
            label = {"id": key, "ts": ts + rng.randrange(1_000), "label": rng.random() < 0.3}
            self.feed.send("labels", key, json.dumps(label).encode())
        if rng.random() < 0.1:
            self.feed.send("feedback", key, json.dumps({"id": key, "ts": ts, "signals": {"click": 1}}).encode())
        if rng.random() < 0.001:
            self.feed.send("labels", key, b"{")


def sample(worker: Worker) -> dict[str, float]:
    """Resident memory in MB, open files and threads of a process, as Linux counts them."""
    at = Path(f"/proc/{worker.process.pid}")
    resident = next(line for line in (at / "status").read_text().splitlines() if line.startswith("VmRSS"))
    return {
        "rss_mb": int(resident.split()[1]) / 1024,
        "files": float(len(os.listdir(at / "fd"))),
        "threads": float(len(os.listdir(at / "task"))),
    }


class Windows:
    """What the metrics say was counted: the last record of each window of the segment `all`."""

    def __init__(self, rules: Settings) -> None:
        self.tail, self.counts = Tail(rules, ("metrics",)), dict[tuple[Any, ...], int]()

    def read(self) -> int:
        while records := self.tail.read(0.2):
            for _, value in records:
                metric = json.loads(value)
                if metric["kind"] == "traffic" and metric["segment"] == "all":
                    names = ("count", "duplicates", "late", "after_idle")
                    self.counts[metric["model"], metric["window_start"]] = sum(metric.get(name, 0) for name in names)
        return sum(self.counts.values())


def soak(bootstrap: str, minutes: float, rate: int) -> dict[str, Any]:
    rules = rules_for(bootstrap)
    workers = start_workers(rules, ready(rules), stages_of(False), 1)
    producer, windows = Producer(rules, rate), Windows(rules)
    series: dict[str, list[dict[str, float]]] = {worker.role: [] for worker in workers}
    producer.start()
    started = time.monotonic()
    while (spent := time.monotonic() - started) < minutes * 60:
        time.sleep(SAMPLE_S)
        windows.read()
        for worker in workers:
            series[worker.role].append({"minute": spent / 60} | sample(worker))
    producer.stopping.set()
    producer.join()
    deadline = time.monotonic() + 60
    while windows.read() < producer.sent and time.monotonic() < deadline:
        time.sleep(0.5)
    codes = stop_workers(workers)
    return {
        "sent": producer.sent, "counted": windows.read(), "exit_codes": codes, "series": series,
        "growth": {role: growth(rows) for role, rows in series.items()},
    }  # fmt: skip


def growth(rows: list[dict[str, float]]) -> dict[str, float]:
    """The mean of the last quarter over that of the quarter before it, by figure."""
    size = max(1, len(rows) // 4)

    def mean(part: list[dict[str, float]], name: str) -> float:
        return sum(row[name] for row in part) / len(part)

    return {
        name: mean(rows[-size:], name) / mean(rows[-2 * size : -size], name) for name in ("rss_mb", "files", "threads")
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=int, default=2_000, help="predictions a second")
    parser.add_argument("--json", type=Path, help="write the samples here")
    parser.add_argument("--plot", type=Path, help="draw them here (SVG)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, LocalKafka(Path(folder), properties=PROPERTIES) as broker:
        result = soak(broker.bootstrap, options.minutes, options.rate)
    if options.json:
        options.json.write_text(json.dumps(result))
    if options.plot:
        chosen = {f"{role}, {name}": [(r["minute"], r[name]) for r in rows] for role, rows in result["series"].items()
                  for name in ("rss_mb", "files", "threads")}  # fmt: skip
        options.plot.write_text(lines(chosen, "minutes", f"{options.rate:,} predictions a second"), encoding="utf-8")
    print(f"{result['sent']:,} sent, {result['counted']:,} counted")
    for role, found in result["growth"].items():
        print(
            f"{role}: " + ", ".join(f"{name} x {ratio:.3f}" for name, ratio in found.items()) + " in the last quarter"
        )
    flat = all(ratio <= GROWTH for found in result["growth"].values() for ratio in found.values())
    raise SystemExit(0 if flat and result["sent"] == result["counted"] and not any(result["exit_codes"]) else 1)


if __name__ == "__main__":
    main()
