"""Rollouts as programs ask for them: the list, one of them, the verdict that Argo polls, and Flagger's gates."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stream_monitor.dashboard.retention import REPORTS_KEPT
from stream_monitor.dashboard.rollouts import is_open, rollout_view, rollouts_view, verdict_of, verdict_view
from stream_monitor.dashboard.store import Snapshot, Store
from stream_monitor.events.rollouts import RolloutDecision, RolloutStateName, decision_key
from stream_monitor.kafka.follower import FollowedRecord
from tests.dashboard import stories
from tests.dashboard.conftest import DISK, serving


def asked(url: str, method: str = "GET") -> tuple[int, Any]:
    """Status and answer."""
    request = urllib.request.Request(url, b"{}" if method == "POST" else None, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_the_api_lists_rollouts_and_tells_the_history_of_each(site: str) -> None:
    _, listed = asked(f"{site}/api/v1/rollouts")
    assert [(one["rollout"], one["state"]) for one in listed["rollouts"]] == [
        ("fraud-43", "running"), ("fraud-42", "rolled_back")
    ]  # fmt: skip
    _, one = asked(f"{site}/api/v1/rollouts/fraud/fraud-42")
    seqs = [decision["seq"] for decision in one["decisions"]]
    assert one["verdict"] == "harm" and seqs == list(range(len(seqs), 0, -1))
    assert one["decisions"][-1]["reason"] == stories.HOSTILE
    assert asked(f"{site}/api/v1/rollouts/fraud/nothing")[0] == 404


def test_an_argo_style_poll_reads_the_verdict_with_200_whatever_is_known(site: str) -> None:
    expected = {"fraud-42": "harm", "fraud-43": "hold", "nothing": "none"}
    for name, verdict in expected.items():
        status, answer = asked(f"{site}/rollouts/fraud/{name}/verdict")
        assert (status, answer["verdict"]) == (200, verdict)


def test_flagger_style_gates_answer_by_status_and_change_nothing(site: str) -> None:
    expected = {
        ("fraud-42", "advance"): 403, ("fraud-42", "promote"): 403, ("fraud-42", "rollback"): 200,
        ("fraud-43", "advance"): 200, ("fraud-43", "promote"): 403, ("fraud-43", "rollback"): 403,
        ("nothing", "advance"): 403, ("nothing", "rollback"): 403, ("fraud-43", "else"): 404,
    }  # fmt: skip
    for method in ("GET", "POST"):
        for (name, gate), status in expected.items():
            assert asked(f"{site}/rollouts/fraud/{name}/gate/{gate}", method)[0] == status, (name, gate)


def test_a_rollout_that_is_silent_for_an_hour_closes_its_gate_and_says_so(store: Store) -> None:
    with serving(stories.settings(), store, now=stories.ARRIVED + 3_600_000) as late:
        status, answer = asked(f"{late}/rollouts/fraud/fraud-43/gate/advance")
        assert status == 403 and "no decision and no report has come for 1h" in answer["reason"]
        assert asked(f"{late}/rollouts/fraud/fraud-42/gate/rollback")[0] == 200


@pytest.mark.parametrize(
    ("state", "verdict"),
    [
        ("waiting", "hold"),
        ("hold", "hold"),
        ("inconclusive", "harm"),
        ("running", "hold"),
        ("promoted", "pass"),
        ("passed", "pass"),
        ("aborted", "harm"),
    ],
)
def test_each_state_has_its_verdict(state: RolloutStateName, verdict: str) -> None:
    weights = {"1": 1.0} if state in ("aborted", "inconclusive") else {"2": 0.1, "1": 0.9}
    assert verdict_of(msgspec.structs.replace(_decision(1), state=state, weights=weights)) == verdict


def _decision(seq: int, name: str = "progress", model: str = "m/x") -> RolloutDecision:
    return RolloutDecision(
        id=str(seq), rollout="r", seq=seq, ts=seq, decision=name, state="running", step=1, model=model,  # type: ignore[arg-type]
        candidate="2", primary="1", pattern="canary", weights={"2": 0.1, "1": 0.9}, by="judge", reason="because",
    )  # fmt: skip


def _record(offset: int, decision: RolloutDecision) -> FollowedRecord:
    return FollowedRecord("decisions", 0, offset, 1, decision_key(decision), msgspec.json.encode(decision))


def test_the_store_keeps_every_decision_and_the_latest_reports(tmp_path: Path) -> None:
    store = Store(tmp_path / "page.sqlite", DISK, stories.APP)
    records = [_record(0, _decision(1, "started"))]
    records += [_record(seq, _decision(seq + 1)) for seq in range(1, REPORTS_KEPT + 50)]
    store.apply(records, {("decisions", 0): len(records)})
    store.apply(records[-3:], {("decisions", 0): len(records)})  # read twice
    with Snapshot(store.path) as snapshot:
        assert snapshot.one("SELECT COUNT(*), MIN(seq) FROM decision") == (REPORTS_KEPT + 1, 1)
    with serving(stories.settings(), store) as url:  # a model may have a slash in its name
        assert asked(f"{url}/rollouts/m/x/r/verdict")[1]["seq"] == len(records)
        assert asked(f"{url}/api/v1/rollouts/m%2Fx/r")[1]["model"] == "m/x"
    store.close()


def _live(seq: int, name: str = "progress", **changes: Any) -> RolloutDecision:
    return msgspec.structs.replace(_decision(seq, name), report_every=600_000, **changes)


def test_a_gate_closes_when_reports_stay_away_and_the_verdict_says_why(tmp_path: Path) -> None:
    store = Store(tmp_path / "page.sqlite", DISK, stories.APP)
    store.apply([_record(0, _live(1, "started"))], {("decisions", 0): 1})  # which came at 1 ms
    soon, late = 1_860_000, 1_861_000 + 60_000
    with Snapshot(store.path) as snapshot:
        assert is_open(snapshot, "m/x", "r", "advance", soon) and not is_open(snapshot, "m/x", "r", "advance", late)
        assert verdict_view(snapshot, "m/x", "r", soon)["reason"] == "because"
        assert "no decision and no report has come for 32m" in verdict_view(snapshot, "m/x", "r", late)["reason"]
    store.close()


def test_a_pass_in_shadow_opens_the_gates_and_is_never_stale(tmp_path: Path) -> None:
    store = Store(tmp_path / "page.sqlite", DISK, stories.APP)
    passed = _live(1, "passed", state="passed", pattern="shadow", weights={"1": 1.0})
    store.apply([_record(0, passed)], {("decisions", 0): 1})
    with Snapshot(store.path) as snapshot:
        opened = [is_open(snapshot, "m/x", "r", gate, 10**12) for gate in ("advance", "promote", "rollback")]
        assert opened == [True, True, False] and verdict_view(snapshot, "m/x", "r", 1)["verdict"] == "pass"
    store.close()


def test_a_refused_order_changes_no_verdict_no_gate_and_no_list(tmp_path: Path) -> None:
    """A rollout without a verdict keeps its weights where the file says so; what is refused after it has none."""
    store = Store(tmp_path / "page.sqlite", DISK, stories.APP)
    ended = _live(1, "inconclusive", state="inconclusive")
    refusal = _live(2, "refused", state="inconclusive", weights={})
    store.apply([_record(0, ended), _record(1, refusal)], {("decisions", 0): 2})
    with Snapshot(store.path) as snapshot:
        assert not is_open(snapshot, "m/x", "r", "rollback", 1) and verdict_view(snapshot, "m/x", "r", 1)["seq"] == 1
        assert rollout_view(snapshot, "m/x", "r")["verdict"] == "hold"
        assert [one["seq"] for one in rollouts_view(snapshot)] == [1]
    store.close()


def test_a_rollout_whose_start_was_refused_never_began_and_is_listed(tmp_path: Path) -> None:
    store = Store(tmp_path / "page.sqlite", DISK, stories.APP)
    refusal = _live(1, "refused", state="waiting", weights={})
    store.apply([_record(0, refusal)], {("decisions", 0): 1})
    with Snapshot(store.path) as snapshot:
        assert verdict_view(snapshot, "m/x", "r", 1)["verdict"] == "none"
        assert [one["decision"] for one in rollouts_view(snapshot)] == ["refused"]
    store.close()
