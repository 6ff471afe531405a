"""Rollouts from events to decisions: what the judge feeds them, in any batches, with labels early and late."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import msgspec
import pytest

from stream_monitor.events.rollouts import RolloutDecision
from stream_monitor.file_replay import Replay
from stream_monitor.judge.model_state import ModelState
from stream_monitor.profiles.names import NEVER
from stream_monitor.profiles.records import RolloutRecord
from stream_monitor.rollouts.model_rollouts import MOST_KEPT, MOST_LIVE, MOST_ORDERS, RolloutsState
from stream_monitor.rollouts.strata import InputStratum
from stream_monitor.stages.contract import Output
from tests.judge.logs import packed, restored
from tests.rollouts.routed import PLAN, RATE, RoutedReplay, Router, Version, decisions_of
from tests.rollouts.stories import MINUTE, QUICK, Story
from tests.streams import T0, quick_settings

SAME = Version()
LATENCY = PLAN.replace("{measure: error, margin: 50%}", "{measure: latency_ms.p99, margin: 50%}")
MEAN = PLAN.replace("{measure: error, margin: 50%}", "{measure: latency_ms.mean, margin: 20%}")
CLICKS = PLAN.replace("{measure: error, margin: 50%}", "{measure: signal.click, worse: down, margin: 30%}")
NULLS = PLAN.replace("{measure: error, margin: 50%}", "{measure: prediction.missing, margin: 5pp}")
CATEGORY = PLAN.replace("{measure: error, margin: 50%}", "{measure: prediction=true, margin: 50%}")
NO_LABELS = PLAN.replace("{measure: error, margin: 50%}, ", "")


def begun(text: str = PLAN, seed: int = 1) -> RoutedReplay:
    """Half a minute of the primary alone, then the start."""
    run = RoutedReplay(seed=seed).run(30, SAME, SAME)
    run.order("start", text, reason="a new version")
    return run


def test_an_equal_candidate_is_promoted_step_by_step() -> None:
    run = begun().run(400, SAME, SAME)
    assert run.names == ["started", "promote_step", "promoted"] and run.router.weight == 1
    assert [decision.weights for decision in run.changes] == [
        {"42": 0.2, "41": 0.8}, {"42": 0.5, "41": 0.5}, {"42": 1.0}
    ]  # fmt: skip
    assert [decision.seq for decision in run.decided] == list(range(1, len(run.decided) + 1))
    assert len({decision.id for decision in run.decided}) == len(run.decided) > 6
    evidence = {one.guard: one for one in run.decided[-1].evidence}
    assert evidence["error"].passes["1"] >= 20 and evidence["null_answer"].passes["1"] >= 20
    assert abs(evidence["error"].candidate.mean - 0.1) < 0.04 and abs(evidence["error"].primary.mean - 0.1) < 0.02
    assert abs(evidence["null_answer"].primary.mean - 0.01) < 0.005


@pytest.mark.parametrize(
    ("text", "candidate", "measure"),
    [
        (PLAN, Version(error=0.4), "error"),
        (LATENCY, Version(latency=250), "latency_ms.p99"),
        (MEAN, Version(latency=100), "latency_ms.mean"),
        (CLICKS, Version(click=0.15), "signal.click"),
        (NULLS, Version(null=0.4), "prediction.missing"),
        (CATEGORY, Version(true=0.7), "prediction=true"),
        (NO_LABELS, Version(null=0.3), "null_answer"),
    ],
)
def test_a_worse_candidate_is_rolled_back_by_the_guard_that_sees_it(
    text: str, candidate: Version, measure: str
) -> None:
    run = begun(text)
    while "rolled_back" not in run.names and run.second < 200:
        run.run(5, SAME, candidate)
    last = run.decided[-1]
    assert last.decision == "rolled_back" and last.reason.startswith(f"{measure} is surely worse")
    assert run.router.weight == 0 and last.weights == {"41": 1.0}
    assert last.exposed < 60 * RATE


@pytest.mark.parametrize("candidate", [SAME, Version(error=0.4)])
def test_the_batches_in_which_the_log_is_read_do_not_affect_a_decision(candidate: Version) -> None:
    run = begun().run(150, SAME, candidate)
    published = decisions_of(run.outputs)
    assert len(published) >= 2
    for size in (111, 5_000):
        assert run.again(size) == published


def test_labels_that_are_read_before_or_after_all_predictions_give_the_same_promotions() -> None:
    """Nothing routes here: the weights are those of the steps that a run in order has found."""
    run = begun().run(400, SAME, SAME)
    start = next(at for at, item in enumerate(run.log) if isinstance(item, RolloutRecord))
    before, order, after = run.log[:start], run.log[start], run.log[start + 1 :]
    assert isinstance(order, RolloutRecord)

    def decided(chosen: list[object]) -> list[tuple[str, int]]:
        outputs = list[Output]()
        replay = Replay(run.settings, outputs.append)
        replay.feed([item for item in before if isinstance(item, tuple)])
        replay.order(order)
        replay.feed([item for item in chosen if isinstance(item, tuple)])
        replay.finish()
        read = [json.loads(value) for value in decisions_of(outputs)]
        return [(one["decision"], one["ts"]) for one in read if one["decision"] != "progress"]

    labels = [item for item in after if isinstance(item, tuple) and item[0] == "labels"]
    others = [item for item in after if isinstance(item, tuple) and item[0] != "labels"]
    expected = [(decision.decision, decision.ts) for decision in run.changes]
    assert decided([*labels, *others])[:3] == expected
    assert decided([*others, *labels])[:3] == expected


def test_a_snapshot_at_any_second_goes_on_to_the_same_decisions() -> None:
    whole = begun().run(120, SAME, Version(error=0.15))
    cut = begun()
    for second in range(120):
        if second % 7 == 0:
            partition = cut.replay.judge.assignments[0].judge
            state: ModelState = restored(packed(partition.models["fraud"]))
            partition.models["fraud"] = partition.model_judge(state)
        cut.run(1, SAME, Version(error=0.15))
    assert decisions_of(cut.outputs) == decisions_of(whole.outputs)


def test_without_labels_nothing_is_promoted_and_the_hold_says_why() -> None:
    run = begun(PLAN.replace("5m", "1m")).run(200, SAME, SAME, labels=False)
    assert run.names == ["started", "hold"] and run.changes[-1].holds == ["no_labels"]
    assert run.run(120, SAME, SAME).names[2] == "resumed"


def test_each_order_has_one_decision_that_names_it_and_a_second_one_has_none() -> None:
    run = begun().run(5, SAME, SAME)
    run.order("pause", reason="lunch")
    run.order("approve")
    run.order("resume")
    run.order("resume", command="c4")
    run.order("abort", reason="enough")
    assert [(one.decision, one.command) for one in run.changes] == [
        ("started", "c1"), ("hold", "c2"), ("refused", "c3"), ("resumed", "c4"), ("aborted", "c6")
    ]  # fmt: skip
    assert run.decided[-1].by == "person:anna" and run.decided[-1].reason == "enough" and run.router.weight == 0
    run.order("start", PLAN)
    assert run.decided[-1].decision == "refused"


def test_a_start_that_cannot_be_is_refused_and_may_be_tried_again() -> None:
    run = begun().run(5, SAME, SAME)
    other = PLAN.replace("fraud-42", "fraud-43").replace('"42"', '"43"')
    run.order("start", other, rollout="fraud-43")
    assert run.decided[-1].decision == "refused" and "fraud-42 is not over" in run.decided[-1].reason
    run.order("abort")
    run.order("start", other, rollout="fraud-43")
    last = run.decided[-1]
    assert (last.decision, last.rollout, last.seq, last.weights) == ("started", "fraud-43", 2, {"43": 0.2, "41": 0.8})


def test_only_so_many_rollouts_of_a_model_run_at_a_time() -> None:
    run = RoutedReplay().run(10, SAME, SAME)
    for number in range(MOST_LIVE + 1):
        text = PLAN.replace("fraud-42", f"r{number}").replace('"42"', f'"b{number}"').replace('"41"', f'"a{number}"')
        run.order("start", text, rollout=f"r{number}")
    assert [one.decision for one in run.changes] == ["started"] * MOST_LIVE + ["refused"]
    assert "4 rollouts" in run.decided[-1].reason


def test_an_order_of_a_model_that_has_not_come_waits_for_it() -> None:
    run = RoutedReplay()
    run.order("start", PLAN)
    assert not run.decided
    assert run.run(30, SAME, SAME).names == ["started"]


def test_a_start_waits_for_its_time() -> None:
    run = RoutedReplay().run(20, SAME, SAME)
    run.order("start", PLAN, since=T0 + 40_000)
    assert not run.decided and run.run(40, SAME, SAME).names == ["started"]
    assert run.decided[0].ts >= T0 + 40_000


@pytest.mark.parametrize("text", ["", "nonsense: true", PLAN.replace("model: fraud", "model: other"), "- 1", "\x00"])
def test_an_order_without_a_rollout_is_refused_and_breaks_nothing(text: str) -> None:
    """Each order has one decision that names it, and numbers go on."""
    run = RoutedReplay().run(10, SAME, SAME)
    run.order("start", text)
    run.order("promote", rollout="x" * 1_000)
    assert run.names == ["refused", "refused"]
    assert [one.command for one in run.decided] == ["c1", "c2"] and not any(one.weights for one in run.decided)
    assert run.decided[0].reason and run.decided[1].reason == "it was never started"
    assert len(run.decided[1].rollout) == 64
    run.order("start", PLAN)
    assert run.run(5, SAME, SAME).names[2:] == ["started"]
    assert [one.seq for one in run.decided if one.rollout == "fraud-42"] == [1, 2]


def test_a_waiting_rollout_survives_a_start_with_a_bad_file() -> None:
    run = RoutedReplay().run(10, SAME, SAME)
    run.order("start", PLAN + "approve: [start]\n")
    run.order("start", "nonsense: true")
    run.order("approve")
    assert run.names == ["waiting", "refused", "started"] and [one.seq for one in run.decided] == [1, 2, 3]


def test_orders_beyond_those_that_may_wait_are_refused() -> None:
    run = RoutedReplay()
    for _ in range(MOST_ORDERS + 1):
        run.order("start", PLAN)
    assert run.names == ["refused"] and "100 orders wait for models" in run.decided[0].reason


def test_a_refusal_of_one_order_too_many_has_a_number_of_its_own() -> None:
    run = begun()
    for _ in range(MOST_ORDERS + 1):
        run.order("start", PLAN, since=T0 + 10**9)
    run.order("pause")
    numbers = [one.seq for one in run.decided if one.rollout == "fraud-42"]
    assert run.names[-2:] == ["refused", "hold"] and numbers == list(range(1, len(numbers) + 1))


def test_corrections_of_labels_do_not_count_twice() -> None:
    """The first label of a prediction counts. A thousand corrections to `wrong` of equal versions change no worth."""
    run = begun().run(60, SAME, SAME)
    plain = begun().run(60, SAME, SAME)
    corrections = [
        ("labels", json.dumps({"id": f"r{number}", "label": "other", "ts": T0 + 89_000}).encode())
        for number in range(30 * RATE, 50 * RATE)
    ]
    run.replay.feed(corrections)
    states = []
    for one in (run, plain):
        one.run(30, SAME, SAME)
        states.append(one.replay.judge.assignments[0].judge.models["fraud"].state.consumers["rollouts"])
    corrected, clean = states
    assert isinstance(corrected, RolloutsState) and isinstance(clean, RolloutsState)
    followed, expected = corrected.rollouts["fraud-42"], clean.rollouts["fraud-42"]
    assert sum(followed.labels.corrected) > 0 and sum(expected.labels.corrected) == 0
    lane, other = (one.state.lanes["error\x1fall"] for one in (followed, expected))
    assert (lane.primary.n, lane.candidate.n) == (other.primary.n, other.candidate.n)
    assert lane.primary.total == other.primary.total


def test_a_model_that_is_forgotten_ends_its_rollout() -> None:
    run = begun().run(20, SAME, SAME)
    judge = run.replay.judge.assignments[0].judge.models["fraud"]
    (last,) = (output for output in judge.end() if isinstance(output, RolloutDecision))
    assert last.decision == "inconclusive" and last.weights == {"41": 1.0}


def test_a_rollout_that_ended_leaves_little_behind() -> None:
    run = begun().run(60, SAME, SAME)
    run.order("abort")
    state = run.replay.judge.assignments[0].judge.models["fraud"].state.consumers["rollouts"]
    (followed,) = state.rollouts.values()
    assert not followed.state.lanes and not followed.labels.grains and not followed.panes
    assert followed.state.seq == len(run.decided) and state.newest_grain > NEVER


def test_a_router_that_reads_twice_ends_at_the_same_weights() -> None:
    run = begun().run(200, SAME, Version(error=0.4))
    other = Router()
    for decision in [*run.decided, *run.decided[:1], *run.decided]:
        other.apply(decision)
    assert (other.seq, other.weight) == (run.router.seq, run.router.weight)


def test_the_router_of_the_examples_ends_at_the_published_weights() -> None:
    example = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "router.py"))["Router"]()
    run = begun().run(200, SAME, SAME)
    for decision in [*run.decided, *run.decided]:
        example.apply(msgspec.to_builtins(decision))
    assert example.weights == {"fraud": run.decided[-1].weights}
    drawn = [example.version_for("fraud", "41") for _ in range(2_000)]
    assert abs(drawn.count("42") / 2_000 - run.router.weight) < 0.06
    assert example.version_for("other", "7") == "7"


def test_a_refused_order_moves_no_request_of_another_rollout() -> None:
    """Neither before its start, nor after its end."""
    example = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "router.py"))["Router"]()
    run = begun().run(10, SAME, SAME)
    run.order("start", PLAN.replace("fraud-42", "fraud-43").replace('"41"', '"42"').replace('"42"', '"43"', 1),
              rollout="fraud-43")  # fmt: skip
    assert run.decided[-1].decision == "refused" and run.decided[-1].weights == {}
    run.order("abort")
    run.order("start", PLAN.replace("fraud-42", "fraud-50").replace('"42"', '"50"').replace('"41"', '"49"'),
              rollout="fraud-50")  # fmt: skip
    run.order("resume")
    assert run.decided[-1].decision == "refused" and run.decided[-1].weights == {}
    for decision in run.decided:
        example.apply(msgspec.to_builtins(decision))
    assert example.weights == {"fraud": {"50": 0.2, "49": 0.8}}


@pytest.mark.parametrize("measure", ["latency_ms.p90, margin: 50%", "latency_ms.mean, margin: 100%"])
def test_a_line_beyond_the_last_bin_passes_nobody(measure: str) -> None:
    """All values of the primary are alike, so ten times as much lies beyond each bin near them."""
    run = begun(PLAN.replace("{measure: error, margin: 50%}", f"{{measure: {measure}}}"))
    run.rng.lognormvariate = lambda mu, sigma: 1.0 + run.rng.random() / 20  # type: ignore[method-assign]
    run.run(200, SAME, Version(latency=500.0))
    assert "promoted" not in run.names


def test_a_guard_of_which_nothing_comes_is_shown_and_nothing_is_promoted() -> None:
    run = begun(PLAN.replace("{measure: error, margin: 50%}", "{measure: nosuch.mean}")).run(120, SAME, SAME)
    assert "promoted" not in run.names
    unseen = next(one for one in run.decided[-1].evidence if one.guard == "nosuch.mean")
    assert unseen.candidate.n == 0 and unseen.passes["1"] == 1.0


def test_a_name_that_was_forgotten_goes_on_with_its_numbers() -> None:
    """A router that keeps the last number would ignore those of a rollout that begins at 1 again."""
    run = RoutedReplay().run(10, SAME, SAME)
    for number in range(MOST_KEPT + 2):
        text = PLAN.replace("fraud-42", f"r{number}")
        run.order("start", text, rollout=f"r{number}")
        run.order("abort", rollout=f"r{number}")
    run.order("start", PLAN.replace("fraud-42", "r0"), rollout="r0")
    last = run.decided[-1]
    assert (last.decision, last.rollout, last.seq) == ("started", "r0", 3)


def test_what_counts_for_nothing_is_in_the_next_decision() -> None:
    run = begun(CLICKS).run(20, SAME, SAME, labels=False)
    lines = [
        ("labels", json.dumps({"id": f"r{45 * RATE + 1}", "label": True, "ts": T0 + 49_000}).encode()),
        ("labels", json.dumps({"id": f"r{45 * RATE + 1}", "label": False, "ts": T0 + 49_100}).encode()),
        ("feedback", json.dumps({"id": f"r{45 * RATE + 2}", "ts": T0 + 49_000, "signals": {"click": 7}}).encode()),
    ]
    run.replay.feed(lines)
    run.order("pause")
    assert "values of signals that are neither 0 nor 1" in run.decided[-1].left_out


def test_a_guard_of_which_nothing_comes_holds_the_rollout_and_says_so() -> None:
    text = PLAN.replace("{measure: error, margin: 50%}", "{measure: nosuch.mean}").replace("5m", "30s")
    run = begun(text).run(90, SAME, SAME)
    assert run.names == ["started", "hold"] and run.changes[-1].holds == ["not_seen"]


def test_a_quantile_of_0_is_known_once_it_is_learned() -> None:
    """Most latencies are 0, so the p50 is; a candidate without any 0 is beyond it."""
    run = begun(PLAN.replace("{measure: error, margin: 50%}", "{measure: latency_ms.p50, margin: 50%}"))
    run.rng.lognormvariate = lambda mu, sigma: float(run.rng.random() < 0.3)  # type: ignore[method-assign]
    run.run(60, SAME, SAME)
    while "rolled_back" not in run.names and run.second < 300:
        run.rng.lognormvariate = lambda mu, sigma: 1.0  # type: ignore[method-assign]
        run.run(1, Version(latency=0.0), Version(latency=50.0))
    assert run.changes[-1].reason.startswith("latency_ms.p50 is surely worse")


@pytest.mark.parametrize("lag", [0, 20 * MINUTE])
def test_a_router_that_follows_in_two_minutes_is_not_suspected_because_labels_lag(lag: int) -> None:
    """The weight of a decision holds from the newest pane: its event time may lie far before that."""
    story, weights = Story(QUICK.replace("20%, for: 10m, count: 100", "20%, for: 30m")), [0.2, 0.2]
    story.order("start")
    for _ in range(300):
        start, story.now = story.now, story.now + MINUTE
        weights.append(story.weight)
        sent = int(story.rng.binomial(400, weights[-3]))
        story.canary.traffic(start, story.now, 400 - sent, sent)
        arms = story._arms((400 - sent, sent), (0.2, 0.2))
        story._heard(story.canary.pane("null_answer", "all", InputStratum(start, story.now, arms)))
        story._heard(story.canary.advance(story.now - lag))
    assert "promote_step" in story.names and "hold" not in story.names


def test_a_model_that_was_forgotten_goes_on_with_the_numbers_of_its_rollouts() -> None:
    settings = quick_settings(caps={"model_ttl": "1m"})
    run = RoutedReplay(settings).run(20, SAME, SAME)
    run.order("start", PLAN)
    run.run(10, SAME, SAME)
    other = [
        ("predictions", json.dumps({"id": f"o{at}", "model": "other", "ts": T0 + 1_000 * at, "prediction": 1}).encode())
        for at in range(30, 400)
    ]
    run.replay.feed(other)
    ended = run.decided[-1].seq
    assert run.decided[-1].decision == "inconclusive" and ended == len(run.decided)
    run.second = 400
    run.run(20, SAME, SAME)
    run.order("start", PLAN)
    assert (run.decided[-1].decision, run.decided[-1].seq) == ("started", ended + 1)
