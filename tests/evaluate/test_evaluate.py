from __future__ import annotations

import json
import math
import os
import runpy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from typer.testing import CliRunner

from stream_monitor.cli.main import app
from stream_monitor.detect.windows.binned import Compared
from stream_monitor.detect.windows.tests import TESTS, TOLERANCE
from stream_monitor.errors import FormatError, StreamMonitorError
from stream_monitor.evaluate import protocol
from stream_monitor.evaluate import windows as window_cells
from stream_monitor.evaluate.competitors import competitors
from stream_monitor.evaluate.files import read
from stream_monitor.evaluate.protocol import Row, Task
from stream_monitor.evaluate.report import picture, strict
from stream_monitor.evaluate.run import Plan, run
from stream_monitor.evaluate.streams import STEPS, Step, frozen_model, limit

DOCS = Path(__file__).parents[2] / "docs"
TINY = replace(protocol.QUICK, seeds=60, null_runs=20.0, rate_values=1e6, others=2, slow=0, windows=2, labelled=1)


def made_page() -> dict[str, Any]:
    """What makes the sections of docs/quality.md."""
    sections: dict[str, Any] = runpy.run_path(str(DOCS / "make_quality.py"))["SECTIONS"]
    return sections


def rows_of(tasks: list[Task]) -> list[Row]:
    return [row for task in tasks for row in task()]


@pytest.mark.parametrize(
    ("step", "arl0", "simulated"),
    [
        (Step("", "errors .2", 0.25, 0.2), 1e5, 759),
        (Step("", "errors .2", 0.3, 0.2), 1e5, 246),
        (Step("", "errors .2", 0.1, 0.2), 1e4, 138),
        (Step("", "normal", 0.5), 1e5, 67),
        (Step("", "normal", 1.0), 1e3, 10.6),
    ],
)
def test_the_limit_is_that_of_the_simulated_optimal_cusum(step: Step, arl0: float, simulated: float) -> None:
    assert limit(step, arl0) == pytest.approx(simulated, rel=0.08)


def test_an_alarm_finds_the_change_before_it_once_and_only_soon() -> None:
    changes = np.array([1_000, 5_000, 6_000])
    assert protocol.judged(np.array([999]), changes) == ([], 1)
    assert protocol.judged(np.array([1_000, 1_500]), changes) == ([0], 1)
    assert protocol.judged(np.array([3_000]), changes) == ([], 1)
    assert protocol.judged(np.array([5_999, 6_000, 7_999]), changes) == ([999, 0], 1)
    assert protocol.judged(np.array([7]), np.zeros(0, np.int64)) == ([], 1)


def test_limits_of_the_time_between_false_alarms_hold_the_poisson_law() -> None:
    arl0, lower = protocol.arl0_limits(1e6, 100)
    assert arl0 == 1e4
    assert lower == pytest.approx(1e6 / 121.63, rel=1e-3)
    assert protocol.arl0_limits(1e6, 0)[1] == pytest.approx(1e6 / 3.689, rel=1e-3)


def test_the_frozen_model_errs_more_where_its_rule_has_moved() -> None:
    values, change = frozen_model(np.random.default_rng(1), 20_000)
    assert 3 <= change.sum() <= 9
    first, second = np.flatnonzero(change)[:2]
    assert values[:first].mean() == pytest.approx(0.1, abs=0.03)
    assert values[first:second].mean() > 0.15


@pytest.fixture(scope="module")
def delays() -> list[Row]:
    """Runs of each contender but the slow one, which only the full evaluation runs."""
    return rows_of(protocol.delay(TINY, 1))


def test_ours_waits_less_than_the_others_and_results_repeat(delays: list[Row]) -> None:
    rows = delays
    assert {row["step"] for row in rows} == {step.name for step in STEPS}
    mean = {(row["detector"], row["step"]): row["mean"] for row in rows}
    assert mean["cusum", ".2→.3"] < mean["River ADWIN", ".2→.3"]
    again = rows_of([task for task in protocol.delay(TINY, 1) if getattr(task, "func", None) is protocol._cusum])
    assert again == [row for row in rows if row["detector"] == "cusum"]
    ElementTree.fromstring(picture(rows))
    told = made_page()["delay"](rows)
    assert all(f"| {name} |" in told for name in ("cusum", "limit D*", "River ADWIN"))
    assert f"| {mean['cusum', '.2→.4']:.1f}; " in told or f"| {mean['cusum', '.2→.4']:,.0f}; " in told


def test_no_score_is_won_by_never_or_always_ringing() -> None:
    f1 = {row["detector"]: row["f1"] for row in rows_of(protocol.labelled(TINY, 1))}
    assert f1["never"] == 0
    assert f1["always (every 500)"] < 0.5 < f1["cusum"]


def test_sections_have_the_columns_that_are_promised() -> None:
    (null,) = protocol.null(TINY, 1)[0]()
    assert {"detector", "stream", "pane", "nominal", "arl0", "lower"} <= null.keys()
    assert null["lower"] < null["arl0"]


def test_window_cells_are_all_there_and_judged_by_their_limits() -> None:
    rows = rows_of(protocol.windows(TINY, 1))
    assert {row["n"] for row in rows} == {50, 100, 1_000, 5_000, 10_000, 100_000, 1_000_000}
    assert {row["features"] for row in rows} == {1, 20, 200}
    assert {row["test"] for row in rows} == {*TESTS, "missing", "new_categories", window_cells.BOTH}
    assert {row["tolerance"] for row in rows} == {"none", "edge"}
    false = [row for row in rows if not row["shift"]]
    assert all(
        row["ok"] == (row["lower"] <= row["level"]) and row["lower"] <= row["share"] <= row["upper"] for row in false
    )
    assert {row["segments"] for row in false} == {0, window_cells.SEGMENTS}
    assert {row["test"]: row["share"] for row in rows if row["shift"]}[window_cells.BOTH] > 0.7
    strict({"windows": rows})
    told = made_page()["windows"](rows)
    assert f"kept in {sum(row['ok'] for row in rows)} of {len(rows)}" in " ".join(told.split())
    assert all(f"| {name} |" in told for name in TESTS)


def test_a_window_test_that_rings_too_often_is_told_from_one_that_does_not() -> None:
    rng = np.random.default_rng(1)
    uniform = rng.random((4_000, 20))
    cell = window_cells.Cell("numbers", 50, "none")
    for p, ok in ((uniform, True), (uniform / 2, False), (uniform * 0 + 1, True)):
        assert [window_cells._row("x", cell, (20, 0), level, p)["ok"] for level in (0.05, 0.01)] == [ok, ok]


@pytest.mark.parametrize("n", [50, 1_000_000])
@pytest.mark.parametrize("name", [name for name in TESTS if name != "l_infinity"])
def test_the_edge_is_an_effect_of_just_the_tolerance(name: str, n: int) -> None:
    shift = window_cells._edge(name, n)
    counts = [
        np.rint(1e8 * k * window_cells._shares_of_bins(d)).astype(np.int64) for k, d in ((10_000, 0.0), (n, shift))
    ]
    data = Compared(counts[0][None], counts[1][None], window_cells.WIDTHS[None])
    assert TESTS[name](data, 0.0).score[0] == pytest.approx(TOLERANCE[name], rel=1e-3)


def test_all_contenders_stand_beside_the_limit_in_one_run_and_binary_ones_see_no_normals(delays: list[Row]) -> None:
    rows = delays
    steps = {name: {row["step"] for row in rows if row["detector"] == name} for name in competitors()}
    assert not steps.pop("River KSWIN")
    for name, contender in competitors().items():
        if name in steps:
            assert steps[name] == {step.name for step in STEPS if step.rate is not None or not contender.rates}
    limits = {row["step"]: row["mean"] for row in rows if row["detector"] == "limit D*"}
    assert limits[".2→.3"] == pytest.approx(246, rel=0.08)
    assert {".2→.3 over 1,000", ".5 σ over 1,000"} <= limits.keys()


@pytest.mark.parametrize("name", [name for name, contender in competitors().items() if contender.rates])
def test_contenders_for_errors_find_more_errors(name: str) -> None:
    update = competitors()[name].make()
    rng = np.random.default_rng(3)
    assert any(map(update, (rng.random(3_000) < np.repeat([0.1, 0.7], [1_000, 2_000])).astype(float).tolist()))


def test_what_was_never_found_has_no_mean_in_json() -> None:
    rows = {"delay": [{"detector": "x", "mean": math.nan, "found": 0.0}]}
    assert json.loads(json.dumps(strict(rows), allow_nan=False))["delay"] == [
        {"detector": "x", "mean": None, "found": 0.0}
    ]


def test_a_users_own_file_is_judged(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    values = np.concatenate([rng.normal(size=1_500), rng.normal(size=1_000) + 2]).tolist()
    lines = [{"value": value, "change": int(i == 1_500)} for i, value in enumerate(values)]
    ndjson, table, out = tmp_path / "own.ndjson", tmp_path / "own.csv", tmp_path / "out.json"
    ndjson.write_text("\n".join(map(json.dumps, lines)))
    table.write_text("value,change\n" + "".join(f"{line['value']},{line['change']}\n" for line in lines))
    for mine, theirs in zip(read(ndjson), read(table), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    done = CliRunner().invoke(app, ["evaluate", str(ndjson), "--jobs", "1", "--json", str(out)])
    assert done.exit_code == 0, done.output
    rows = {row["detector"]: row for row in json.loads(out.read_text())["labelled"]}
    assert rows["cusum"]["recall"] == 1 and 0 < rows["cusum"]["delay"] < 20
    assert rows["never"]["delay"] is None
    caption = "first 2,000 values: 1 of the 1 marked changes lie among them, and are found after them or not at all"
    assert "e_sr makes its baseline of the " + caption in " ".join(done.stdout.split())
    assert "cusum makes" not in done.stdout and (rows["cusum"]["early"], rows["e_sr"]["early"]) == (0, 1)
    told = [line for line in done.stderr.splitlines() if "parts measured" in line]  # a log instead of a bar
    (_, _, parts, *_), (done_parts, *_) = told[0].split(), told[-1].split()
    assert told[0].startswith("0 of ") and done_parts == parts and len(told) <= 11
    assert math.isclose(rows["never"]["recall"], 0)


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("own.csv", b"", "has no records"),
        ("own.csv", b"value,change\n", "has no records"),
        ("own.csv", b"value\n1\n\xff\n", "not UTF-8"),
        ("own.csv", b"value\n1\nmany\n", "line 3: must have a number `value`"),
        ("own.csv", b"value\n1\ninf\n", "not finite"),
        ("own.csv", b"value,change\n1,0\n2,soon\n", "line 3"),
        ("own.csv", b"value,change\n1,0\n2,2\n", "line 3"),
        ("own.ndjson", b'{"value": 1}\n{"value": "x"}', "line 2: must have a number `value`"),
        ("own.ndjson", b'{"value": 1}\n[]', "line 2"),
        ("own.ndjson", b'{"value": 1}\n{', "line 2"),
        ("own.ndjson", b'{"value": NaN}', "not finite"),
        ("own.ndjson", b'{"value": 1}\n\n{"worth": 1}\n', "line 3: must have a number `value`"),
    ],
)
def test_a_file_that_is_no_stream_is_refused_by_its_place(tmp_path: Path, name: str, text: bytes, why: str) -> None:
    (tmp_path / name).write_bytes(text)
    with pytest.raises(FormatError, match=why):
        read(tmp_path / name)
    assert CliRunner().invoke(app, ["evaluate", str(tmp_path / "none.csv")]).exit_code == 2


def test_of_a_stream_without_changes_no_share_is_told(tmp_path: Path) -> None:
    path, out = tmp_path / "own.csv", tmp_path / "out.json"
    path.write_text("value\n" + "1\n2\n" * 400)
    assert CliRunner().invoke(app, ["evaluate", str(path), "--jobs", "1", "--json", str(out)]).exit_code == 0
    for row in json.loads(out.read_text())["labelled"]:
        assert row["changes"] == 0 and row["recall"] is row["f1"] is row["delay"] is None, row


def test_any_number_of_processes_gives_the_same_figures_and_says_how_far_it_is(tmp_path: Path) -> None:
    path, told = tmp_path / "own.csv", list[tuple[int, int]]()
    path.write_text(
        "value,change\n" + "".join(f"{int(i % 7 == 0 or i >= 900)},{int(i == 900)}\n" for i in range(1_500))
    )
    plan = Plan(own=path)
    ((section, rows),) = run(plan, 2, lambda done, total: told.append((done, total)))
    assert section == "labelled" and rows == rows_of(plan.sections()["labelled"])
    assert told[0] == (0, len(rows)) and (len(rows), len(rows)) in told


class Deadly(Plan):
    def sections(self) -> dict[str, list[Task]]:
        return {"labelled": [partial(os._exit, 1)]}


class Failing(Plan):
    def sections(self) -> dict[str, list[Task]]:
        touch = (partial(Path(self.only[0], str(i)).touch) for i in range(5_000))
        tasks: list[Any] = [partial(int, "no number"), *touch]  # none gives rows: the first fails
        return {"labelled": tasks}


def test_after_an_error_what_has_not_begun_does_not_begin(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no number"):
        list(run(Failing(only=(str(tmp_path),)), 1))
    assert len(list(tmp_path.iterdir())) < 5_000


def test_a_process_that_is_killed_is_told_and_not_waited_for() -> None:
    with pytest.raises(StreamMonitorError, match="--jobs"):
        list(run(Deadly(), 1))


def test_a_mark_is_kept_unless_both_limits_say_that_it_is_not() -> None:
    step, mark = STEPS[1], protocol.MARKS[2_000].delays[".2→.3"]
    rng = np.random.default_rng(5)
    for mean, false, ok in ((mark - 5, 10, True), (mark + 1, 10, True), (mark + 60, 10, False), (mark - 5, 400, False)):
        row = protocol._row("cusum", 2_000, step, rng.exponential(mean, 3_000), (false, 1e7))
        assert row["mark"] == mark and row["ok"] is ok
    assert protocol._row("adwin", 2_000, step, np.ones(9), (0, 1e6))["ok"] is None
    assert protocol._row("cusum", 2_000, step, np.ones(9), (0, 1e6))["ok"] is True


def test_no_figure_is_cut_where_the_terminal_is_narrow(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("value,change\n" + "".join(f"{int(i >= 2_000)},{int(i == 2_000)}\n" for i in range(3_000)))
    done = CliRunner().invoke(app, ["evaluate", str(path), "--jobs", "1"], env={"COLUMNS": "30"})
    assert done.exit_code == 0 and "false/1e4" in done.output and "…" not in done.output


def test_a_daily_sine_keeps_the_nominal_rate_when_the_hours_of_the_week_are_known() -> None:
    """Without a change; measured 7 times the nominal time between false alarms, so .9 of it fails by no luck."""
    (row,) = protocol._seasonal(protocol.QUICK, 1, 1e3, protocol.SEASONS[0], 1)
    assert row["stream"].startswith("daily sine, seasonal baseline") and row["lower"] >= 0.9 * row["nominal"]
