from __future__ import annotations

from pathlib import Path

import pytest

from stream_monitor.config.durations import DAY, HOUR
from stream_monitor.errors import SettingsError
from stream_monitor.rollouts.plan import MOST_BYTES, Margin, parse_margin, parse_plan, read_plan

FULL = """
rollout: fraud-42
model: fraud
candidate: "42"
primary: "41"
pattern: canary
steps:
  - {weight: 5%, for: 1h, count: 500, margins: 4}
  - {weight: 25%, for: 6h, count: 2000, margins: 2}
  - {weight: 50%, for: 1d, count: 5000}
watch: {for: 7d, keep: 5%}
guards:
  - {measure: error, margin: 10%}
  - {measure: latency_ms.p99, margin: 20%}
  - {measure: signal.click, worse: down, margin: 5%}
  - {measure: null_answer, limit: 2%}
alpha: {harm: 5%, pass: 1%, check: 0.1%}
settle: 1h
segments: [country]
design_effect: 3.5
hold_at: 4
stale_after: 30m
max: 14d
at_max: stay
approve: [promote]
"""
LEAST = 'rollout: a\nmodel: m\ncandidate: "2"\nprimary: "1"\nsteps: [{weight: 50%}]\n'


SHADOW = LEAST.replace("steps: [{weight: 50%}]", "pattern: shadow")


def test_in_shadow_there_is_one_step_and_a_guard_that_only_shows_how_often_answers_differ() -> None:
    plan = parse_plan(SHADOW.encode())
    assert [(step.weight, step.duration, step.count) for step in plan.steps] == [(0.0, 0, 0)]
    assert [(guard.measure, guard.report) for guard in plan.guards][2:] == [("latency_ms.p99", False), ("agrees", True)]
    given = parse_plan((SHADOW + "steps: [{for: 1h, count: 9}]\nguards: [{measure: error}]\n").encode())
    assert (given.steps[0].duration, given.steps[0].count, len(given.guards)) == (HOUR, 9, 1)


def test_a_full_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "rollout.yaml").write_text(FULL)
    plan = read_plan(tmp_path / "rollout.yaml")
    assert [step.weight for step in plan.steps] == [0.05, 0.25, 0.5]
    assert (plan.steps[2].duration, plan.settle, plan.longest) == (DAY, HOUR, 14 * DAY)
    assert [plan.margins_of(step) for step in (1, 2, 3)] == [4, 2, 1]
    assert (plan.guards[1].quantile, plan.guards[3].limit, plan.guards[0].is_outcome) == (0.99, 0.02, True)
    assert (plan.alpha.passes, plan.given_effect) == (0.01, 3.5)


def test_of_a_short_file_the_rest_is_default() -> None:
    plan = parse_plan(LEAST.encode())
    assert [guard.measure for guard in plan.guards] == ["error", "null_answer", "latency_ms.p99"]
    assert plan.guards[1].margin == Margin(0.0, 0.005)
    assert (plan.settle, plan.given_effect, plan.watch) == ("auto", 1.0, None)


def test_a_margin_that_leaves_nothing_leaves_a_line_to_compare_with() -> None:
    assert parse_margin("30%").line(4, "down")[0] == 0.05


@pytest.mark.parametrize("text", ["ten", "-1%", "10%%", "", "1% - 2%", "true", "nan"])
def test_what_is_no_margin_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no margin"):
        parse_margin(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (LEAST + "guard: []", "guard: unknown key; did you mean 'guards'"),
        (LEAST + "guards: [{measure: error, margn: 5%}]", "margn: unknown key; did you mean 'margin'"),
        (LEAST + "alpha: {pas: 5%}", "pas: unknown key; did you mean 'pass'"),
        (LEAST.replace("weight: 50%", "weight: 50%, four: 1h"), "four: unknown key; did you mean 'for'"),
        (LEAST.replace('"2"', '"1"'), "the same version"),
        (LEAST.replace("rollout: a", "rollout: A b"), "rollout: String should match"),
        (LEAST.replace("[{weight: 50%}]", "[{weight: 50%}, {weight: 5%}]"), "must rise"),
        (LEAST.replace("50%", "100%"), "less than 1"),
        (LEAST.replace("[{weight: 50%}]", "[]"), "at least 1 step"),
        (LEAST + "guards: [{measure: error}, {measure: error}]", "twice"),
        (LEAST + "guards: [{measure: error, report: true}]", "nothing would stop"),
        (LEAST + "guards: [{measure: latency_ms.p99, margin: 3}]", "in percent"),
        (LEAST + "pattern: blue_green", "canary"),
        (LEAST.replace("weight: 50%", "for: 1h"), "each of them a weight"),
        (LEAST + "guards: [{measure: agrees}]", "it is for `pattern: shadow`"),
        (LEAST + "guards: [{measure: absolute_error}]", "distances are for shadow"),
        (LEAST + "pattern: shadow", "no request moves"),
        (SHADOW + "steps: [{for: 1h}, {for: 2h}]", "one step"),
        (SHADOW + "steps: []", "one step"),
        (SHADOW + "watch: {for: 1d}", "nothing to watch"),
        (SHADOW + "guards: [{measure: signal.click}]", "all feedback is about what the primary answered"),
        (SHADOW + "guards: [{measure: error, worse: down}]", "more is worse"),
        (SHADOW + "guards: [{measure: agrees, limit: 5%}]", "not of outcomes"),
        (SHADOW + "guards: [{measure: absolute_error, margin: 10%}]", "in the measure's unit"),
        (SHADOW + "guards: [{measure: agrees, report: true}]", "nothing would stop"),
        (LEAST + "max: soon", "not a duration"),
        (LEAST + "settle: soon", "not a duration"),
        ("[]", "mapping"),
        ("a: [", "no YAML"),
        (LEAST + "guards: [" + "{measure: x}," * 21 + "]", "at most 20"),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why.replace("[", r"\[")):
        parse_plan(text.encode())


def test_every_mistake_is_told_at_once_and_no_large_file_is_read() -> None:
    with pytest.raises(SettingsError, match=r"3 mistake\(s\)"):
        parse_plan((LEAST + "max: soon\nhold_at: 0\nwhy: 1").encode())
    with pytest.raises(SettingsError, match="is it a rollout"):
        parse_plan(b"#" * (MOST_BYTES + 1))
    with pytest.raises(SettingsError, match="UTF-8"):
        parse_plan(b"\xff")
