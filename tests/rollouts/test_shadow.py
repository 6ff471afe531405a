"""Rollouts in shadow, from events to decisions: two versions that answer each request."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import msgspec
import pytest

from stream_monitor.file_replay import Replay
from stream_monitor.profiles.records import RolloutRecord
from stream_monitor.stages.contract import Output
from tests.judge.logs import packed, restored
from tests.rollouts.routed import PLAN, SHADOW, RoutedReplay, Version, decisions_of
from tests.streams import quick_settings

SAME = Version()
WORSE = Version(error=0.3)


def begun(text: str = SHADOW, mirrored: float = 1.0, seed: int = 1, segments: bool = False) -> RoutedReplay:
    """Half a minute of both versions, then the start."""
    run = RoutedReplay(quick_settings(segments=[["country"]]) if segments else None, seed=seed)
    run.mirrored = mirrored
    run.run(30, SAME, SAME)
    run.order("start", text, reason="a new version")
    return run


def until(run: RoutedReplay, name: str, candidate: Version, most: int = 400) -> RoutedReplay:
    while name not in run.names and run.second < most:
        run.run(5, SAME, candidate)
    return run


def test_an_equal_candidate_passes_and_no_request_ever_moves() -> None:
    run = until(begun(), "passed", SAME)
    assert run.names == ["started", "passed"] and run.router.weight == 0
    assert all(decision.weights == {"41": 1.0} for decision in run.decided)
    assert [decision.seq for decision in run.decided] == list(range(1, len(run.decided) + 1))
    last = run.decided[-1]
    evidence = {one.guard: one for one in last.evidence}
    assert evidence["error"].passes["1"] >= 20 and evidence["agrees"].passes["1"] >= 20
    assert abs(evidence["error"].primary.mean - 0.1) < 0.03 and abs(evidence["error"].candidate.mean - 0.1) < 0.03
    assert evidence["error"].line.times == 1.5 and evidence["agrees"].line.plus == 0.3
    assert abs(evidence["agrees"].candidate.mean - 0.2) < 0.05, "18 % by errors, 2 % by an answer of one only"
    (check,) = last.checks
    assert (check.name, check.expected) == ("paired", 0.99) and check.seen == 1.0
    assert last.state == "passed" and last.pattern == "shadow" and "in shadow" in last.reason
    run.order("abort")
    assert run.decided[-1].decision == "refused"


@pytest.mark.parametrize(
    ("candidate", "measure"),
    [(WORSE, "error"), (Version(error=0.1, null=0.5), "null_answer")],
)
def test_a_worse_candidate_is_rolled_back_and_the_primary_keeps_all(candidate: Version, measure: str) -> None:
    run = until(begun(), "rolled_back", candidate)
    last = run.decided[-1]
    assert last.decision == "rolled_back" and last.weights == {"41": 1.0} and run.router.weight == 0
    assert f"{measure} is surely worse" in last.reason or "agrees is surely worse" in last.reason


def test_answers_that_differ_are_harm_without_any_label() -> None:
    text = SHADOW.replace("  - {measure: error, margin: 50%}\n", "").replace("30%", "10%")
    run = begun(text)
    while "rolled_back" not in run.names and run.second < 200:
        run.run(5, SAME, SAME, labels=False)
    assert "agrees is surely worse" in run.decided[-1].reason


def test_harm_in_one_segment_names_it() -> None:
    run = begun(SHADOW + "segments: [country]\n", segments=True)
    assert len([e for e in until(run, "passed", SAME).decided[-1].evidence if e.segment != "all"]) == 0
    lanes = run.replay.judge.assignments[0].judge.models["fraud"].state.consumers["rollouts"]
    assert lanes.rollouts["fraud-42"].state.state == "passed"


def test_requests_without_an_answer_of_the_candidate_hold_until_they_are_mirrored_or_a_person_resumes() -> None:
    run = begun(mirrored=0.9)
    until(run, "hold", SAME)
    assert run.changes[-1].holds == ["not_paired"] and "rolled_back" not in run.names
    assert run.decided[-1].checks[0].seen < 0.95
    run.mirrored = 1.0
    run.run(150, SAME, SAME)
    assert run.names[:3] == ["started", "hold", "resumed"]
    again = until(begun(mirrored=0.9, seed=2), "hold", SAME)
    again.order("resume")
    assert again.changes[-1].decision == "resumed"


def test_a_candidate_that_leaves_hard_requests_out_does_not_pass() -> None:
    """A resume says that the mirror is as it should be; what it leaves out still counts as wrong."""
    run = until(begun(mirrored=0.8), "hold", SAME)
    for _ in range(40):
        run.run(5, SAME, SAME)
        if run.changes[-1].decision == "hold" and run.changes[-1].holds == ["not_paired"]:
            run.order("resume")
    assert "passed" not in run.names and "rolled_back" not in run.names


@pytest.mark.parametrize("candidate", [SAME, WORSE])
def test_the_batches_in_which_the_log_is_read_do_not_affect_a_decision(candidate: Version) -> None:
    run = begun(SHADOW + "segments: [country]\n", segments=True).run(150, SAME, candidate)
    published = decisions_of(run.outputs)
    assert len(published) >= 2
    for size in (111, 5_000):
        assert run.again(size) == published


def test_labels_read_before_or_after_all_predictions_lead_to_the_same_end() -> None:
    run = until(begun(), "passed", SAME)
    start = next(at for at, item in enumerate(run.log) if isinstance(item, RolloutRecord))
    before, order, after = run.log[:start], run.log[start], run.log[start + 1 :]
    assert isinstance(order, RolloutRecord)

    def decided(*parts: list[object]) -> list[tuple[str, int]]:
        outputs = list[Output]()
        replay = Replay(run.settings, outputs.append)
        replay.feed([item for item in before if isinstance(item, tuple)])
        replay.order(order)
        for part in parts:
            replay.feed([item for item in part if isinstance(item, tuple)])
        replay.finish()
        read = [json.loads(value) for value in decisions_of(outputs)]
        return [(one["decision"], one["ts"]) for one in read if one["decision"] != "progress"]

    labels: list[object] = [item for item in after if isinstance(item, tuple) and item[0] == "labels"]
    others: list[object] = [item for item in after if isinstance(item, tuple) and item[0] != "labels"]
    expected = [(decision.decision, decision.ts) for decision in run.changes]
    assert decided([*labels, *others]) == decided([*others, *labels]) == expected


def test_a_snapshot_at_any_second_goes_on_to_the_same_decisions() -> None:
    whole, cut = begun().run(100, SAME, Version(error=0.15)), begun()
    for second in range(100):
        if second % 7 == 0:
            partition = cut.replay.judge.assignments[0].judge
            partition.models["fraud"] = partition.model_judge(restored(packed(partition.models["fraud"])))
        cut.run(1, SAME, Version(error=0.15))
    assert decisions_of(cut.outputs) == decisions_of(whole.outputs)


def test_several_candidates_may_be_in_the_shadow_of_one_primary_and_no_canary_beside_them() -> None:
    run = begun()
    run.order("start", SHADOW.replace("fraud-42", "fraud-43").replace('"42"', '"43"'), rollout="fraud-43")
    assert run.decided[-1].decision == "started"
    run.order("start", SHADOW.replace("fraud-42", "again"), rollout="again")
    canary = PLAN.replace("fraud-42", "canary").replace('"42"', '"44"')
    run.order("start", canary, rollout="canary")
    refused = run.decided[-2:]
    assert [one.rollout for one in refused] == ["again", "canary"]
    assert all(one.decision == "refused" and "fraud-42" in one.reason for one in refused)


def test_a_router_of_the_examples_moves_nothing() -> None:
    example = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "router.py"))["Router"]()
    example.weights["fraud"] = {"40": 1.0}
    for decision in until(begun(), "passed", SAME).decided:
        assert not example.apply(msgspec.to_builtins(decision))
    assert example.weights == {"fraud": {"40": 1.0}}


def test_a_rollout_in_shadow_that_ended_leaves_little_behind() -> None:
    run = begun().run(40, SAME, SAME)
    run.order("abort")
    state = run.replay.judge.assignments[0].judge.models["fraud"].state.consumers["rollouts"]
    (followed,) = state.rollouts.values()
    assert not followed.state.lanes and not followed.labels.grains and not followed.state.paired.n


NUMBERS = SHADOW.replace("{measure: error, margin: 50%}", "{measure: absolute_error, margin: 0.5}").replace(
    "  - {measure: agrees, margin: 30%}\n", ""
)


@pytest.mark.parametrize(("spread", "end"), [(1.0, "passed"), (4.0, "rolled_back")])
def test_distances_to_labels_are_judged_in_pairs(spread: float, end: str) -> None:
    """A regression: the candidate is as near to the labels as the primary, or three units farther on average."""
    run = RoutedReplay()
    seconds = 0

    def lines(start: int) -> list[tuple[str, bytes]]:
        made = []
        for at in range(40):
            ts, truth, id_ = run.second * 1_000 + start + at * 25, run.rng.gauss(200, 50), f"n{run.second}.{at}"
            for version, off in (("41", 1.0), ("42", spread)):
                event = {"id": id_, "model": "fraud", "version": version, "ts": ts, "latency_ms": 5.0}
                made.append(("predictions", event | {"prediction": truth + run.rng.gauss(0, off)}))
            made.append(("labels", {"id": id_, "ts": ts + 500, "label": truth}))
        run.second += 1
        return [(role, json.dumps(event).encode()) for role, event in made]

    start = 1_700_000_000_000
    while end not in run.names and seconds < 400:
        if seconds == 30:
            run.order("start", NUMBERS)
        run.replay.feed(lines(start))
        seconds += 1
    assert (run.names[0], run.names[-1]) == ("started", end) and set(run.names) <= {"started", "hold", end}
    shown = next(one for one in run.decided[-1].evidence if one.guard == "absolute_error")
    assert shown.line.plus == 0.5 and (shown.candidate.mean > 1) == (end == "rolled_back")
