"""The judge alone, baselines in force: 50 models of 20 measures, a record a second; and two models judged again."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from stream_monitor.config.settings import parse
from stream_monitor.describe.aggregate.delta_writer import Batch, pack_deltas, pack_records
from stream_monitor.describe.aggregate.grouping import ACCEPTED
from stream_monitor.describe.decode.columns import Coded, Columns
from stream_monitor.file_replay import Line
from stream_monitor.judge.stage import Judge
from stream_monitor.profiles.bin_catalog import BinCatalog
from stream_monitor.profiles.records import PartitionTime, WatermarkRecord, write_record
from stream_monitor.service.run import tune_collector
from stream_monitor.stages.contract import Position
from stream_monitor.types import I64

MODELS, NUMBERS, CATEGORIES, EVENTS = 50, 15, 5, 40
START = 1_700_000_000_000


FEW, PARTS, SPAN, FEW_EVENTS = 2, 6, 200, 3
"""Two models whose past is judged again: deltas of 200 panes each from six workers, three events a pane in each."""


def deltas(rng: np.random.Generator, second: int, catalog: BinCatalog) -> list[bytes]:
    """One pane of a second of every model."""
    packed: list[bytes] = []
    pane = np.full(EVENTS, START + second * 1_000)
    for model in range(MODELS):
        packed += _delta(rng, f"model-{model}", pane, (NUMBERS, CATEGORIES), catalog)
    return packed


def _delta(
    rng: np.random.Generator, name: str, pane: I64, measures: tuple[int, int], catalog: BinCatalog
) -> list[bytes]:
    """Events of a model in these panes, with so many numbers and categories."""
    events, levels = len(pane), [f"level-{k}" for k in range(20)]
    columns = Columns(Coded.one(name, events), np.arange(events), Coded.one("1", events))
    columns.numeric = {f"n{i}": rng.normal(10, 3, events) for i in range(measures[0])}
    columns.categorical = {f"c{i}": Coded(rng.integers(0, 20, events), levels) for i in range(measures[1])}
    batch = Batch("input", columns, pane, np.full(events, ACCEPTED))
    return [raw for _, raw in pack_deltas(batch, lambda model: catalog.of(model, "input"))]


class JudgeRun:
    """A judge that hears records, and what it says to describe and itself."""

    def __init__(self, sections: dict[str, object]) -> None:
        tune_collector()  # as a worker does
        self.judge, self.catalog, self._offset = Judge(parse(sections), 1), BinCatalog(), 0
        self.judge.assign({("profiles", 0): Position(0, "")}, {})

    def process(self, records: list[bytes], watermark: int) -> float:
        """Seconds that these records took, and the watermark after them."""
        records.append(
            write_record(
                WatermarkRecord(1, [PartitionTime(0, watermark, watermark, watermark, watermark, False, False)])
            )
        )
        started = time.perf_counter()
        while records:
            lines = [Line(value, self._offset + i, START) for i, value in enumerate(records)]
            self.judge.process("profiles", lines)
            self._offset, records = self._offset + len(lines), []
            for output in self.judge.flush({}):
                if output.role == "baselines":
                    self.catalog.apply(output.value)
                elif output.role == "profiles":
                    records.append(output.value)
            self.judge.committed()
        return time.perf_counter() - started


def measure_panes_per_s(seconds: int = 180, warm: int = 60, sequential: Sequence[str] = ()) -> float:
    """Measure-panes a second of judging, decoding of records and metrics included; the warm-up fills the baselines.

    `sequential` are detectors of the inputs.
    """
    rng, run = np.random.default_rng(1), JudgeRun({"baseline": {"first": 1_000}, "detection": {"input": sequential}})
    spent = 0.0
    for second in range(seconds):
        took = run.process(pack_records(deltas(rng, second, run.catalog)), START + second * 1_000)
        spent += took if second >= warm else 0.0
    return (seconds - warm) * MODELS * (NUMBERS + CATEGORIES) / spent


def again_measure_panes_per_s(rounds: int = 25, warm: int = 10, sequential: Sequence[str] = ()) -> float:
    """The same of two models with six measures whose past comes in deltas of many panes, as `rejudge` reads it."""
    rng, run = np.random.default_rng(1), JudgeRun({"baseline": {"first": 10_000}, "detection": {"input": sequential}})
    spent = 0.0
    for at in range(rounds):
        pane = np.repeat(START + (at * SPAN + np.arange(SPAN)) * 1_000, FEW_EVENTS)
        records = [
            record
            for _ in range(PARTS)
            for model in range(FEW)
            for record in pack_records(_delta(rng, f"model-{model}", pane, (4, 2), run.catalog))
        ]
        took = run.process(records, START + (at + 1) * SPAN * 1_000)
        spent += took if at >= warm else 0.0
    return (rounds - warm) * SPAN * FEW * 6 / spent
