"""The API: its answers agree with the records, say what is wrong with a request, and are sent to those who may read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import numpy as np
import pytest

from stream_monitor.dashboard.incidents import incidents_view, remarks_of
from stream_monitor.dashboard.reduce import correlations, linkage, reduction
from stream_monitor.dashboard.store import Snapshot, Store
from stream_monitor.events.contracts import Alert, Attribution, ErrorChange, Health
from stream_monitor.events.reason_command import LABELS_AWAITED
from stream_monitor.events.remarks import Acknowledgement, Mute
from stream_monitor.kafka.follower import FollowedRecord
from tests.dashboard import stories
from tests.dashboard.api import ask
from tests.dashboard.conftest import DISK, filled, serving


def metrics(model: str, kind: str, size: int = 600_000, segment: str = "all") -> list[dict[str, Any]]:
    found = [json.loads(r.value) for r in stories.records() if r.role == "metrics" and r.value]
    last = {
        (m["version"], m["window_start"]): m
        for m in found
        if (m["model"], m["kind"], m["segment"]) == (model, kind, segment)
        and m["window_end"] - m["window_start"] == size
    }
    return [last[key] for key in sorted(last)]


def test_the_fleet_has_each_model_the_worst_first(site: str) -> None:
    status, fleet, _ = ask(f"{site}/api/v1/fleet")
    assert status == 200
    assert {row["model"] for row in fleet["models"]} == {"fraud", "ranking", stories.HOSTILE}
    ranks = [("critical", "warning", "info", None).index(row["severity"]) for row in fleet["models"]]
    assert ranks == sorted(ranks)
    fraud = next(row for row in fleet["models"] if row["model"] == "fraud")
    assert fraud["open"] == len([a for a in open_alerts() if a["model"] == "fraud"])
    assert fleet["totals"]["models"] == 3 and any(fraud["course"]["times"])


def open_alerts() -> list[dict[str, Any]]:
    states: dict[str, dict[str, Any]] = {}
    for record in stories.records():
        if record.role == "alerts" and record.value:
            alert = json.loads(record.value)
            if alert["status"] != "outcome":
                states[alert["id"]] = alert
    return [alert for alert in states.values() if alert["status"] != "resolved"]


def test_a_model_has_the_figures_of_its_records_as_columns(site: str) -> None:
    _, view, _ = ask(f"{site}/api/v1/models/fraud?range=all")
    windows = metrics("fraud", "traffic", view["size"])
    place = {start: i for i, start in enumerate(view["times"])}
    amount = next(m for m in view["measures"] if m["name"] == "amount")
    assert view["times"] == sorted(place) and len(windows) > 10
    for window in windows:
        i, summary = place[window["window_start"]], window["measures"]["amount"]
        assert view["counts"][i] == window["count"]
        assert amount["n"][i] == summary["n"] and amount["p50"][i] == pytest.approx(summary["p50"], rel=1e-5)
        assert amount["found"][i] == summary.get("found", False)
    assert amount["baseline"]["n"] >= 1_000 and len(amount["baseline"]["shape"]) == len(amount["last"]["shape"]) == 16
    assert {m["timeline"] for m in view["measures"]} == {"input", "label", "feedback", "observation"}


def test_a_measure_has_shapes_tests_courses_and_segments(site: str) -> None:
    _, view, _ = ask(f"{site}/api/v1/measures/fraud?measure=amount&range=all")
    assert all(sum(shape) == n for shape, n in zip(view["shapes"], view["measure"]["n"], strict=True) if shape)
    assert set(view["tests"]) >= {"psi", "ks"} and view["health"]["tolerance"]["psi"] > 0
    assert {one["segment"] for one in view["siblings"]} == {f"country={c}" for c in ("DE", "FR", "US")}
    _, errors, _ = ask(f"{site}/api/v1/measures/fraud?measure=error&range=all")
    assert max(x for x in errors["courses"]["cusum"] if x is not None) > 1
    assert any(alert["measure"] == "error" for alert in errors["alerts"])


def test_performance_adds_up(site: str) -> None:
    _, view, _ = ask(f"{site}/api/v1/models/fraud/performance?range=all")
    pairs = sum(n for *_, n in view["confusion"])
    assert sum(view["labelled"]) == pairs > 1_000
    error = view["measures"]["error"]
    for accuracy, wrong in zip(view["accuracy"], error["mean"], strict=True):
        assert accuracy == pytest.approx(1 - wrong, abs=1e-5)


def test_incidents_hold_all_alerts_and_each_alert_its_records(site: str) -> None:
    _, view, _ = ask(f"{site}/api/v1/incidents")
    ids = {alert["id"] for incident in view["incidents"] for alert in incident["alerts"]}
    published = {json.loads(r.value)["id"] for r in stories.records() if r.role == "alerts" and r.value}
    assert ids == published and view["total"] == len(view["incidents"]) <= len(ids)
    _, open_only, _ = ask(f"{site}/api/v1/incidents?state=open")
    assert {a["id"] for i in open_only["incidents"] for a in i["alerts"] if a["ended"] is None} == {
        a["id"] for a in open_alerts()
    }
    for identity in sorted(ids):
        status, alert, _ = ask(f"{site}/api/v1/alerts/{identity}")
        assert status == 200 and alert["id"] == identity and alert["records"][0]["id"] == identity
        assert alert["about"]["size"] >= 1


def test_what_labels_have_answered_is_not_awaited_any_more(tmp_path: Path) -> None:
    opening = Alert(
        id="a", status="open", revision=0, ts=2, opened_ts=1, model="m", version="1", segment="all", measure="x",
        group="input", kind="drift", severity="warning", reason=f"m 1: x went up; {LABELS_AWAITED}. To see more: y",
        attribution=Attribution(error=ErrorChange(state="unknown")),
    )  # fmt: skip
    told = msgspec.structs.replace(opening, status="outcome", attribution=Attribution(error=ErrorChange(state="worse")))
    store, snapshot = Store(tmp_path / "page.sqlite", DISK, "a"), Snapshot(tmp_path / "page.sqlite")
    reasons = []
    for offset, alert in enumerate((opening, told)):
        store.apply([FollowedRecord("alerts", 0, offset, 1, b"m", msgspec.json.encode(alert))], {})
        with snapshot:
            reasons.append(incidents_view(snapshot)["incidents"][0]["reason"])
    assert reasons == [opening.reason, "m 1: x went up. To see more: y"]
    snapshot.close()
    store.close()


def an_alert(identity: str = "a", status: str = "open", **fields: Any) -> Alert:
    plain = {"revision": 0, "ts": 2, "opened_ts": 1, "model": "m", "version": "1", "segment": "all", "measure": "x",
             "group": "input", "kind": "drift", "severity": "warning", "incident": "i", "reason": "up"}  # fmt: skip
    return msgspec.convert({**plain, "id": identity, "status": status, **fields}, Alert)


def incident_of(path: Path, *records: Alert | Mute | Health) -> dict[str, Any]:
    """The only incident of a store with these records."""
    store, snapshot = Store(path, DISK, "a"), Snapshot(path)
    roles: dict[type, str] = {Alert: "alerts", Mute: "remarks", Health: "health"}
    for offset, record in enumerate(records):
        key = record.key() if isinstance(record, Mute) else "m"
        store.apply([FollowedRecord(roles[type(record)], 0, offset, 1, key.encode(), msgspec.json.encode(record))], {})
    with snapshot:
        (found,) = incidents_view(snapshot)["incidents"]
    snapshot.close()
    store.close()
    assert isinstance(found, dict)
    return found


def test_an_open_alert_stands_for_its_incident_with_its_latest_reason(tmp_path: Path) -> None:
    first, ended = an_alert("a"), an_alert("a", "resolved", revision=1, ts=3, reason="ended")
    second = an_alert("b", opened_ts=5, ts=6, segment="country=US", reason="went down")
    more = an_alert("b", "update", opened_ts=5, ts=7, revision=1, segment="country=US", reason="went far down")
    found = incident_of(tmp_path / "page.sqlite", first, ended, second, more)
    assert found["ended"] is None and found["alerts"][0]["id"] == "b" and found["reason"] == "went far down"


@pytest.mark.parametrize(("rise", "state"), [(0.01, "little"), (0.2, "worse")])
def test_a_rise_that_is_tolerated_is_told_as_such(tmp_path: Path, rise: float, state: str) -> None:
    error = ErrorChange(state="worse", measure="error", n=9_000, baseline=0.1, now=0.1 + rise, tolerance=0.05)
    told = an_alert(status="outcome", attribution=msgspec.to_builtins(Attribution(error=error)))
    assert incident_of(tmp_path / "page.sqlite", an_alert(), told)["matters"] == state


@pytest.mark.parametrize(("now", "muted"), [(50, True), (150, False)])
def test_a_mute_ends(tmp_path: Path, now: int, muted: bool) -> None:
    quiet = Mute(id="q", ts=1, by="bob", model="m", from_ts=0, until_ts=100)
    health = Health(model="m", window_start=0, window_end=now)
    found = incident_of(tmp_path / "page.sqlite", an_alert(), quiet, health)
    assert bool(found["muted"]) == muted and found["now"] == now


@pytest.mark.parametrize(
    ("path", "status", "word"),
    [
        ("models/nothing", 404, "nothing"),
        ("models/fraud?version=9", 404, "it has 1"),
        ("models/fraud?segment=x", 404, "no segment"),
        ("models/fraud?range=soon", 400, "range"),
        ("models/fraud?until=tomorrow", 400, "epoch ms"),
        ("measures/fraud", 400, "measure"),
        ("measures/fraud?measure=none", 404, "none"),
        ("alerts/0123", 404, "no alert"),
        ("incidents?state=new", 400, "state"),
        ("nothing", 404, "nothing is served"),
    ],
)
def test_a_wrong_request_is_told_what_is_wrong(site: str, path: str, status: int, word: str) -> None:
    found, body, _ = ask(f"{site}/api/v1/{path}")
    assert found == status and word in body["error"]


def test_an_answer_is_sent_again_only_when_something_changed(tmp_path: Path) -> None:
    store = filled(tmp_path / "page.sqlite")
    with serving(stories.settings(), store) as url:
        _, _, headers = ask(f"{url}/api/v1/fleet")
        assert ask(f"{url}/api/v1/fleet", {"If-None-Match": headers["ETag"]})[0] == 304
        letter = next(r for r in stories.records() if r.role == "dead-letters")
        store.apply([letter._replace(offset=10**6)], {})
        status, _, again = ask(f"{url}/api/v1/fleet", {"If-None-Match": headers["ETag"]})
        assert status == 304 and again["ETag"] != headers["ETag"]  # another state of the store, and the same fleet
        store.apply([letter._replace(role="health", key=b"fraud", value=None, offset=10**6)], {})
        assert ask(f"{url}/api/v1/fleet", {"If-None-Match": again["ETag"]})[0] == 200
    store.close()


def test_a_models_view_is_made_again_only_for_a_record_of_the_model(tmp_path: Path) -> None:
    store, path = filled(tmp_path / "page.sqlite"), "api/v1/models/fraud?range=all"
    with serving(stories.settings(), store) as url:
        tag = ask(f"{url}/{path}")[2]["ETag"]
        windows = [r for r in stories.records() if r.role == "metrics" and r.value]
        for model, status in (("ranking", 304), ("fraud", 200)):
            found = next(r for r in windows if json.loads(r.value or b"")["model"] == model)
            changed = json.loads(found.value or b"") | {"count": 12_345}
            store.apply([found._replace(offset=10**6, value=json.dumps(changed).encode())], {})
            assert ask(f"{url}/{path}", {"If-None-Match": tag})[0] == status
    store.close()


def test_open_alerts_of_segments_are_told_on_the_page_of_the_model(site: str) -> None:
    segment = {a["id"] for a in open_alerts() if a["model"] == "fraud" and a["segment"] != "all"}
    _, view, _ = ask(f"{site}/api/v1/models/fraud?range=all")
    assert {alert["id"] for alert in view["elsewhere"]} == segment and segment


def test_remarks_are_drawn_on_their_incidents(tmp_path: Path) -> None:
    store = filled(tmp_path / "page.sqlite")
    snapshot = Snapshot(store.path)
    with serving(stories.settings(), store) as url:
        chosen = ask(f"{url}/api/v1/incidents")[1]["incidents"][0]
        seen = Acknowledgement(incident=chosen["id"], ts=1, by="ann", verdict="false alarm")
        quiet = Mute(id="1", ts=1, by="bob", model=chosen["model"], from_ts=0, until_ts=2**60)
        remarks: tuple[Acknowledgement | Mute, ...] = (seen, quiet)
        for offset, remark in enumerate(remarks):
            record = FollowedRecord("remarks", 0, offset, 1, remark.key().encode(), msgspec.json.encode(remark))
            store.apply([record], {("remarks", 0): offset + 1})
        view = ask(f"{url}/api/v1/incidents")[1]
        found = next(i for i in view["incidents"] if i["id"] == chosen["id"])
        assert found["acknowledged"]["by"] == "ann" and view["judged"] == {"of": 1, "real": 0, "false": 1}
        assert {bool(i["muted"]) for i in view["incidents"] if i["model"] == chosen["model"]} == {True}
        store.apply([FollowedRecord("remarks", 0, 9, 1, quiet.key().encode(), None)], {})
        with snapshot:
            assert not remarks_of(snapshot).mutes and remarks_of(snapshot).acknowledgements
    snapshot.close()
    store.close()


def test_what_can_be_left_out(site: str) -> None:
    _, view, _ = ask(f"{site}/api/v1/models/fraud/reduce?range=all")
    (group,) = [g for g in view["redundant"] if "amount" in (g["stays"], *g["others"])]
    assert {group["stays"], *group["others"]} == {"amount", "amount_again"} and group["r"] > 0.9
    silent = {one["name"] for one in view["silent"]}
    assert "null_answer" in silent and not silent & {"amount", "error"}
    measures = ask(f"{site}/api/v1/models/fraud?range=all")[1]["measures"]
    assert set(view["stay"]) | set(view["ignore"]) == {m["name"] for m in measures}
    assert {m["name"] for m in measures if m["group"] == "outcome"} <= set(view["stay"])


def test_what_has_no_baseline_yet_and_what_labels_say_is_not_left_out() -> None:
    def measure(name: str, group: str, times: float | None, baseline: dict[str, Any] | None) -> dict[str, Any]:
        columns = {"times": [times] * 40, "n": [9] * 40, "mean": [1.0] * 40, "missing": [0] * 40}
        return {"name": name, "kind": "number", "group": group, "baseline": baseline, **columns}

    measures = [
        measure("new", "input", None, None), measure("rare", "input", None, {}),
        measure("flat", "input", 0.1, {}), measure("error", "outcome", 0.1, {}),
    ]  # fmt: skip
    found = reduction({"measures": measures, "alerts": [], "times": [0] * 40})
    assert found["stay"] == ["new", "error"] and found["ignore"] == ["flat", "rare"]
    assert found["never_judged"] == ["rare"] and [one["name"] for one in found["silent"]] == ["flat", "error"]


def test_nothing_is_said_of_few_windows() -> None:
    columns = {"times": [0.1] * 5, "n": [9] * 5, "mean": [1.0] * 5, "missing": [0] * 5}
    measure = {"name": "a", "kind": "number", "group": "input", "baseline": {}, **columns}
    found = reduction({"measures": [measure], "alerts": [], "times": [0] * 5})
    assert (found["silent"], found["redundant"], found["never_judged"], found["stay"]) == ([], [], [], ["a"])


def test_rank_correlation_is_that_of_scipy() -> None:
    from scipy.stats import spearmanr

    rng = np.random.default_rng(2)
    a = rng.integers(0, 9, 60).astype(float)
    b = a + rng.normal(size=60)
    assert correlations([a.tolist(), b.tolist()])[0, 1] == pytest.approx(spearmanr(a, b).statistic)
    holes = [None, *a.tolist()[1:]]
    assert correlations([holes, b.tolist()])[0, 1] == pytest.approx(spearmanr(a[1:], b[1:]).statistic)


def test_groups_are_joined_by_their_mean_likeness() -> None:
    alike = np.array([[1, 0.95, 0.9, 0], [0.95, 1, 0.8, 0], [0.9, 0.8, 1, 0], [0, 0, 0, 1.0]])
    assert linkage(alike) == [[0, 1], [2], [3]]


def test_hostile_names_come_through_as_they_are(site: str) -> None:
    name = quote(stories.HOSTILE, safe="")
    status, view, _ = ask(f"{site}/api/v1/measures/{name}?measure={name}&range=all")
    assert status == 200 and view["model"] == view["measure"]["name"] == stories.HOSTILE


def test_an_empty_store_says_that_nothing_came(tmp_path: Path) -> None:
    store = Store(tmp_path / "page.sqlite", DISK, stories.APP)
    with serving(stories.settings(), store) as url:
        fleet = ask(f"{url}/api/v1/fleet")[1]
        assert fleet["models"] == [] and fleet["app_name"] == stories.APP
        assert ask(f"{url}/api/v1/incidents")[1]["incidents"] == []
        assert ask(f"{url}/api/v1/dead-letters")[1]["latest"] == []
        assert ask(f"{url}/api/v1/health")[1]["reading"]["state"] == "connecting"
    store.close()
