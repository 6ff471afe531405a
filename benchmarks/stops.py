"""How long an orderly stop takes under load: from SIGTERM to the end of the process, every stage in turn.

`python -m benchmarks.stops [--stops 100] [--busy 8] [--rate 3000] [--json FILE]`. Traffic goes on, and `--busy` loops
take the processors meanwhile. A worker that takes longer than `SHOWN_S` shows its stacks on stderr. Exits with 1 if
one took longer than `BOUND_S`, or did not end with 0.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import signal
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.soak import Producer
from stream_monitor.config.settings import Settings, parse
from stream_monitor.errors import BrokerError
from stream_monitor.kafka.local import LocalKafka
from stream_monitor.kafka.topic_reader import TopicReader
from stream_monitor.kafka.topics import ready
from stream_monitor.service.registry import stages_of
from stream_monitor.service.run import Worker, start_workers, stop_workers
from stream_monitor.stages.topology import Topology

BOUND_S = 15.0
SHOWN_S = 5.0
PATIENCE_S = 300.0
READS = {"describe": "predictions", "judge": "profiles"}


def rules_for(bootstrap: str) -> Settings:
    return parse({
        "app": "stops", "kafka": {"bootstrap_servers": bootstrap}, "http": {"enabled": False},
        "topics": {"partitions": 4}, "time": {"windows": ["10s"]}, "segments": [["country"]],
        "commit": {"snapshot_interval": "5s"},
        "join": {"label_horizon": "3m", "early_horizon": "1m", "grain": "1m", "revisions": ["0s", "1m"]},
    })  # fmt: skip


def spin() -> None:
    while True:
        pass


def produce(rules: Settings, rate: int) -> None:
    Producer(rules, rate).run()


def committed(audit: TopicReader, role: str) -> int:
    """Asked again where a busy broker does not tell: this measures workers."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return sum(audit.committed(role, audit.partitions(READS[role])).values())
        except BrokerError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def await_work(audit: TopicReader, role: str, worker: Worker) -> None:
    """Until the worker has committed something of its own."""
    before, deadline = committed(audit, role), time.monotonic() + PATIENCE_S
    while committed(audit, role) <= before:
        if time.monotonic() > deadline or not worker.process.is_alive():
            raise SystemExit(f"{role} commits nothing")
        time.sleep(0.1)


def seconds_to_stop(worker: Worker) -> float:
    process, started, shown = worker.process, time.monotonic(), False
    process.terminate()
    while process.is_alive():
        process.join(0.05)
        if time.monotonic() - started > SHOWN_S and not shown and process.pid is not None:
            shown = True
            os.kill(process.pid, signal.SIGUSR1)
    if process.exitcode != 0:
        raise SystemExit(f"{worker.role} ended with {process.exitcode}")
    return time.monotonic() - started


def measure(rules: Settings, topology: Topology, stops: int) -> dict[str, list[float]]:
    audit, rng = TopicReader(rules), random.Random(1)
    running = {worker.role: worker for worker in start_workers(rules, topology, stages_of(False), 1)}
    took: dict[str, list[float]] = {role: [] for role in stages_of(False)}
    try:
        for _ in range(stops):
            for role in stages_of(False):
                await_work(audit, role, running[role])
                time.sleep(rng.random() * 2)  # at any moment between two commits
                took[role].append(seconds_to_stop(running[role]))
                print(f"{time.time():.1f} {role}: {took[role][-1]:.1f} s", flush=True)
                (running[role],) = start_workers(rules, topology, [role], 1)
    finally:
        stop_workers(list(running.values()))
    return took


def told(role: str, took: Sequence[float]) -> str:
    ordered = sorted(took)
    median, ninth = statistics.median(ordered), ordered[min(len(ordered) - 1, int(0.9 * len(ordered)))]
    return f"{role}: {len(ordered)} stops, median {median:.1f} s, p90 {ninth:.1f} s, slowest {ordered[-1]:.1f} s"


def under_load(options: argparse.Namespace, bootstrap: str) -> dict[str, list[float]]:
    rules = rules_for(bootstrap)
    topology = ready(rules)
    context = multiprocessing.get_context("spawn")
    load = [context.Process(target=spin) for _ in range(options.busy)]
    load.append(context.Process(target=produce, args=(rules, options.rate)))
    for process in load:
        process.start()
    try:
        return measure(rules, topology, options.stops)
    finally:
        for process in load:
            process.kill()
            process.join()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stops", description=__doc__)
    parser.add_argument("--stops", type=int, default=100, help="of each stage")
    parser.add_argument("--busy", type=int, default=0, help="busy loops beside")
    parser.add_argument("--rate", type=int, default=3_000, help="predictions a second")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, LocalKafka(Path(folder)) as broker:
        took = under_load(options, broker.bootstrap)
    for role, seconds in took.items():
        print(told(role, seconds))
    if options.json:
        result: dict[str, Any] = {"busy": options.busy, "rate": options.rate, "seconds": took}
        options.json.write_text(json.dumps(result))
    if max(max(seconds) for seconds in took.values()) > BOUND_S:
        raise SystemExit(f"a stop took longer than {BOUND_S:.0f} s")


if __name__ == "__main__":
    main()
