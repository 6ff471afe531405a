"""The practice table: streams hold the faults that they name, marks follow the rule, and a cell is found."""

from __future__ import annotations

import json

import pytest

from stream_monitor.config.settings import Settings
from stream_monitor.evaluate.practice import FAULTS, MINUTE, PACES, T0, Fault, Pace, events, mark_ms, practice
from stream_monitor.evaluate.report import Results, marks_kept
from stream_monitor.evaluate.streams import seeded

FAST = Pace("fast", 10, 30_000, 15_000, 0.5)
BY_NAME = {fault.name: fault for fault in FAULTS}


def test_the_mark_is_the_latest_of_three_bounds() -> None:
    settings, (_, second, rare, rarest) = Settings(), PACES
    slack = 15_000
    assert mark_ms(second, BY_NAME["3 σ shift"], settings) == 300_000 + slack, "300 events"
    assert mark_ms(rare, BY_NAME["3 σ shift"], settings) == 2 * 60 * MINUTE + slack, "two windows of an hour"
    assert mark_ms(rarest, BY_NAME["model silent"], settings) == 20 * MINUTE, "ten gaps"
    assert mark_ms(second, BY_NAME["model silent"], settings) == 2 * MINUTE + slack
    assert mark_ms(second, BY_NAME[".3 σ shift"], settings) > 300_000 + slack, "three times the least delay"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_stream_is_in_order_and_holds_its_fault_only_after_the_change(fault: Fault) -> None:
    pace = Pace("short", 100, 1_000, 1_000, 1.0)
    calm, faulty = (
        [json.loads(raw) for raw in events(pace, each, seeded(1, "test"))] for each in (BY_NAME["3 σ shift"], fault)
    )
    change = T0 + 100_000
    before = [[e for e in stream if e["ts"] < change - 10 * MINUTE or e["ts"] < change] for stream in (calm, faulty)]
    shared = min(map(len, before))
    assert before[0][: shared // 2] == before[1][: shared // 2], "before the change all streams of a seed are alike"
    assert sum(e.get("model") == "shop" for e in faulty) == (1_000 if fault is BY_NAME["model silent"] else 2_000)


@pytest.mark.parametrize("name", ["3 σ shift", "feature dies"])
def test_a_cell_says_when_its_fault_was_told(name: str) -> None:
    (task,) = [task for task in practice(1, 1, (FAST,)) if task.args[1].name == name]
    (row,) = task()
    assert row["ok"] and row["found"] == 1 and row["false"] == 0 and row["incidents"] == 1
    assert 0 < row["minutes"] <= row["mark"]


def test_rows_without_a_mark_are_not_counted_among_those_kept() -> None:
    results: Results = {
        "practice": [{"ok": True}, {"ok": False}],
        "delay": [{"ok": None}],
        "labelled": [{"recall": 1.0}],
    }
    assert marks_kept(results) == [True, False]
