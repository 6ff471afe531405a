"""A log of profiles that is judged again: the same on the same terms, and as asked on others."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from stream_monitor.baseline.build import build
from stream_monitor.baseline.show import active
from stream_monitor.config.settings import Settings
from stream_monitor.errors import SettingsError
from stream_monitor.events.contracts import Alert, Metric
from stream_monitor.events.rollouts import RolloutDecision
from stream_monitor.file_replay import Replay
from stream_monitor.profiles.records import RolloutRecord
from stream_monitor.rejudge.comparison import Comparison, DecisionComparison, Scope
from stream_monitor.rejudge.log_replay import Log, RejudgeTerms, judge_again
from stream_monitor.rollouts.past import PastRollout
from tests.judge.logs import Recorded, recorded
from tests.rollouts.routed import PLAN, RoutedReplay, Version
from tests.streams import T0, quick_settings, shop

HALF = T0 + 150_000


def rules(**sections: Any) -> Settings:
    return quick_settings(segments=[["country"]], **sections)


def detection(**changes: Any) -> dict[str, Any]:
    return quick_settings().detection.model_dump(mode="json") | changes


@pytest.fixture(scope="module")
def live() -> Recorded:
    """Five minutes of two models; the amount doubles half-way."""
    return recorded(rules(), [(e.role, e.raw) for e in shop(5, 3_000)])


def said(terms: RejudgeTerms, log: Log) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    alerts, metrics = list[dict[str, Any]](), list[dict[str, Any]]()
    for record in judge_again(terms, 0).process(log):
        if isinstance(record, Alert | Metric):
            into = alerts if isinstance(record, Alert) else metrics
            into.append(json.loads(msgspec.json.encode(record)))
    return alerts, metrics


def opened(alerts: list[dict[str, Any]], measure: str = "amount", kind: str = "drift") -> list[int]:
    found = [a["opened_ts"] for a in alerts if (a["measure"], a["kind"], a["status"]) == (measure, kind, "open")]
    return sorted(found)


def test_the_same_settings_say_the_same_of_every_window(live: Recorded) -> None:
    alerts, metrics = said(RejudgeTerms(rules(), catalog=live.knowledge_of_edges()), live.log)
    assert opened(alerts)
    assert alerts == live.alerts
    assert metrics == live.metrics


def test_the_settings_of_the_log_stay_in_force_where_they_are_to_be_obeyed(live: Recorded) -> None:
    strange = rules(detection=detection(tolerance={"psi": 100.0, "ks": 1.0}))
    assert said(RejudgeTerms(strange, obey_log=True), live.log) == (live.alerts, live.metrics)


def test_another_tolerance_keeps_what_is_larger_and_loses_what_is_smaller(live: Recorded) -> None:
    blind = rules(detection=detection(input=[], tolerance={"psi": 100.0, "ks": 1.0}))
    alerts, _ = said(RejudgeTerms(blind), live.log)
    assert opened(live.alerts) and not opened(alerts)
    kept = {a["id"] for a in live.alerts if a["group"] == "outcome"}
    assert {a["id"] for a in alerts if a["group"] == "outcome"} == kept


@pytest.mark.parametrize("first", [250, 100, 400])
def test_another_length_of_baselines_counts_on_the_edges_that_profiles_lie_on(first: int) -> None:
    made = recorded(rules(baseline={"first": 250}), [(e.role, e.raw) for e in shop(5, 3_000)])
    terms = RejudgeTerms(rules(baseline={"first": first}), catalog=made.knowledge_of_edges())
    found = opened(said(terms, made.log)[0])
    assert found and min(found) >= HALF - 10_000


def test_a_limit_that_no_setting_had_is_decided_too(live: Recorded) -> None:
    terms = RejudgeTerms(rules(detection=detection(limits=["amount.p50 > 15"])), catalog=live.knowledge_of_edges())
    found = opened(said(terms, live.log)[0], kind="limit")
    assert found and min(found) >= HALF - 10_000
    assert not opened(live.alerts, kind="limit")


def test_panes_windows_and_segments_cannot_be_others(live: Recorded) -> None:
    with pytest.raises(SettingsError, match="what profiles are made of"):
        said(RejudgeTerms(quick_settings(segments=[["n"]])), live.log)


def test_another_baseline_takes_the_place_of_the_first_values_and_of_pinned_ones() -> None:
    events = [(e.role, e.raw) for e in shop(5, 3_000)]
    calm = build(rules(), [(e.role, e.raw) for e in shop(6, 1_000) if e.ts < T0 + 50_000], "calm", None).baselines
    doubled = build(rules(), [(e.role, e.raw) for e in shop(6, 3_000) if e.ts > HALF], "doubled", None).baselines
    live = recorded(rules(), events, calm)
    assert min(opened(live.alerts)) >= HALF - 10_000
    terms = RejudgeTerms(rules(), pinned=doubled, keep_pins=False, catalog=live.knowledge_of_edges())
    alerts, metrics = said(terms, live.log)
    assert min(opened(alerts)) < T0 + 30_000, "what was normal is a change now"
    assert {m.get("baseline") for m in metrics} == {"doubled", None}, "None: a window of too few values"


def test_a_log_whose_beginning_has_expired_is_judged_by_the_baselines_in_force() -> None:
    by_windows = rules(detection=detection(input=[], outcome=[]))
    live = recorded(by_windows, [(e.role, e.raw) for e in shop(5, 3_000)])
    terms = RejudgeTerms(by_windows, False, False, active(live.notices), True, live.knowledge_of_edges())
    again = judge_again(terms, 0)
    left = live.log[len(live.log) // 2 - 10 :]
    alerts = [json.loads(msgspec.json.encode(a)) for a in again.process(left) if isinstance(a, Alert)]
    assert T0 < again.begins < HALF
    assert opened(live.alerts) and opened(alerts) == opened(live.alerts)
    assert min(opened(alerts)) > again.begins


def test_two_lives_are_compared_alert_by_alert(live: Recorded) -> None:
    found, scope = Comparison(), Scope("m0", HALF, HALF + 60_000)
    published = [msgspec.convert(a, Alert) for a in live.alerts]
    chosen = [alert for alert in published if scope.contains(alert)]
    assert 0 < len(chosen) < len(published)
    found.add_published(chosen, lambda model: HALF + 10_000)
    for alert in published:
        if scope.contains(alert) and alert.status == "open" and alert.opened_ts < HALF + 20_000:
            found.add_rejudged(alert)
    assert found.not_comparable == {a.id for a in chosen if a.opened_ts < HALF + 10_000}
    assert found.appeared and {a.id for a in found.appeared} <= found.not_comparable
    rows = {measure: count for _, measure, count in found.counts()}
    assert sum(row.then - row.both for row in rows.values()) == len(found.disappeared)
    assert all(len(found.then[a.id]) > 1 for a in found.changed)


# --- rollouts ---


def routed_log(candidate: Version, plan: str = "") -> Recorded:
    """Three minutes of two versions; with a plan, a rollout that was started then, and that nobody follows."""
    run, made = RoutedReplay(), Recorded(quick_settings())
    run.router.weight = 0.3
    for part in range(36):
        if plan and part == 4:
            made.order(RolloutRecord("fraud", "fraud-42", "c1", "start", "anna", text=plan))
        made.feed([line for _ in range(5) for line in run.lines(Version(), candidate)])
    return made


def test_a_recorded_rollout_is_judged_again_as_it_was_recorded() -> None:
    live = routed_log(Version(error=0.4), PLAN)
    terms = RejudgeTerms(quick_settings(), catalog=live.knowledge_of_edges())
    again = [record for record in judge_again(terms, 0).process(live.log) if isinstance(record, RolloutDecision)]
    assert [one.decision for one in live.decisions if one.decision != "progress"][-1] == "rolled_back"
    assert again == live.decisions
    found = DecisionComparison()
    for decision in again:
        found.add_rejudged(decision)
    found.add_published([*live.decisions, *live.decisions], lambda model: T0)
    (pair,) = found.rollouts()
    assert pair.same == len(pair.then) == len(pair.now) >= 2 and pair.rollout == "fraud-42"


def test_a_rollout_that_other_terms_end_otherwise_is_seen_in_the_comparison() -> None:
    live = routed_log(Version(error=0.4), PLAN)
    found = DecisionComparison()
    found.add_published(live.decisions, lambda model: T0)
    found.add_rejudged(live.decisions[0])
    (pair,) = found.rollouts()
    assert (pair.same, len(pair.now)) == (1, 1) and pair.then[-1].state == "rolled_back"
    late = DecisionComparison()
    late.add_published(live.decisions, lambda model: live.decisions[0].ts + 1)
    assert not list(late.rollouts()), "it began before the profiles that are left"


@pytest.mark.parametrize("since", [None, T0 + 20_000])
def test_a_rollout_over_a_log_takes_the_place_of_the_recorded_ones_and_says_what_events_say(since: int | None) -> None:
    live = routed_log(Version(error=0.4), PLAN)
    past = PastRollout(PLAN.encode(), "rollout.yaml", since)
    terms = RejudgeTerms(quick_settings(), catalog=live.knowledge_of_edges(), past=past)
    again = [record for record in judge_again(terms, 0).process(live.log) if isinstance(record, RolloutDecision)]
    found = past.verdict()
    assert {one.by for one in again} == {"the past", "judge"} and found.begins == (since or T0)
    by_events = PastRollout(PLAN.encode(), "rollout.yaml", since)
    run, replay = RoutedReplay(), Replay(quick_settings(), lambda output: None, past=by_events)
    run.router.weight = 0.3
    replay.feed([line for _ in range(180) for line in run.lines(Version(), Version(error=0.4))])
    replay.finish()
    events = by_events.verdict()
    assert (found.verdict, found.ends, found.exposed) == (events.verdict, events.ends, events.exposed)


def test_a_log_that_goes_on_tells_the_evidence_of_its_last_pane() -> None:
    live = routed_log(Version())
    past = PastRollout(PLAN.replace("50%}, {measure: null", "5%}, {measure: null").encode(), "rollout.yaml")
    list(judge_again(RejudgeTerms(quick_settings(), catalog=live.knowledge_of_edges(), past=past), 0).process(live.log))
    found = past.verdict()
    assert found.verdict == "none" and found.exposed > 1_500 and found.ends > T0 + 160_000
    assert found.evidence[0].candidate.n > 500 and "paused" not in found.holds
