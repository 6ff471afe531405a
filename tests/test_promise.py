"""The result does not depend on how events were interleaved, batched, partitioned or replayed, nor on crashes."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.baseline.build import build
from stream_monitor.profiles.measures import JOINT
from stream_monitor.profiles.records import ResetRecord
from stream_monitor.verify.expected import Expected
from stream_monitor.verify.pairs import differences
from stream_monitor.verify.published import Published
from tests.effort import examples
from tests.schedules import by_cluster, by_replay, result_of, run_cluster
from tests.streams import T0, Event, mirrored, mornings, quick_settings, shop


@pytest.mark.parametrize("partitions", [1, 4])
def test_a_cluster_finds_what_a_replay_finds(partitions: int) -> None:
    rules = quick_settings()
    events = shop(1)
    metrics, alerts = by_replay(events, rules)
    assert any(key[5] == "performance" for key in metrics)
    assert {a["measure"] for a in alerts.values()} >= {"amount"}
    assert {f["detector"] for a in alerts.values() for f in a.get("findings", [])} >= {"cusum", "psi"}
    assert by_cluster(events, rules, (partitions, 1), 7, 0.0) == (metrics, alerts)


SCHEDULE = st.integers(0, 10_000), st.sampled_from([1, 3]), st.sampled_from([1, 2]), st.sampled_from([0.0, 0.02])
"""Seed, partitions, workers, share of steps after which a worker dies."""


@examples(10)
@given(
    st.integers(0, 10_000),
    st.sampled_from([1, 2, 3]),
    st.sampled_from([1, 2]),
    st.sampled_from([0.0, 0.02]),
    st.sampled_from(["1ms", "2s", "1m"]),
)
def test_no_schedule_of_batches_partitions_crashes_snapshots_and_rebalances_shows(
    seed: int, partitions: int, workers: int, crashes: float, snapshots: str
) -> None:
    """A snapshot every commit, now and then, or never: then a restart reads all profiles again."""
    rules = quick_settings(segments=[["country"]], commit={"snapshot_interval": snapshots})
    events = shop(3)
    assert by_cluster(events, rules, (partitions, workers), seed, crashes) == by_replay(events, rules)


@examples(3)
@given(st.integers(0, 10_000), st.sampled_from([1, 3]), st.sampled_from([1, 2]), st.sampled_from([0.0, 0.02]))
def test_nor_in_where_a_drift_comes_from_and_whether_it_matters(
    seed: int, partitions: int, workers: int, crashes: float
) -> None:
    """Labels are up to a minute behind, and are read before, with or after the predictions of their time."""
    detection = quick_settings().detection.model_dump(mode="json") | {"input": [], "min_count": 30}
    rules = quick_settings(segments=[["country"]], detection=detection)
    events = shop(3, 1_400)
    metrics, alerts = by_replay(events, rules)
    told = [alert for alert in alerts.values() if "attribution" in alert]
    assert any(alert["attribution"].get("segments") for alert in told)
    assert any(alert["status"] == "outcome" for alert in told)
    assert by_cluster(events, rules, (partitions, workers), seed, crashes) == (metrics, alerts)


@examples(3)
@given(*SCHEDULE, st.sampled_from([["10s", "30s"], ["20s/4s"]]), st.sampled_from(["first", "rolling"]))
def test_nor_in_where_a_change_comes_from_that_a_sequential_detector_found(
    seed: int, partitions: int, workers: int, crashes: float, windows: list[str], kind: str
) -> None:
    """No window test rejects, so all is said of what is retained at a pane; with snapshots in the midst of windows."""
    detection = quick_settings().detection.model_dump(mode="json")
    detection |= {"input": ["cusum", "adwin"], "false_discovery_rate": 1e-12, "tolerance": {"psi": 1.0, "ks": 1.0}}
    rules = quick_settings(
        segments=[["country"]],
        baseline={"first": 100, "kind": kind, "span": "28s", "gap": "2s", "accept_after": "15s"},
        time={"pane": "1s", "windows": windows, "allowed_lateness": "5s", "max_skew": "1s"},
        detection=detection,
        commit={"snapshot_interval": "2s"},
    )
    events = shop(3, 900)
    metrics, alerts = by_replay(events, rules)
    told = [alert["attribution"] for alert in alerts.values() if alert.get("attribution", {}).get("since")]
    assert any(found.get("segments") for found in told) and any(found["moved"] for found in told)
    assert any(alert["status"] == "outcome" for alert in alerts.values())
    assert by_cluster(events, rules, (partitions, workers), seed, crashes) == (metrics, alerts)


@examples(3)
@given(
    *SCHEDULE,
    st.sampled_from(["first", "rolling"]),
)
def test_nor_when_windows_slide(seed: int, partitions: int, workers: int, crashes: float, kind: str) -> None:
    """With snapshots in the midst of windows, beside tumbling ones, and over slices of a rolling baseline."""
    rules = quick_settings(
        segments=[["country"]],
        baseline={"first": 100, "kind": kind, "span": "28s", "gap": "2s", "accept_after": "15s"},
        time={"pane": "1s", "windows": ["20s/4s", "10s"], "allowed_lateness": "5s", "max_skew": "1s"},
        commit={"snapshot_interval": "2s"},
    )
    events = shop(3)
    metrics, alerts = by_replay(events, rules)
    sliding = [key for key in metrics if key[5] == "traffic" and int(key[4]) - int(key[3]) == 20_000]
    assert any(int(key[4]) % 20_000 for key in sliding)
    assert {f["detector"] for a in alerts.values() for f in a.get("findings", [])} >= {"psi"}
    assert by_cluster(events, rules, (partitions, workers), seed, crashes) == (metrics, alerts)


@examples(2)
@given(st.integers(0, 10_000), st.sampled_from([1, 3]), st.sampled_from([1, 2]), st.sampled_from([0.0, 0.02]))
def test_nor_does_it_show_when_the_baseline_is_pinned(seed: int, partitions: int, workers: int, crashes: float) -> None:
    rules = quick_settings(segments=[["country"]], sample={"rows": 8})
    events = shop(3)
    pinned = build(rules, ((e.role, e.raw) for e in shop(4, 300)), "calm", None).baselines
    metrics, alerts = by_replay(events, rules, pinned)
    assert {m.get("baseline") for m in metrics.values() if m["kind"] == "traffic" and m["segment"] == "all"} >= {"calm"}
    assert baselines_of_rows(metrics) == {"calm"}
    assert by_cluster(events, rules, (partitions, workers), seed, crashes, pinned) == (metrics, alerts)


@examples(4)
@given(
    *SCHEDULE,
    st.sampled_from(["first", "rolling"]),
)
def test_nor_does_it_show_when_baselines_are_reset_on_the_way(
    seed: int, partitions: int, workers: int, crashes: float, kind: str
) -> None:
    """Of one model all, of the other one measure, from a pane on that no event had reached; before and after pins."""
    rules = quick_settings(
        segments=[["country"]],
        baseline={"first": 100, "kind": kind, "span": "28s", "gap": "2s", "accept_after": "15s"},
        time={"pane": "1s", "windows": ["20s/4s", "10s"], "allowed_lateness": "5s", "max_skew": "1s"},
        commit={"snapshot_interval": "2s"},
    )
    events = shop(3, 900)
    pinned = build(rules, ((e.role, e.raw) for e in shop(4, 300)), "calm", None).baselines
    pinned = [baseline for baseline in pinned if baseline.model == "m1"]
    resets = [ResetRecord("m0", since=T0 + 50_000), ResetRecord("m1", "amount", since=T0 + 47_500)]
    metrics, alerts = by_replay(events, rules, pinned, resets)
    ended = {a["measure"] for a in alerts.values() if a["status"] == "resolved" and "was reset" in a["reason"]}
    assert "amount" in ended and (metrics, alerts) != by_replay(events, rules, pinned)
    assert any(m.get("approximate") for metric in metrics.values() for m in metric["measures"].values())
    assert by_cluster(events, rules, (partitions, workers), seed, crashes, pinned, resets) == (metrics, alerts)


@examples(3)
@given(
    *SCHEDULE,
    st.sampled_from([("20s", "first"), ("20s/5s", "first"), ("20s/5s", "rolling"), ("10s", "rolling")]),
)
def test_nor_in_what_is_said_of_rows(
    seed: int, partitions: int, workers: int, crashes: float, chosen: tuple[str, str]
) -> None:
    """Some panes have more events than rows, so that a sample is cut where the partitions' parts are put together."""
    window, kind = chosen
    rules = quick_settings(
        sample={"rows": 8},
        baseline={"first": 120, "kind": kind, "span": "28s", "gap": "2s", "accept_after": "15s"},
        time={"pane": "1s", "windows": [window], "allowed_lateness": "5s", "max_skew": "1s"},
        commit={"snapshot_interval": "2s"},
    )
    events, resets = shop(3, 900), [ResetRecord("m1", since=T0 + 70_000)]
    metrics, alerts = by_replay(events, rules, resets=resets)
    told = [metric["measures"][JOINT] for metric in metrics.values() if JOINT in metric["measures"]]
    assert told and any(rows["n"] < 90 for rows in told)
    recent = {name for name in baselines_of_rows(metrics) if name != "first-120"}
    assert recent == ({"rolling-28s"} if kind == "rolling" else set())
    assert JOINT in {alert["measure"] for alert in alerts.values()}
    assert by_cluster(events, rules, (partitions, workers), seed, crashes, resets=resets) == (metrics, alerts)


def baselines_of_rows(metrics: dict[tuple[str, ...], Any]) -> set[str]:
    """Baselines that judged rows."""
    told = [metric for metric in metrics.values() if JOINT in metric.get("measures", {})]
    return {metric["measures"][JOINT].get("baseline") or metric["baseline"] for metric in told}


@examples(2)
@given(*SCHEDULE)
def test_nor_when_versions_answer_the_same_ids_nor_in_what_is_known_of_their_pairs(
    seed: int, partitions: int, workers: int, crashes: float
) -> None:
    rules, events = quick_settings(segments=[["country"]]), mirrored(shop(3, 400))
    broker = run_cluster(events, rules, (partitions, workers), seed, crashes).broker
    told, truth = Published(), Expected(rules)
    found = result_of(*([value for _, value in broker.values(role)] for role in ("metrics", "alerts")))
    assert found == by_replay(events, rules)
    for _, value in broker.values("profiles"):
        told.feed("profiles", value)
    for role in ("predictions", "labels"):
        for offset, event in enumerate(event for event in events if event.role == role):
            truth.feed(role, 0, offset, 2**52, event.raw)
    assert len(truth.pairs.counts) > 100 and not list(differences(truth.pairs.counts, told.pairs))


def with_vectors(events: Sequence[Event]) -> list[Event]:
    """The same with an embedding, a few of another length, which moves half-way."""
    rng, made = random.Random(7), []
    for event in events:
        if event.role == "predictions":
            body = json.loads(event.raw)
            middle = 2.0 if event.ts < T0 + 60_000 else -2.0
            body["features"]["v"] = [middle + rng.gauss(0, 1) for _ in range(5 if rng.random() < 0.95 else 4)]
            event = event._replace(raw=json.dumps(body).encode())
        made.append(event)
    return made


@examples(2)
@given(*SCHEDULE, st.sampled_from(["20s", "20s/5s"]), st.booleans())
def test_nor_in_how_far_embeddings_are_from_their_centroid(
    seed: int, partitions: int, workers: int, crashes: float, window: str, pin: bool
) -> None:
    rules = quick_settings(
        embeddings={"v": 5},
        sample={"rows": 8},
        baseline={"first": 120},
        time={"pane": "1s", "windows": [window], "allowed_lateness": "5s", "max_skew": "1s"},
        commit={"snapshot_interval": "2s"},
    )
    events, resets = with_vectors(shop(3, 1_200)), [ResetRecord("m1", since=T0 + 90_000)]
    calm = ((e.role, e.raw) for e in with_vectors(shop(4, 1_400)))
    pinned = build(rules, calm, "calm", None).baselines if pin else []
    assert not pin or any(measure.centroid is not None for baseline in pinned for measure in baseline.measures)
    metrics, alerts = by_replay(events, rules, pinned, resets)
    told = [metric for metric in metrics.values() if "distance(v)" in metric["measures"]]
    names = {metric["measures"]["distance(v)"].get("baseline") or metric.get("baseline") for metric in told}
    assert told and ("calm" in names) == pin
    assert "distance(v)" in {alert["measure"] for alert in alerts.values()}
    assert by_cluster(events, rules, (partitions, workers), seed, crashes, pinned, resets) == (metrics, alerts)


def names_of(metrics: dict[tuple[str, ...], Any]) -> set[str | None]:
    """Baselines that judged windows of traffic."""
    return {m.get("baseline") for m in metrics.values() if m["kind"] == "traffic"}


@examples(2)
@given(st.integers(0, 10_000), st.sampled_from([1, 3]), st.sampled_from([1, 2]), st.sampled_from([0.0, 0.02]))
def test_nor_when_it_is_the_recent_past(seed: int, partitions: int, workers: int, crashes: float) -> None:
    rules = quick_settings(
        segments=[["country"]],
        baseline={"first": 100, "kind": "rolling", "span": "28s", "gap": "2s", "accept_after": "15s"},
        time={"pane": "1s", "windows": ["10s", "20s"], "allowed_lateness": "5s", "max_skew": "1s"},
    )
    events = shop(3)
    metrics, alerts = by_replay(events, rules)
    assert names_of(metrics) >= {"first-100", "rolling-28s"}
    assert by_cluster(events, rules, (partitions, workers), seed, crashes) == (metrics, alerts)


@pytest.mark.parametrize(
    ("seed", "partitions", "crashes"),
    [
        (1, 1, 0.02),
        (3, 3, 0.02),
        pytest.param(2, 3, 0.0, marks=pytest.mark.long),
        pytest.param(4, 2, 0.02, marks=pytest.mark.long),
    ],
)
def test_nor_when_it_is_the_same_hours_of_earlier_weeks(seed: int, partitions: int, crashes: float) -> None:
    rules = quick_settings(
        sample={"rows": 20},
        baseline={"first": 100, "kind": "hour_of_week"},
        time={"pane": "10m", "windows": ["1h", "1d"], "allowed_lateness": "10m", "max_skew": "1s"},
        join={"label_horizon": "2h", "early_horizon": "1h", "grain": "1h", "revisions": ["0s"]},
        detection={"min_count": 20, "input": ["cusum", "adwin"], "cooldown": "1h"},
        commit={"snapshot_interval": "2s"},
    )
    events = mornings(5)
    metrics, alerts = by_replay(events, rules)
    assert names_of(metrics) >= {"first-100", "hour-of-day", "hour-of-week-1w", "hour-of-week-2w"}
    assert baselines_of_rows(metrics) >= {"first-100", "hour-of-day"}
    assert {a["measure"] for a in alerts.values()} >= {"amount"}
    assert by_cluster(events, rules, (partitions, 2), seed, crashes) == (metrics, alerts)


@pytest.mark.parametrize(("seed", "partitions", "crashes"), [(1, 1, 0.02), (2, 3, 0.02)])
def test_nor_when_rivers_detectors_listen(seed: int, partitions: int, crashes: float) -> None:
    names = ["ddm", "eddm", "hddm_a", "hddm_w", "fhddm", "kswin"]
    rules = quick_settings(
        detection={"min_count": 1_000, "input": ["kswin"], "outcome": names, "cooldown": "1s"},
        commit={"snapshot_interval": "2s"},
    )
    events = shop(3, 1_200)
    metrics, alerts = by_replay(events, rules)
    found = {finding["detector"] for alert in alerts.values() for finding in alert.get("findings", [])}
    assert found & set(names) >= {"kswin"}
    assert by_cluster(events, rules, (partitions, 2), seed, crashes) == (metrics, alerts)
