"""Each row of the table of decisions, and what holds for all of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import jsonschema
import msgspec
import pytest

from stream_monitor.events.rollouts import Action
from stream_monitor.events.schemas import json_schema
from stream_monitor.rollouts import canary
from stream_monitor.rollouts.plan import MOST_SEGMENTS
from stream_monitor.wire.msgpack_arrays import pack
from tests.rollouts.stories import HEAD, QUICK, SHADOW, Story

APPROVED = QUICK + "approve: [start, step, promote]\n"
WATCHED = QUICK + "watch: {for: 1h, keep: 10%}\n"
LABELLED = QUICK.replace("null_answer", "error")
FAST = QUICK.replace("for: 10m", "for: 0s").replace("count: 100, margins: 4", "margins: 0")


def started(text: str = QUICK) -> Story:
    story = Story(text)
    assert story.order("start") == ["started"] and story.last.weights == {"42": 0.2, "41": 0.8}
    return story


def promoted(text: str = WATCHED) -> Story:
    story = started(text)
    assert story.order("promote") == ["promoted"]
    return story


def paused() -> Story:
    story = started().run(3)
    assert story.order("pause") == ["hold"] and story.last.holds == ["paused"]
    return story


def waits_for_a_person() -> None:
    story = Story(APPROVED)
    assert story.order("approve") == ["refused"]
    assert story.order("start") == ["waiting"] and story.last.weights == {}
    assert story.run(60).names == ["refused", "waiting"]


def starts() -> None:
    started()
    story = Story(APPROVED)
    assert [*story.order("start"), *story.order("approve")] == ["waiting", "started"]


def steps() -> None:
    story = started().run(60)
    assert story.names[:2] == ["started", "promote_step"]
    assert story.decided[1].ts - story.decided[0].ts >= 600_000
    assert story.decided[1].weights == {"42": 0.5, "41": 0.5} and "within 4 margins" in story.decided[1].reason


def holds_for_approval() -> None:
    story = started(QUICK + "approve: [step]\n").run(60)
    assert story.names == ["started", "hold"] and story.last.holds == ["approval"]
    assert story.last.weights == {"42": 0.2, "41": 0.8}
    assert story.order("resume") == ["refused"]


def reasons_change() -> None:
    story = paused().run(40, n=0)
    assert story.names == ["started", "hold", "hold"] and story.last.holds == ["no_traffic", "paused"]


def resumes() -> None:
    story = started().run(40, n=0)
    assert story.last.holds == ["no_traffic"]
    assert story.run(3).last.decision == "resumed"
    story = paused()
    assert story.order("resume") == ["resumed"] and story.run(1).last.decision == "resumed"


def approved_step_follows() -> None:
    story = started(QUICK + "approve: [step]\n").run(60)
    assert story.order("approve") == ["approved"] and story.last.state == "hold"
    assert story.run(1).names[-2:] == ["resumed", "promote_step"]


def promotes() -> None:
    story = started().run(200)
    assert story.names == ["started", "promote_step", "promoted"] and story.last.weights == {"42": 1.0}
    assert story.state.ended
    promoted()


def promoted_from_a_hold() -> None:
    story = paused()
    assert story.order("promote") == ["promoted"]


def passes_in_shadow() -> None:
    story = Story(SHADOW)
    assert story.order("start") == ["started"] and story.last.weights == {"41": 1.0}
    assert story.run(60).names == ["started", "passed"] and story.last.weights == {"41": 1.0}
    assert story.state.ended and story.last.ts - story.decided[0].ts >= 600_000
    assert Story(SHADOW).run(5).names == []


def passed_by_a_person() -> None:
    story = Story(SHADOW)
    story.order("start")
    assert story.run(3).order("pause") == ["hold"] and story.order("promote") == ["passed"]
    assert story.last.weights == {"41": 1.0} and story.order("abort") == ["refused"]


def watch_ends() -> None:
    story = promoted()
    assert story.last.weights == {"42": 0.9, "41": 0.1}
    assert story.run(61).names[-1] == "completed" and story.last.weights == {"42": 1.0} and story.state.ended


def harm_while_running() -> None:
    story = started().run(60, (0.2, 0.5))
    assert story.names[-1] == "rolled_back" and story.last.weights == {"41": 1.0}
    assert "null_answer is surely worse" in story.last.reason
    (evidence,) = story.last.evidence
    assert evidence.harm.settled >= evidence.harm.needs == 20


def harm_while_it_holds() -> None:
    assert paused().run(60, (0.2, 0.5)).names[-1] == "rolled_back"


def harm_in_the_watch() -> None:
    assert promoted().run(50, (0.2, 0.5)).names[-1] == "rolled_back"


def no_verdict() -> None:
    text = QUICK.replace("margin: 50%", "margin: 1%") + "max: 1h\n"
    story = started(text).run(70)
    assert story.names[-1] == "inconclusive" and story.last.weights == {"41": 1.0} and story.last.evidence
    story = started(text + "at_max: stay\n").run(70)
    assert story.names[-1] == "inconclusive" and story.last.weights == {"42": 0.2, "41": 0.8}
    story = started()
    assert [one.decision for one in story.canary.forget(story.now)] == ["inconclusive"]


def no_verdict_in_a_hold() -> None:
    story = paused()
    assert [one.decision for one in story.canary.forget(story.now)] == ["inconclusive"]


def aborted_from(make: Callable[[], Story]) -> Callable[[], None]:
    def check() -> None:
        story = make()
        assert story.order("abort") == ["aborted"] and story.last.weights == {"41": 1.0}
        assert story.order("abort") == ["refused"] and story.run(5).last.decision == "refused"

    return check


def reports_from(make: Callable[[], Story]) -> Callable[[], None]:
    """The evidence is published, and nothing changes."""

    def check() -> None:
        story = make().run(2)
        before = pack(story.state)
        (report,) = story.canary.report(story.now)
        assert report.decision == "progress" and report.seq == story.last.seq + 1
        assert report.weights == story.last.weights and report.state == story.last.state
        story.state.seq -= 1
        assert pack(story.state) == before
        assert not list(Story().canary.report(story.now))

    return check


def refused() -> None:
    story = Story()
    assert story.order("pause") == story.order("resume") == story.order("promote") == ["refused"]
    started_story = started()
    actions: tuple[Action, ...] = "start", "approve", "resume"
    for action in actions:
        assert started_story.order(action) == ["refused"]
    assert started_story.last.state == "running"


ROWS: dict[tuple[str, str, str], Callable[[], None]] = {
    ("waiting", "waiting", "waiting"): waits_for_a_person,
    ("waiting", "running", "started"): starts,
    ("running", "running", "progress"): reports_from(started),
    ("hold", "hold", "progress"): reports_from(paused),
    ("promoted", "promoted", "progress"): reports_from(promoted),
    ("running", "running", "promote_step"): steps,
    ("running", "hold", "hold"): holds_for_approval,
    ("hold", "hold", "hold"): reasons_change,
    ("hold", "running", "resumed"): resumes,
    ("hold", "hold", "approved"): approved_step_follows,
    ("running", "promoted", "promoted"): promotes,
    ("hold", "promoted", "promoted"): promoted_from_a_hold,
    ("running", "passed", "passed"): passes_in_shadow,
    ("hold", "passed", "passed"): passed_by_a_person,
    ("promoted", "promoted", "completed"): watch_ends,
    ("running", "rolled_back", "rolled_back"): harm_while_running,
    ("hold", "rolled_back", "rolled_back"): harm_while_it_holds,
    ("promoted", "rolled_back", "rolled_back"): harm_in_the_watch,
    ("running", "inconclusive", "inconclusive"): no_verdict,
    ("hold", "inconclusive", "inconclusive"): no_verdict_in_a_hold,
    ("waiting", "aborted", "aborted"): aborted_from(Story),
    ("running", "aborted", "aborted"): aborted_from(started),
    ("hold", "aborted", "aborted"): aborted_from(paused),
    ("promoted", "aborted", "aborted"): aborted_from(promoted),
    ("any", "same", "refused"): refused,
}


def test_the_table_has_just_the_rows_that_are_tested() -> None:
    rows = re.findall(r"^\| (\w+) \| (\w+) \| .* \| (\w+) \|$", canary.__doc__ or "", re.MULTILINE)
    assert [row for row in rows if row[0] != "state"] == list(ROWS)


@pytest.mark.parametrize("row", ROWS, ids="-".join)
def test_a_row_of_the_table(row: tuple[str, str, str]) -> None:
    ROWS[row]()


# --- reasons to hold ---


def test_without_labels_it_holds_and_nothing_is_promoted() -> None:
    story = started(LABELLED).run(200, labels=False)
    assert story.names == ["started", "hold"] and story.last.holds == ["no_labels"]


def test_with_labels_an_equal_candidate_is_promoted_and_a_worse_one_rolled_back() -> None:
    assert started(LABELLED).run(200).names == ["started", "promote_step", "promoted"]
    assert started(LABELLED).run(200, (0.2, 0.5)).names[-1] == "rolled_back"


def test_a_suspicion_holds_and_ends() -> None:
    story = started(FAST.replace("50%, for: 0s", "50%, for: 10d") + "hold_at: 2\n").run(30)
    while not story.last.holds:
        story.run(1, (0.2, 0.36))
    assert story.last.holds == ["suspicion"] and story.last.decision == "hold"
    assert story.run(200, (0.2, 0.2)).last.decision == "resumed"


def test_a_wrong_split_holds_until_the_router_is_on_the_weight_or_a_person_resumes() -> None:
    story = started(FAST.replace("50%, for: 0s", "50%, for: 10d")).run(1)
    assert story.weight == 0.5
    story.weight = 0.7
    story.run(30, follow=False)
    assert story.last.holds == ["split"] and story.last.checks[0].worth >= 1_000
    story.weight = 0.5
    assert story.run(10).last.decision == "resumed"
    story.weight = 0.7
    assert story.run(30, follow=False).last.holds == ["split"]
    assert story.order("resume") == ["resumed"]


def test_a_router_that_never_followed_is_told() -> None:
    story = started(FAST.replace("50%, for: 0s", "50%, for: 10d"))
    story.run(30, follow=False)
    assert story.weight == 0.2 and story.last.holds == ["weights_not_applied"]
    assert "rolled_back" not in story.names


def test_in_shadow_harm_rolls_back_whether_it_holds_or_not_and_nothing_moves() -> None:
    story = Story(SHADOW)
    story.order("start")
    assert story.run(60, (0.2, 0.5)).names[-1] == "rolled_back" and story.last.weights == {"41": 1.0}
    story = Story(SHADOW)
    story.order("start")
    story.run(3).order("pause")
    assert story.run(60, (0.2, 0.5)).names[-1] == "rolled_back"


def test_in_shadow_a_pass_waits_for_approval_and_labels() -> None:
    story = Story(SHADOW + "approve: [promote]\n")
    story.order("start")
    assert story.run(60).last.holds == ["approval"]
    assert story.order("approve") == ["approved"] and story.run(1).names[-1] == "passed"
    story = Story(SHADOW)
    story.order("start")
    assert story.run(60, labels=False).last.holds == ["no_labels"]


# --- what holds for all ---


def test_harm_does_not_wait_for_approval() -> None:
    story = Story(APPROVED)
    story.order("start"), story.order("approve")
    assert story.run(60, (0.2, 0.5)).names[-1] == "rolled_back"


def test_harm_of_one_segment_rolls_back() -> None:
    story = started(QUICK + "segments: [country]\n")
    equal = {f"country={i}": (0.2, 0.2) for i in range(4)}
    story.run(300, n=4_000, segments=equal | {"country=4": (0.2, 0.9)})
    assert story.names[-1] == "rolled_back" and "in country=4" in story.last.reason
    assert story.last.evidence[-1].harm.needs == pytest.approx(MOST_SEGMENTS * 40)


def test_segments_above_the_bound_are_left_out_and_counted() -> None:
    story = started(QUICK + "segments: [country]\n")
    story.run(1, n=4_000, segments={f"country={i}": (0.2, 0.2) for i in range(60)})
    assert len(story.state.lanes) == MOST_SEGMENTS + 1 and story.state.left_out == 9


def test_a_guard_that_is_only_reported_stops_nothing() -> None:
    reported = HEAD + (
        "steps: [{weight: 20%, for: 1h}]\nguards: [{measure: a, margin: 50%, report: true}, {measure: b, limit: 90%}]"
    )
    story = started(reported).run(120, (0.2, 0.5))
    assert story.names == ["started", "promoted"]
    assert [one.guard for one in story.last.evidence] == ["a", "b"] and story.last.evidence[0].report
    assert story.last.evidence[0].harm.settled > 20


def test_a_command_twice_is_one_and_each_has_a_decision_that_names_it() -> None:
    story = Story()
    assert story.order("start", name="x") == ["started"] and story.order("abort", name="x") == []
    story.order("pause", name="y")
    assert [one.command for one in story.decided] == ["x", "y"] and story.last.by == "person:anna"


def test_time_in_a_hold_does_not_count() -> None:
    story = started().run(3)
    story.order("pause")
    story.run(60)
    story.order("resume")
    assert story.run(6).names[-1] == "resumed" and story.run(5).names[-1] == "promote_step"


@pytest.mark.parametrize("p", [(0.2, 0.2), (0.2, 0.33), (0.2, 0.5)])
@pytest.mark.parametrize("text", [WATCHED, LABELLED])
def test_a_restart_at_every_minute_is_no_restart(p: tuple[float, float], text: str) -> None:
    through, restarted = Story(text, 3), Story(text, 3, lambda minute: minute % 3 == 0)
    for story in (through, restarted):
        story.order("start")
        story.run(60, p)
    assert restarted.decided == through.decided


def test_decisions_fit_their_schema_and_have_a_number_each() -> None:
    validator = jsonschema.Draft202012Validator(json_schema("rollout-decision"))
    for text, p in ((WATCHED, (0.2, 0.2)), (LABELLED, (0.2, 0.5)), (APPROVED, (0.2, 0.2))):
        story = Story(text)
        story.order("start")
        story.order("approve")
        story.run(80, p)
        assert [one.seq for one in story.decided] == list(range(1, len(story.decided) + 1))
        assert len({one.id for one in story.decided}) == len(story.decided)
        for one in story.decided:
            validator.validate(json.loads(msgspec.json.encode(one)))
            assert sum(one.weights.values()) == pytest.approx(1) or (one.decision == "waiting" and not one.weights)


def test_a_state_of_twenty_guards_is_small() -> None:
    guards = ", ".join(f"{{measure: m{i}}}" for i in range(20))
    story = started(HEAD + f"steps: [{{weight: 20%}}]\nguards: [{guards}]").run(10)
    assert len(msgspec.msgpack.encode(story.state, enc_hook=lambda array: array.tobytes())) < 50_000
