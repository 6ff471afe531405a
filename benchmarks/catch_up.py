"""A judge that catches up: predictions and labels lie on the topics already, the labels an hour ahead.

`python -m benchmarks.catch_up [--events 2000000] [--busy 8]`: two models of 50 measures, one worker a stage, a snapshot
each 5 s. Prints the largest resident memory of each worker, the bytes that it left on `profiles` and `state`, and the
events a second; exits with 1 where a window is missing or the judge needed more than `BOUND_MB`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from benchmarks.soak import Windows
from stream_monitor.config.settings import Settings, parse
from stream_monitor.kafka.local import LocalKafka
from stream_monitor.kafka.topic_reader import TopicReader
from stream_monitor.kafka.topics import ready
from stream_monitor.kafka.writer import EventWriter
from stream_monitor.service.registry import stages_of
from stream_monitor.service.run import Worker, start_workers, stop_workers

BOUND_MB = 600
MODELS, NUMBERS, CATEGORIES = 2, 40, 8
"""With prediction and latency 50 measures a model."""
HOUR = 3_600_000
RATE = 1_000
"""Events a second of event time."""
TEMPLATES = 2_000
"""Different events; ids, models and times are their own."""
PATIENCE_S = 1_800.0


def rules_for(bootstrap: str) -> Settings:
    return parse({
        "app": "catch-up", "kafka": {"bootstrap_servers": bootstrap}, "http": {"enabled": False},
        "topics": {"partitions": 4}, "commit": {"snapshot_interval": "5s"},
    })  # fmt: skip


def fill(rules: Settings, events: int) -> None:
    """Put all events on their topics before a worker starts."""
    rng, feed, first = random.Random(1), EventWriter(rules), int(time.time() * 1000) - events - HOUR - 60_000
    bodies = [
        orjson.dumps({
            "features": {f"n{i}": round(rng.gauss(50, 9), 3) for i in range(NUMBERS)}
            | {f"c{i}": rng.choice(["DE", "FR", "IT"]) for i in range(CATEGORIES)},
            "latency_ms": round(rng.expovariate(0.1), 2),
        })[1:]
        for _ in range(TEMPLATES)
    ]  # fmt: skip
    for at in range(events):
        ts = first + at * 1_000 // RATE
        head = f'{{"id":"e{at}","model":"m{at % MODELS}","ts":{ts},"prediction":{str(at % 3 == 0).lower()},'
        feed.send("predictions", f"e{at}", head.encode() + bodies[at % TEMPLATES])
        feed.send("labels", f"e{at}", f'{{"id":"e{at}","ts":{ts + HOUR},"label":{str(at % 5 == 0).lower()}}}'.encode())
    feed.flush()


def peak_mb(worker: Worker) -> float:
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def bytes_of(folder: Path, topic: str) -> int:
    """What a topic takes on the broker's disk."""
    return sum(file.stat().st_size for file in folder.glob(f"data/{topic}-*/*.log"))


def _spin() -> None:
    while True:
        pass


@contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that do nothing but take the cores."""
    loops = [multiprocessing.get_context("spawn").Process(target=_spin, daemon=True) for _ in range(count)]
    for loop in loops:
        loop.start()
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()


def read_all(rules: Settings) -> bool:
    """Whether describe has read all labels, and the judge all profiles but the latest."""
    audit = TopicReader(rules)
    labels, profiles = audit.partitions("labels"), audit.partitions("profiles")
    unread = [span.end - audit.committed("describe", labels).get(p, 0) for p, span in audit.spans(labels).items()]
    waiting = [span.end - audit.committed("judge", profiles).get(p, 0) for p, span in audit.spans(profiles).items()]
    return not any(unread) and max(waiting) < 100


def catch_up(folder: Path, events: int, loops: int) -> dict[str, Any]:
    with LocalKafka(folder) as broker:
        rules = rules_for(broker.bootstrap)
        topology = ready(rules)
        started = time.monotonic()
        fill(rules, events)
        print(f"filled in {time.monotonic() - started:.0f} s", flush=True)
        with busy(loops):
            started = time.monotonic()
            workers = start_workers(rules, topology, stages_of(False), 1)
            windows, peaks, counted = Windows(rules), dict[str, float](), 0
            try:
                while not (counted >= events and read_all(rules)) and time.monotonic() - started < PATIENCE_S:
                    counted = windows.read()
                    for worker in workers:
                        if not worker.process.is_alive():
                            raise SystemExit(f"{worker.role} ended with {worker.process.exitcode}")
                        peaks[worker.role] = peak_mb(worker)
                spent = time.monotonic() - started
            finally:
                codes = stop_workers(workers)
        sizes = {role: bytes_of(folder, rules.topic(role)) / 1e6 for role in ("predictions", "profiles", "state")}
        return {
            "events": events, "busy": loops, "counted": counted, "seconds": spent, "peaks_mb": peaks,
            "topics_mb": sizes, "exit_codes": codes,
        }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.catch_up", description=__doc__)
    parser.add_argument("--events", type=int, default=200_000, help="predictions, each with a label")
    parser.add_argument("--busy", type=int, default=0, help="busy loops beside the workers")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = catch_up(Path(folder), options.events, options.busy)
    if options.json:
        options.json.write_text(orjson.dumps(result).decode())
    peaks = ", ".join(f"{role} {peak:,.0f} MB" for role, peak in result["peaks_mb"].items())
    sizes = ", ".join(f"{role} {size:,.1f} MB" for role, size in result["topics_mb"].items())
    told = f"{result['counted']:,} of {options.events:,} events in {result['seconds']:.0f} s"
    print(f"{told} beside {options.busy} busy loops")
    print(f"largest resident memory: {peaks}; on disk: {sizes}; exit codes {result['exit_codes']}")
    fine = result["counted"] >= options.events and result["peaks_mb"]["judge"] <= BOUND_MB
    raise SystemExit(0 if fine and not any(result["exit_codes"]) else 1)


if __name__ == "__main__":
    main()
