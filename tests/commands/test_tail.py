"""What `alerts tail` and `metrics tail` show, and in which order."""

from __future__ import annotations

import io
import json
import random

import msgspec
import pytest

from stream_monitor.commands import tail
from stream_monitor.commands.tail import ALERTS, METRICS, TailOptions, chosen, furthest, in_order
from stream_monitor.config.settings import Settings
from stream_monitor.events.contracts import Alert, MeasureSummary, Metric
from stream_monitor.events.reason_command import without_command
from stream_monitor.terminal import Screen
from tests.judge.logs import Recorded, recorded
from tests.screens import shown
from tests.streams import quick_settings, shop

SCREEN = Screen(file=io.StringIO())


@pytest.fixture(scope="module")
def run() -> Recorded:
    return recorded(rules(), [(event.role, event.raw) for event in shop(3, 1_200)])


def rules() -> Settings:
    return quick_settings(segments=[["country"]])


def of_partitions(records: list[dict[str, object]]) -> list[bytes]:
    """As they come from several partitions: those of one in their order, a stretch of each in turn."""
    raw = [json.dumps(record).encode() for record in records]
    return [value for number in (2, 0, 1) for value in raw[number::3]]


def test_what_is_there_comes_in_order_of_time(run: Recorded) -> None:
    for records, kind in ((run.alerts, ALERTS), (run.metrics, METRICS)):
        values = of_partitions(records)
        found = [kind.time(record) for record, _ in in_order(chosen(values, kind, TailOptions(), SCREEN), kind, None)]
        assert found == sorted(found) and len(found) == len(records) > 10


def test_the_latest_are_the_last_of_all(run: Recorded) -> None:
    values = of_partitions(run.metrics)
    every = [raw for _, raw in in_order(chosen(values, METRICS, TailOptions(), SCREEN), METRICS, None)]
    last = [raw for _, raw in in_order(chosen(values, METRICS, TailOptions(), SCREEN), METRICS, 7)]
    assert last == every[-7:]


def test_a_model_and_a_time_are_chosen(run: Recorded) -> None:
    values = of_partitions(run.metrics)
    since = sorted(metric["window_start"] for metric in run.metrics)[len(run.metrics) // 2]
    found = [metric for metric, _ in chosen(values, METRICS, TailOptions("m1", since), SCREEN)]
    wanted = [m for m in run.metrics if m["model"] == "m1" and m["window_start"] >= since]
    assert len(found) == len(wanted) > 0
    assert {metric.model for metric in found} == {"m1"} and min(m.window_start for m in found) >= since


def test_what_is_sorted_in_memory_has_a_bound(run: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "SORTED", 50)
    records = sorted(run.metrics, key=lambda metric: metric["window_start"])
    values = [json.dumps(record).encode() for record in records]
    for at in range(0, len(values) - 40, 40):
        random.Random(at).shuffle(stretch := values[at : at + 40])
        values[at : at + 40] = stretch
    found = [
        metric.window_start for metric, _ in in_order(chosen(values, METRICS, TailOptions(), SCREEN), METRICS, None)
    ]
    assert found == [metric["window_start"] for metric in records]


def test_a_record_that_is_none_of_ours_is_told_and_left_out(run: Recorded) -> None:
    out = io.StringIO()
    values = [b"\xff\x1b[2J", b'{"id":"\x1b[2J"}', b"[/nope]", json.dumps(run.alerts[0]).encode()]
    assert len(list(chosen(values, ALERTS, TailOptions(), Screen(file=out)))) == 1
    assert out.getvalue().count("is none of ours") == 3 and "\x1b" not in out.getvalue()


def test_a_line_of_metrics_tells_what_matters(run: Recorded) -> None:
    metrics = [msgspec.convert(metric, Metric) for metric in run.metrics if metric["segment"] == "all"]
    before = min((m for m in metrics if m.kind == "traffic" and m.model == "m0"), key=lambda m: m.window_start)
    assert "latency p99" in line(before) and "drifts most" not in line(before), "no baseline yet"
    traffic = [metric for metric in metrics if metric.kind == "traffic"]
    drifted = [line(metric) for metric in traffic if (furthest(metric, rules()) or (0,))[0] > 3]
    assert any("drifts most: amount, psi" in text and "times what is tolerated" in text for text in drifted), drifted
    told = [line(m) for m in metrics if m.kind == "performance" and m.labelled]
    assert any("% labelled" in text and "error" in text for text in told), told
    numbers = [line(m) for m in metrics if m.kind == "performance" and m.model == "m1" and m.labelled]
    assert any("absolute error" in text for text in numbers), numbers


def line(metric: Metric) -> str:
    return shown([tail.metric_line(metric, rules())], 500)


def test_the_furthest_is_so_by_its_tolerance_not_by_its_figure() -> None:
    metric = Metric(
        model="m", version="1", segment="all", window_start=0, window_end=1, kind="traffic", revision=0, final=True,
        count=9,
        measures={
            "x": MeasureSummary(group="input", n=9, tests={"chi2": 0.4, "psi": 0.05}),
            "y": MeasureSummary(group="input", n=9, tests={"missing": -0.05, "of_a_newer_version": 99.0}),
        },
    )  # fmt: skip
    assert furthest(metric, rules()) == (2.5, "y", "missing", -0.05)
    assert "drifts most: y, missing -0.05, 2.5 times what is tolerated" in line(metric)


def test_an_alert_is_a_line(run: Recorded) -> None:
    alert = msgspec.convert(run.alerts[0], Alert)
    text = shown([tail.alert_line(alert, rules())], 500)
    assert " UTC " in text and without_command(alert.reason) in text and alert.id[:8] in text
