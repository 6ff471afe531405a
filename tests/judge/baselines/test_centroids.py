"""Embeddings in the judge: a centroid of the first vectors, and the distances of later ones as a measure."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.baseline.show import active
from stream_monitor.baselines.baseline import Baseline
from stream_monitor.baselines.pinned import PinnedBaseline, PinnedMeasure
from stream_monitor.baselines.sampled_rows import Embedded
from stream_monitor.config.settings import Settings
from stream_monitor.describe.decode.embeddings import as_sent
from stream_monitor.describe.stage import Describe
from stream_monitor.errors import SettingsError
from stream_monitor.file_replay import Line
from stream_monitor.judge.baselines.centroids import Centroid, collect_embeddings
from stream_monitor.judge.detection.multivariate import pane_samples
from stream_monitor.judge.panes.admission import admit_groups, groups_of
from stream_monitor.judge.panes.pane import IdRegistry, RowIndexCache, split
from stream_monitor.judge.timelines.state import TimelineState
from stream_monitor.profiles.bin_catalog import BinCatalog
from stream_monitor.profiles.delta import Delta
from stream_monitor.profiles.records import MAX_RECORD_BYTES, DeltaRecord, ResetRecord, read_record
from stream_monitor.rejudge.log_replay import RejudgeTerms
from stream_monitor.stages.contract import Position
from stream_monitor.stages.topology import Topology
from stream_monitor.wire.msgpack_arrays import pack
from tests.effort import examples
from tests.judge.logs import Recorded, comparable, packed, recorded, restored
from tests.rejudge.test_log_replay import said
from tests.streams import T0, quick_settings

LENGTH = 8
DISTANCE = "distance(v)"
Vector = list[float]
Change = Callable[[Vector], Any]


def rules(rows: int = 100, length: int = LENGTH, **sections: Any) -> Settings:
    return quick_settings(embeddings={"v": length}, sample={"rows": rows}, baseline={"first": 400}, **sections)


def same(vector: Vector) -> Vector:
    return vector


def turned(vector: Vector) -> Vector:
    """As long as before, and elsewhere."""
    return vector[LENGTH // 2 :] + vector[: LENGTH // 2]


def stream(count: int, change: Change = same, begins: int = 3_000) -> Iterator[tuple[str, bytes]]:
    """Fifty events a second around (2, …, 0, …), so far from it that a turn tells; from one on changed."""
    rng = random.Random(4)
    for i in range(count):
        vector = [(2 if k < LENGTH // 2 else 0) + rng.gauss(0, 0.5) for k in range(LENGTH)]
        features = {"v": vector if i < begins else change(vector), "x": rng.gauss(0, 1)}
        body = {"id": f"e{i}", "model": "m", "ts": T0 + i * 20, "features": features, "prediction": True}
        yield "predictions", json.dumps(body).encode()


def timeline_of(run: Recorded) -> TimelineState:
    return run.judge.assignments[0].judge.models["m"].state.timelines["input"]


def fed(settings_: Settings, events: Iterator[tuple[str, bytes]]) -> Recorded:
    """A run that is not at its end: then models are forgotten."""
    run = Recorded(settings_)
    todo = list(events)
    for at in range(0, len(todo), 200):
        run.feed(todo[at : at + 200])
    return run


def told_of(run: Recorded) -> list[dict[str, Any] | None]:
    """What each window of traffic says of distances."""
    return [metric["measures"].get(DISTANCE) for metric in run.metrics if metric["kind"] == "traffic"]


def opened(run: Recorded) -> set[tuple[str, str]]:
    return {(alert["measure"], alert["kind"]) for alert in run.alerts if alert["status"] == "open"}


def vectors_of(events: list[tuple[str, bytes]]) -> Any:
    return np.array([json.loads(raw)["features"]["v"] for _, raw in events], np.float32).astype(np.float64)


def test_distances_are_those_to_the_mean_of_the_first_vectors() -> None:
    events = list(stream(2_000))
    run = fed(rules(), iter(events))
    vectors = vectors_of(events)
    state = timeline_of(run).centroids["v"]
    run.finish()
    assert state.n >= 400 and state.total / state.n == pytest.approx(vectors[: state.n].mean(axis=0))
    apart = np.linalg.norm(vectors - vectors[: state.n].mean(axis=0), axis=1)
    checked = 0
    for metric in run.metrics:
        first = (metric["window_start"] - T0) // 20
        if metric["kind"] == "traffic" and metric["window_start"] >= state.since:
            mine = apart[first : first + metric["count"]]
            told = metric["measures"][DISTANCE]
            assert (told["n"], told["mean"]) == (metric["count"], pytest.approx(mine.mean()))
            checked += 1
    assert checked >= 2 and told_of(run)[0] is not None


def test_what_moves_away_from_the_centroid_rings_and_what_stays_does_not() -> None:
    found = opened(recorded(rules(), stream(5_000, turned)))
    assert (DISTANCE, "drift") in found and ("norm(v)", "drift") not in found
    assert not opened(recorded(rules(), stream(5_000)))


def test_a_sample_is_not_missing_where_rows_are_few() -> None:
    run = recorded(rules(20), stream(5_000))
    told = [one for one in told_of(run) if one is not None]
    assert told and all(0 < one["n"] < 400 and "missing" not in one for one in told)
    assert told[-1]["tests"] and not opened(run)


def test_judged_again_distances_are_the_same_and_with_another_baseline_they_count_on_the_edges_there_are() -> None:
    run = recorded(rules(), stream(5_000, turned))
    alerts, metrics = said(RejudgeTerms(rules(), catalog=run.knowledge_of_edges()), run.log)
    assert alerts == run.alerts and metrics == run.metrics
    longer = rules().model_copy(update={"baseline": quick_settings(baseline={"first": 600}).baseline})
    alerts, metrics = said(RejudgeTerms(longer, catalog=run.knowledge_of_edges()), run.log)
    assert DISTANCE in {alert["measure"] for alert in alerts if alert["status"] == "open"}


def test_where_the_beginning_has_expired_a_new_centroid_and_a_new_baseline_stand_in() -> None:
    run = recorded(rules(), stream(5_000, turned))
    edges = run.knowledge_of_edges()
    had = active(run.notices)
    assert DISTANCE in {measure.measure for measure in had[0].measures}
    rest = run.log[len(run.log) // 3 :]
    alerts, metrics = said(RejudgeTerms(rules(), whole=False, pinned=had, keep_pins=False, catalog=edges), rest)
    told = [m["measures"][DISTANCE] for m in metrics if DISTANCE in m.get("measures", {})]
    assert told and {one.get("baseline") for one in told if one.get("tests")} <= {None, "first-400"}
    assert DISTANCE in {alert["measure"] for alert in alerts if alert["status"] == "open"}


def test_without_samples_or_embeddings_there_is_no_distance() -> None:
    for settings_ in (rules(0), quick_settings(sample={"rows": 20})):
        run = fed(settings_, stream(1_000))
        assert not any(told_of(run)) and not timeline_of(run).centroids


@pytest.mark.parametrize("measure", [None, DISTANCE])
def test_a_reset_makes_a_new_centroid_and_ends_the_alert(measure: str | None) -> None:
    run, events = Recorded(rules()), list(stream(9_000, turned))
    run.feed(events[:4_600])
    before = timeline_of(run).centroids["v"].total
    run.reset(ResetRecord("m", measure, since=T0 + 100_000))
    run.feed(events[4_600:])
    after = timeline_of(run).centroids["v"]
    run.finish()
    assert after.since > T0 + 100_000 and after.total / after.n == pytest.approx([0] * 4 + [2] * 4, abs=0.2)
    assert not np.allclose(before, after.total)
    statuses = [alert["status"] for alert in run.alerts if alert["measure"] == DISTANCE]
    assert statuses[0] == "open" and statuses[-1] == "resolved" and statuses.count("open") == 1
    last = told_of(run)[-1]
    assert last is not None and last["tests"]["psi"] < 0.1


def test_a_reset_of_something_else_leaves_the_centroid_alone() -> None:
    run = fed(rules(), stream(2_000))
    timeline = run.judge.assignments[0].judge.models["m"].timelines["input"]
    for reset in (ResetRecord("m", "x"), ResetRecord("m", version="1"), ResetRecord("m", segment="country=DE")):
        timeline.centroids.forget(reset)
        assert timeline.state.centroids["v"].n >= 400
    timeline.centroids.forget(ResetRecord("m", segment="all"))
    assert not timeline.state.centroids


def test_a_pinned_distance_is_to_another_centroid_and_not_taken() -> None:
    counts = np.zeros(160, np.int64)
    counts[1] = 500
    mine = PinnedMeasure("input", "all", DISTANCE, Baseline("june", 0, 500, {}, 500, counts=counts), np.array([0.0, 1]))
    run = Recorded(rules(), [PinnedBaseline("m", None, "june", [mine])])
    run.feed(list(stream(2_000)))
    assert ("all", DISTANCE) not in timeline_of(run).baselines.shared or (
        timeline_of(run).baselines.shared["all", DISTANCE].name == "first-400"
    )


def test_a_snapshot_holds_the_centroid_and_goes_on() -> None:
    run = fed(rules(), stream(1_000))
    judge = run.judge.assignments[0].judge.models["m"]
    again = restored(packed(judge))
    assert again.timelines["input"].centroids["v"].n >= 400
    assert comparable(again) == comparable(judge.saved_state())


def test_vectors_of_another_length_wait_for_a_reset() -> None:
    run = fed(rules(), stream(1_000))
    timeline = run.judge.assignments[0].judge.models["m"].timelines["input"]
    assert timeline.centroids.distances(T0, [Embedded("v", 0, np.ones((3, LENGTH)))], [("1", "all")]) is not None
    assert timeline.centroids.distances(T0, [Embedded("v", 0, np.ones((3, 2)))], [("1", "all")]) is None
    assert timeline.centroids.distances(T0, [Embedded("w", 0, np.ones((3, LENGTH)))], [("1", "all")]) is None


def test_a_distance_without_a_place_among_the_measures_is_left_out() -> None:
    run = fed(rules(caps={"measures": 10}), stream(2_000))
    assert timeline_of(run).centroids and DISTANCE not in timeline_of(run).ids.names and not any(told_of(run))


def test_a_number_beyond_single_precision_is_its_largest() -> None:
    sent = as_sent(np.array([1e99, -1e99, 0.5]))
    assert sent.dtype == np.float32 and np.isfinite(sent).all() and sent[0] == -sent[1] and sent[2] == 0.5
    timeline = Recorded(rules())
    timeline.feed(list(stream(1_500, lambda vector: [9.9e99] * LENGTH, 700)))
    timeline.finish()
    assert all(one is None or np.isfinite(one["mean"]) for one in told_of(timeline))


def test_embeddings_that_no_record_holds_are_refused_where_they_would_travel() -> None:
    lengths = {"v": 40_000, "w": 40_000}
    with pytest.raises(SettingsError, match="80,000 numbers"):
        quick_settings(embeddings=lengths, sample={"rows": 1})
    assert quick_settings(embeddings=lengths).embeddings == lengths


# --- samples of vectors merge as those of rows do ---


def deltas_of(lines: list[bytes], size: int, settings_: Settings) -> Iterator[Delta]:
    """Those of a worker's commits of so many lines each."""
    for start in range(0, len(lines), size):
        stage = Describe(settings_, Topology(1, 1, 1), BinCatalog())
        stage.assign({(role, 0): Position(0, "") for role in ("predictions", "labels", "feedback")}, {})
        stage.process("predictions", [Line(line, i, T0 + 10_000) for i, line in enumerate(lines[start : start + size])])
        for output in stage.flush({}):
            record = read_record(output.value) if output.role == "profiles" else None
            yield from record.deltas if isinstance(record, DeltaRecord) else ()


def line(i: int, rng: random.Random) -> bytes:
    features: dict[str, Any] = {"x": 1.0}
    if rng.random() < 0.8:
        features["v"] = [rng.gauss(0, 1) for _ in range(2 if rng.random() < 0.9 else 3)]
    if rng.random() < 0.5:
        features["w"] = [rng.gauss(0, 1) for _ in range(3)]
    body = {"id": f"e{i}", "model": "m", "version": rng.choice(["1", "2"]), "ts": T0, "features": features}
    return json.dumps(body).encode()


def merged(lines: list[bytes], size: int) -> list[tuple[str, tuple[str, str], list[Vector]]]:
    settings_ = quick_settings(embeddings={"v": 2, "w": 3}, sample={"rows": 6})
    parts = [part for delta in deltas_of(lines, size, settings_) for _, part in split(delta)]
    ids = IdRegistry({}, {}, dict.fromkeys(("x", "norm(v)", "norm(w)")))
    admit_groups(parts, ids, settings_.caps)
    placed = [RowIndexCache(ids).placed(part, groups_of(part, ids)) for part in parts]
    rows = pane_samples(placed, ids.names)
    found = collect_embeddings(placed, rows)
    names = list(ids.groups)
    assert all(len(one.vectors) <= len(rows[one.group]) <= 6 for one in found)
    return sorted((one.measure, names[one.group], one.vectors.tolist()) for one in found)


@examples(20)
@given(st.integers(0, 10_000), st.integers(1, 12))
def test_vectors_are_those_of_the_sampled_rows_whatever_came_in_which_delta(seed: int, commit: int) -> None:
    """At most six events of a version, fewer than the rows: every event is in the sample, and its vector with it."""
    rng = random.Random(seed)
    lines = [line(i, rng) for i in range(6)]
    found = merged(lines, commit)
    assert found == merged(lines, len(lines)) == merged(lines[::-1], 2)
    sent = [json.loads(raw)["features"] for raw in lines]
    wanted = sum(len(features.get("v", ())) == 2 for features in sent) + sum("w" in features for features in sent)
    assert sum(len(vectors) for *_, vectors in found) == wanted


def test_a_busy_pane_keeps_the_vectors_of_the_rows_that_stay() -> None:
    rng = random.Random(1)
    lines = [line(i, rng) for i in range(60)]
    whole, parts = merged(lines, 60), merged(lines, 13)
    for (name, group, vectors), (same_name, same_group, fewer) in zip(whole, parts, strict=True):
        assert (name, group) == (same_name, same_group) and vectors[: len(fewer)] == fewer


def test_long_vectors_travel_in_records_of_their_own_and_no_more_of_them_for_it() -> None:
    """Thirty vectors of 16 kB are more than a record holds; 200 events come in one pane."""
    settings_ = quick_settings(embeddings={"v": 4_096}, sample={"rows": 30})
    features = {"v": [0.5] * 4_096}
    lines = [json.dumps({"id": f"e{i}", "model": "m", "ts": T0, "features": features}).encode() for i in range(200)]
    deltas = list(deltas_of(lines, 200, settings_))
    assert max(len(pack(delta)) for delta in deltas) <= MAX_RECORD_BYTES + 20_000
    sent = [sum(delta.vectors.counts) for delta in deltas if delta.vectors is not None]
    assert sum(sent) == 30 and len(sent) == 2
    assert sum(int(delta.counts.sum()) for delta in deltas) == 200
    parts = [part for delta in deltas for _, part in split(delta)]
    ids = IdRegistry({}, {})
    admit_groups(parts, ids, settings_.caps)
    placed = [RowIndexCache(ids).placed(part, groups_of(part, ids)) for part in parts]
    [found] = collect_embeddings(placed, pane_samples(placed, ids.names))
    assert found.vectors.shape == (30, 4_096)


def test_a_centroid_that_fills_has_no_distances() -> None:
    assert Centroid(np.zeros(2)).since < T0
