"""Verdicts about a candidate: their cells, and that a mark tells a good rule from a bad one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from stream_monitor.cli.main import app
from stream_monitor.evaluate import rollout_runs as runs
from stream_monitor.evaluate import rollouts as cells
from stream_monitor.evaluate.report import marks_kept, strict
from stream_monitor.evaluate.rollout_runs import Line, Traffic, Verdicts
from stream_monitor.evaluate.run import Plan
from stream_monitor.evaluate.streams import seeded


def test_rollouts_are_measured_where_they_are_named() -> None:
    assert "rollouts" not in Plan().sections()
    assert len(Plan(quick=True, only=("rollouts",)).sections()["rollouts"]) == len(cells.rollouts(200, 1))


def test_the_cells_of_labels_pairs_and_the_split_keep_their_marks() -> None:
    rows = [*cells._labels(1, 60, 2.0), *cells._pairs(1, 200), *cells._splits(1, 60)]
    assert all(marks_kept({"rollouts": rows})), [row for row in rows if row["ok"] is False]
    json.dumps(strict({"rollouts": rows}), allow_nan=False)


def test_a_look_at_each_stratum_breaks_the_naive_test_and_no_bet() -> None:
    traffic = Traffic(200, np.full(200, 0.5), np.full(200, 0.05), np.full(200, 0.05))
    naive = cells.false_row("", "naive", runs.naive(seeded(1, "n"), 200, traffic, Line()))
    bets = cells.false_row("", "bets", runs.rates(seeded(1, "b"), 200, traffic, Line()))
    assert (naive["ok"], bets["ok"]) == (False, True) and naive["share"] > 0.3


def test_a_mark_of_a_right_verdict_is_missed_only_beyond_the_limits_of_its_median() -> None:
    rng = np.random.default_rng(2)
    found = Verdicts(np.ones(1_000, np.bool_), rng.exponential(100.0, 1_000))
    assert cells.right_row("", "", found, 69.0)["ok"] and not cells.right_row("", "", found, 45.0)["ok"]
    assert cells.right_row("", "", found, None)["ok"] is None
    never = Verdicts.none(50)
    row = cells.right_row("", "", never, 69.0)
    assert row["ok"] is False and row["median"] == np.inf


def test_every_rule_finds_a_rate_that_has_doubled() -> None:
    traffic = Traffic(40, np.full(200, 0.5), np.full(200, 0.1), np.full(200, 0.2))
    for rule in (runs.rates, runs.naive, runs.msprt):
        found = rule(seeded(1, rule.__name__), 100, traffic, Line())
        assert found.reached.all() and 40 < np.median(found.until) < 400, rule


@pytest.mark.long
def test_all_marks_are_kept(tmp_path: Path) -> None:
    out = tmp_path / "rollouts.json"
    done = CliRunner().invoke(
        app, ["evaluate", "--only", "rollouts", "--quick", "--strict", "--jobs", "2", "--json", str(out)]
    )
    assert done.exit_code == 0, done.output
    assert len(json.loads(out.read_text())["rollouts"]) > 80
