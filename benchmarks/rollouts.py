"""`python -m benchmarks.rollouts`: what rollouts cost a judge, the same records with and without them, in turn.

Eight models of two versions send a pane a second, sixty requests of each version, so that each pane is a stratum of
each guard. A round judges the same records twice: once where no rollout was ever started, and once where each model has
one.
"""

from __future__ import annotations

import argparse
import random
import statistics

import numpy as np

from benchmarks.judge import START, JudgeRun
from stream_monitor.describe.aggregate.delta_writer import Batch, pack_deltas, pack_records
from stream_monitor.describe.aggregate.grouping import ACCEPTED
from stream_monitor.describe.decode.columns import Coded, Columns
from stream_monitor.profiles.bin_catalog import BinCatalog
from stream_monitor.profiles.measures import LATENCY, NULL_ANSWER
from stream_monitor.profiles.records import RolloutRecord, write_record

MODELS, EVENTS, NUMBERS = 8, 60, 8
GUARDS = {
    "a rate": f"{{measure: {NULL_ANSWER}, margin: 0.5pp}}",
    "a mean": "{measure: n0.mean, margin: 10%}",
    "a quantile": f"{{measure: {LATENCY}.p99, margin: 20%}}",
}


def deltas(rng: np.random.Generator, second: int, catalog: BinCatalog) -> list[bytes]:
    """A pane of a second of every model, half of it of each version."""
    count, packed = 2 * EVENTS, list[bytes]()
    pane = np.full(count, START + second * 1_000)
    for model in range(MODELS):
        name = f"model-{model}"
        columns = Columns(Coded.one(name, count), np.arange(count), Coded(np.arange(count) % 2, ["1", "2"]))
        columns.numeric = {f"n{i}": rng.normal(10, 3, count) for i in range(NUMBERS)}
        columns.numeric |= {LATENCY: rng.lognormal(4, 1, count), NULL_ANSWER: (rng.random(count) < 0.02).astype(float)}
        batch = Batch("input", columns, pane, np.full(count, ACCEPTED))
        packed += [raw for _, raw in pack_deltas(batch, lambda model: catalog.of(model, "input"))]
    return packed


def starts(guards: list[str]) -> list[bytes]:
    """The orders that start a rollout of each model."""
    found = []
    for model in range(MODELS):
        text = f"""
rollout: r
model: model-{model}
candidate: "2"
primary: "1"
steps: [{{weight: 50%, for: 1d}}]
guards: [{", ".join(guards)}]
"""
        found.append(write_record(RolloutRecord(f"model-{model}", "r", f"c{model}", "start", "bench", text=text)))
    return found


def seconds_of(guards: list[str], seconds: int, warm: int) -> float:
    """Seconds of judging after the warm-up, in which baselines are filled and rollouts have begun."""
    rng, run, spent = np.random.default_rng(1), JudgeRun({"baseline": {"first": 1_000}}), 0.0
    for second in range(seconds):
        records = pack_records(deltas(rng, second, run.catalog))
        if guards and second == warm // 2:
            records = [*starts(guards), *records]
        took = run.process(records, START + second * 1_000)
        spent += took if second >= warm else 0.0
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rollouts", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of each kind, in turn")
    parser.add_argument("--seconds", type=int, default=240, help="panes of each run")
    options = parser.parse_args()
    warm, choice = options.seconds // 3, random.Random(1)
    kinds: dict[str, list[str]] = {"no rollout": [], **{name: [guard] for name, guard in GUARDS.items()}}
    kinds["all three"] = list(GUARDS.values())
    spent: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(options.rounds):
        for name in choice.sample(list(kinds), len(kinds)):
            spent[name].append(seconds_of(kinds[name], options.seconds, warm))
    panes = MODELS * (options.seconds - warm)
    plain = statistics.median(spent["no rollout"])
    print(f"without a rollout: {1e6 * plain / panes:,.0f} µs a pane of a model (median of {options.rounds} runs)")
    for name, guards in kinds.items():
        if guards:
            extra = 1e6 * (statistics.median(spent[name]) - plain) / panes
            ratio = statistics.median(spent[name]) / plain
            print(f"guard on {name}: {extra:,.0f} µs a pane, {extra / len(guards):,.0f} a guard; x {ratio:.2f}")


if __name__ == "__main__":
    main()
