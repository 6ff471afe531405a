from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from typer.testing import CliRunner

from stream_monitor.cli import app
from stream_monitor.errors import FormatError
from stream_monitor.evaluate import protocol
from stream_monitor.evaluate.files import read
from stream_monitor.evaluate.report import picture, strict
from stream_monitor.evaluate.streams import STEPS, Step, frozen_model, limit

TINY = replace(protocol.QUICK, seeds=60, null_runs=20.0, rate_values=1e6, others=2, windows=40, labelled=1)


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
    assert protocol.judged(np.array([999]), changes) == (0, 1, 3)
    assert protocol.judged(np.array([1_000, 1_500]), changes) == (1, 1, 3)
    assert protocol.judged(np.array([3_000]), changes) == (0, 1, 3)
    assert protocol.judged(np.array([5_999, 6_000, 7_999]), changes) == (2, 1, 3)
    assert protocol.judged(np.array([7]), np.zeros(0, np.int64)) == (0, 1, 0)


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


def test_ours_waits_less_than_the_others_and_results_repeat() -> None:
    rows = list(protocol.delay(TINY, 1))
    assert {row["step"] for row in rows} == {step.name for step in STEPS}
    mean = {(row["detector"], row["step"]): row["mean"] for row in rows}
    assert mean["cusum", ".2→.3"] < mean["River ADWIN", ".2→.3"]
    again = list(protocol.delay(replace(TINY, others=1), 1))
    assert [row for row in again if row["detector"] == "cusum"] == [row for row in rows if row["detector"] == "cusum"]
    ElementTree.fromstring(picture(rows))


def test_no_score_is_won_by_never_or_always_ringing() -> None:
    f1 = {row["detector"]: row["f1"] for row in protocol.labelled(TINY, 1)}
    assert f1["never"] == 0
    assert f1["always (every 500)"] < 0.5 < f1["cusum"]


def test_sections_have_the_columns_that_are_promised() -> None:
    null = next(iter(protocol.null(TINY, 1)))
    assert {"detector", "stream", "pane", "nominal", "arl0", "lower"} <= null.keys()
    assert null["lower"] < null["arl0"]
    assert {row["n"] for row in protocol.windows(TINY, 1)} == {50, 100, 1_000, 5_000, 10_000, 100_000, 1_000_000}


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
    done = CliRunner().invoke(app, ["evaluate", str(ndjson), "--json", str(out)])
    assert done.exit_code == 0, done.output
    rows = {row["detector"]: row for row in json.loads(out.read_text())["labelled"]}
    assert rows["cusum"]["recall"] == 1
    assert math.isclose(rows["never"]["recall"], 0)


@pytest.mark.parametrize("text", ['{"value": "x"}', '{"price": 1}', "[]", "{", '{"value": NaN}'])
def test_a_wrong_file_is_refused_with_its_place(tmp_path: Path, text: str) -> None:
    path = tmp_path / "own.ndjson"
    path.write_text('{"value": 1}\n' + text)
    with pytest.raises(FormatError, match="own"):
        read(path)


def test_a_daily_sine_keeps_the_nominal_rate_when_the_hours_of_the_week_are_known() -> None:
    """Without a change; measured 7 times the nominal time between false alarms, so .9 of it fails by no luck."""
    row = next(protocol.seasons(protocol.QUICK, 1))
    assert row["stream"].startswith("daily sine, seasonal baseline") and row["lower"] >= 0.9 * row["nominal"]
