"""The judge alone: deltas of 50 models with 20 measures each, a record a second, baselines in force."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from stream_monitor.app import tune_collector
from stream_monitor.describe.cells import ACCEPTED
from stream_monitor.describe.columns import Coded, Columns
from stream_monitor.describe.deltas import Batch, pack_deltas, pack_records
from stream_monitor.describe.knowledge import Knowledge
from stream_monitor.describe.records import PartitionTime, WatermarkRecord, write
from stream_monitor.judge.stage import Judge
from stream_monitor.replay import Line
from stream_monitor.settings import parse
from stream_monitor.stages import Position

MODELS, NUMBERS, CATEGORIES, EVENTS = 50, 15, 5, 40
START = 1_700_000_000_000


def deltas(rng: np.random.Generator, second: int, knowledge: Knowledge) -> list[bytes]:
    """One pane of a second of every model."""
    packed: list[bytes] = []
    for model in range(MODELS):
        name = f"model-{model}"
        columns = Columns(Coded.one(name, EVENTS), np.arange(EVENTS), Coded.one("1", EVENTS))
        columns.numeric = {f"n{i}": rng.normal(10, 3, EVENTS) for i in range(NUMBERS)}
        levels = [f"level-{k}" for k in range(20)]
        columns.categorical = {f"c{i}": Coded(rng.integers(0, 20, EVENTS), levels) for i in range(CATEGORIES)}
        pane = np.full(EVENTS, START + second * 1_000)
        batch = Batch("input", columns, pane, np.full(EVENTS, ACCEPTED))
        packed += [raw for _, raw in pack_deltas(batch, lambda model: knowledge.of(model, "input"))]
    return packed


def measure_panes_per_s(seconds: int = 180, warm: int = 60, sequential: Sequence[str] = ()) -> float:
    """Measure-panes a second of judging, decoding of records and metrics included; the warm-up fills the baselines.

    `sequential` are detectors of the inputs.
    """
    tune_collector()  # as a worker does
    rng = np.random.default_rng(1)
    rules = parse({"baseline": {"first": 1_000}, "detection": {"input": sequential}})
    judge, knowledge = Judge(rules, 1), Knowledge()
    judge.assign({("profiles", 0): Position(0, "")}, {})
    offset = 0

    def step(values: list[bytes]) -> None:
        nonlocal offset
        judge.step("profiles", [Line(value, offset + i, START) for i, value in enumerate(values)])
        offset += len(values)
        again = []
        for output in judge.flush({}):
            if output.role == "baselines":
                knowledge.learn(output.value)
            elif output.role == "profiles":
                again.append(output.value)
        judge.committed()
        if again:
            step(again)

    spent = 0.0
    for second in range(seconds):
        records = pack_records(deltas(rng, second, knowledge))
        watermark = START + second * 1_000
        records.append(write(WatermarkRecord(1, [PartitionTime(0, *[watermark] * 4, False, False)])))
        started = time.perf_counter()
        step(records)
        if second >= warm:
            spent += time.perf_counter() - started
    return (seconds - warm) * MODELS * (NUMBERS + CATEGORIES) / spent
