"""`make bench`: describe beside its peers, one process each, on a real Apache Kafka; judge and memory in process.

Each contender consumes the same topic with the same consume size, in turn, several rounds; medians of rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any

from benchmarks.events import make_events
from stream_monitor.config.settings import parse
from stream_monitor.kafka.local import LocalKafka
from stream_monitor.kafka.topics import ready
from stream_monitor.kafka.writer import EventWriter

QUIX_PYTHON = ".venv-quix/bin/python"
CONTENDERS = ("describe", "orjson", "river", "quix")


def run_one(name: str, bootstrap: str, app: str, count: int) -> dict[str, Any]:
    """One contender in a process of its own; what it prints is JSON."""
    ours = [sys.executable, "-W", "ignore", "-m", "benchmarks.contenders", name, bootstrap, app, str(count)]
    quix = [QUIX_PYTHON, "-W", "ignore", "-m", "benchmarks.quix", bootstrap, f"{app}.predictions", str(count)]
    command = quix if name == "quix" else ours
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": "."})
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-3_000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def fill(bootstrap: str, app: str, count: int, models: int) -> None:
    rules = parse({"app": app, "kafka": {"bootstrap_servers": bootstrap}, "topics": {"partitions": 4}})
    ready(rules)
    feed = EventWriter(rules)
    for key, value in make_events(count, models):
        feed.send("predictions", key, value)
    feed.flush()


def measure(bootstrap: str, count: int, rounds: int, peers: int) -> dict[str, Any]:
    apps = {models: f"bench{models}-{uuid.uuid4().hex[:6]}" for models in (1, 200)}
    for models, app in apps.items():
        fill(bootstrap, app, count, models)
    rates: dict[str, list[float]] = {}
    memory: dict[str, float] = {}
    for _ in range(rounds):
        for name in CONTENDERS:
            # The slow peers read fewer events: their rate does not depend on how many.
            result = run_one(name, bootstrap, apps[1], count if name in ("describe", "orjson") else peers)
            rates.setdefault(name, []).append(result["events_per_s"])
            memory[name] = max(memory.get(name, 0.0), result["rss_mb"])
        result = run_one("describe", bootstrap, apps[200], count)
        rates.setdefault("describe_200", []).append(result["events_per_s"])
        memory["describe_200"] = result["rss_mb"]
        result = run_one("judge", bootstrap, apps[1], 0)
        rates.setdefault("judge", []).append(result["measure_panes_per_s"])
        rates.setdefault("judge_again", []).append(result["again_per_s"])
        memory["judge"] = result["rss_mb"]
    medians = {name: statistics.median(values) for name, values in rates.items()}
    return {
        "describe": {
            "events_per_s": round(medians["describe"]),
            "vs_orjson": round(medians["describe"] / medians["orjson"], 3),
            "vs_river": round(medians["describe"] / medians["river"], 2),
            "vs_quix": round(medians["describe"] / medians["quix"], 2),
        },
        "peers_events_per_s": {name: round(medians[name]) for name in ("orjson", "river", "quix")},
        "models_200_vs_1": round(medians["describe"] / medians["describe_200"], 3),
        "judge": {
            "measure_panes_per_s": round(medians["judge"]),
            "two_models_again_per_s": round(medians["judge_again"]),
        },
        "rss_mb": {name: round(value) for name, value in memory.items()},
        "rounds": {name: [round(value) for value in values] for name, values in rates.items()},
    }


def show(result: dict[str, Any]) -> None:
    describe, peers = result["describe"], result["peers_events_per_s"]
    print(f"\n{'':28}{'events/s':>12}{'describe is':>14}{'RSS MB':>9}")
    print(f"{'stream_monitor describe':28}{describe['events_per_s']:>12,}{'':>14}{result['rss_mb']['describe']:>9}")
    for name, label in (
        ("orjson", "consume + orjson.loads"),
        ("river", "client + River detectors"),
        ("quix", "Quix Streams + River"),
    ):
        ratio = f"{describe[f'vs_{name}']} x"
        print(f"{label:28}{peers[name]:>12,}{ratio:>14}{result['rss_mb'][name]:>9}")
    print(f"\ncost per event at 200 models / at 1 model: {result['models_200_vs_1']}")
    judge = result["judge"]
    print(f"judge: {judge['measure_panes_per_s']:,} measure-panes/s of 50 models", end="")
    print(f", {judge['two_models_again_per_s']:,} of two that are judged again")


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--events", type=int, default=600_000, help="events in each topic")
    parser.add_argument("--peer-events", type=int, default=60_000, help="events that River and Quix read")
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds; medians are printed")
    parser.add_argument("--bootstrap", help="an Apache Kafka that runs already; default: one is started")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    if options.bootstrap:
        result = measure(options.bootstrap, options.events, options.rounds, options.peer_events)
    else:
        with tempfile.TemporaryDirectory() as folder, LocalKafka(Path(folder)) as broker:
            result = measure(broker.bootstrap, options.events, options.rounds, options.peer_events)
    show(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
