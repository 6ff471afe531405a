"""Pinned centroids: made of a file, carried by records, and what distances are to in place of the first vectors'."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream_monitor.baseline.build import build
from stream_monitor.baseline.show import tables_of
from stream_monitor.baselines.pinned import PinnedBaseline, PinnedMeasure, read_file, write_file
from stream_monitor.errors import FormatError
from stream_monitor.judge.baselines.centroids import Centroids
from stream_monitor.profiles.records import ResetRecord
from stream_monitor.wire.msgpack_arrays import pack
from tests.judge.baselines.test_centroids import (
    DISTANCE,
    Change,
    opened,
    rules,
    same,
    stream,
    timeline_of,
    turned,
    vectors_of,
)
from tests.judge.baselines.test_pinned_rows import with_version
from tests.judge.logs import Recorded, comparable, packed, recorded, restored
from tests.screens import shown
from tests.streams import T0, quick_settings

Events = Iterable[tuple[str, bytes]]


def pinned(events: Events, version: str | None = None) -> list[PinnedBaseline]:
    return build(rules(), events, "june", version).baselines


def distance_of(baseline: PinnedBaseline) -> PinnedMeasure:
    [measure] = [measure for measure in baseline.measures if measure.measure == DISTANCE]
    return measure


def all_of(change: Change, count: int = 3_000) -> Iterator[tuple[str, bytes]]:
    return stream(count, change, 0)


def alerts_on_distances(run: Recorded) -> list[dict[str, Any]]:
    return [alert for alert in run.alerts if alert["measure"] == DISTANCE]


def test_a_small_file_has_the_mean_of_its_vectors_and_each_distance_is_to_the_others() -> None:
    events = list(all_of(same, 600))
    measure, vectors = distance_of(pinned(events)[0]), vectors_of(events)
    others = (vectors.sum(axis=0) - vectors) / (len(vectors) - 1)
    apart = np.linalg.norm(vectors - others, axis=1)
    assert measure.centroid == pytest.approx(vectors.mean(axis=0))
    baseline = measure.baseline
    assert (baseline.n, baseline.name, baseline.kinds["numeric"]) == (600, "june", 600)
    assert (baseline.mean, baseline.high) == pytest.approx((apart.mean(), apart.max()))
    assert baseline.counts is not None and baseline.counts.sum() == 600


def test_a_large_file_keeps_a_sample_that_does_not_depend_on_the_order_of_its_events() -> None:
    events = with_version(all_of(same, 9_000))
    one, other = distance_of(pinned(events)[0]), distance_of(pinned(events[::-1])[0])
    assert 1_900 <= one.baseline.n == other.baseline.n <= 2_000
    assert one.centroid is not None and other.centroid is not None
    assert one.centroid == pytest.approx(other.centroid, abs=1e-12)
    assert one.centroid == pytest.approx(vectors_of(list(all_of(same, 9_000))).mean(axis=0), abs=0.06)


def test_of_an_id_that_two_versions_have_the_order_of_the_file_does_not_choose() -> None:
    events = [
        ("predictions", json.dumps(json.loads(raw) | {"version": version}).encode())
        for version, change in (("1", same), ("2", turned))
        for _, raw in all_of(change, 1_200)
    ]
    one, other = (distance_of(pinned(order)[0]) for order in (events, events[::-1]))
    assert one.centroid is not None and one.centroid == pytest.approx(other.centroid, abs=1e-12)
    assert one.centroid == pytest.approx([1] * 8, abs=0.2)


def test_a_file_of_few_vectors_has_no_centroid() -> None:
    assert DISTANCE not in {measure.measure for measure in pinned(all_of(same, 499))[0].measures}


def nowhere(vector: list[float]) -> list[float]:
    return [0.0] * len(vector)


def test_after_a_start_that_was_broken_distances_are_counted_on_the_edges_of_the_file() -> None:
    run, events = Recorded(rules()), [*all_of(nowhere, 2_000), *list(all_of(same, 5_000))[2_000:]]
    run.feed(events[:2_000])
    usual = pinned(all_of(same))
    for record in [record for baseline in usual for record in baseline.records()]:
        run._judge(pack(record))
    run.feed(events[2_000:])
    state, measure = timeline_of(run), distance_of(usual[0])
    baseline = state.baselines.shared["all", DISTANCE]
    assert measure.borders is not None and not baseline.approximate
    assert np.array_equal(state.edges[DISTANCE].edges, measure.borders)
    counts, expected = baseline.counts, measure.baseline.counts
    assert counts is not None and expected is not None and np.array_equal(counts, expected)
    run.finish()
    late = [m["measures"][DISTANCE] for m in run.metrics if m["kind"] == "traffic" and m["window_start"] > T0 + 60_000]
    assert late and all(told["tests"]["psi"] < 0.2 for told in late)


def test_a_centroid_of_another_length_is_not_taken() -> None:
    run, made = Recorded(rules()), pinned(all_of(same))
    run.feed(list(all_of(same, 2_000)))
    distance_of(made[0]).centroid = np.ones(5)
    for record in made[0].records():
        run._judge(pack(record))
    assert (
        not timeline_of(run).pinned_centroids and timeline_of(run).baselines.shared["all", DISTANCE].name == "first-400"
    )


def test_a_stream_that_never_was_as_the_file_rings_at_once() -> None:
    usual = pinned(all_of(same))
    first = alerts_on_distances(recorded(rules(), all_of(turned), usual))[0]
    assert first["status"] == "open" and first["ts"] - T0 <= 10_000
    assert (DISTANCE, "drift") not in opened(recorded(rules(), all_of(turned)))
    assert not opened(recorded(rules(), all_of(same), usual))


def test_what_is_pinned_for_a_version_has_no_centroid_for_that_is_of_all_versions() -> None:
    made = pinned(all_of(same), "2")
    assert DISTANCE not in {measure.measure for measure in made[0].measures}
    made[0].measures.append(distance_of(pinned(all_of(same))[0]))
    run = Recorded(rules(), made)
    run.feed(with_version(all_of(turned, 6_000)))
    assert not alerts_on_distances(run) and not timeline_of(run).pinned_centroids
    assert timeline_of(run).baselines.shared["all", DISTANCE].name == "first-400"


def test_a_window_with_distances_to_two_centroids_is_not_judged() -> None:
    run, events = Recorded(rules()), list(all_of(same, 5_000))
    run.feed(events[:3_200])
    for record in [record for baseline in pinned(all_of(turned)) for record in baseline.records()]:
        run._judge(pack(record))
    since = timeline_of(run).baselines.shared["all", DISTANCE].since
    run.feed(events[3_200:])
    run.finish()
    windows = {m["window_start"]: m["measures"][DISTANCE] for m in run.metrics if m["kind"] == "traffic"}
    tested = {start - T0 for start, told in windows.items() if "tests" in told}
    assert since - T0 == 58_000 and tested == {20_000, 30_000, 40_000, 60_000, 70_000, 80_000, 90_000}
    assert alerts_on_distances(run)[0]["ts"] >= since


@pytest.mark.parametrize(
    ("reset", "left"),
    [
        (ResetRecord("m"), False),
        (ResetRecord("m", DISTANCE), False),
        (ResetRecord("m", version="2"), True),
        (ResetRecord("m", "x"), True),
        (ResetRecord("m", segment="country=DE"), True),
    ],
)
def test_a_reset_forgets_what_it_covers(reset: ResetRecord, left: bool) -> None:
    of = Centroids({}, {}, 100)
    of.pin("v", np.ones(2))
    of.forget(reset)
    assert ("v" in of.pinned) == left


def test_after_a_reset_distances_are_to_what_comes_then() -> None:
    run, events = Recorded(rules(), pinned(all_of(same))), list(all_of(turned, 6_000))
    run.feed(events[:2_000])
    run.reset(ResetRecord("m", since=T0 + 50_000))
    run.feed(events[2_000:])
    made, name = timeline_of(run).centroids["v"], timeline_of(run).baselines.shared["all", DISTANCE].name
    assert name == "first-400" and made.total / made.n == pytest.approx([0] * 4 + [2] * 4, abs=0.2)
    run.finish()
    assert alerts_on_distances(run)[-1]["status"] == "resolved"


def test_a_file_keeps_the_centroid_to_the_last_bit_and_shows_its_distances(tmp_path: Path) -> None:
    path, made = tmp_path / "june.json", pinned(all_of(same))
    write_file(path, made)
    read = read_file(path)
    kept, expected = distance_of(read[0]).centroid, distance_of(made[0]).centroid
    assert kept is not None and expected is not None and np.array_equal(kept, expected)
    [row] = [line for line in shown(tables_of(read[0])).splitlines() if DISTANCE in line]
    assert "1,000" in row and "%" not in row


@pytest.mark.parametrize(
    ("measure", "centroid"),
    [(DISTANCE, np.zeros(0)), (DISTANCE, np.array([1.0, np.nan])), (DISTANCE, np.array([1e300])), ("x", np.ones(8))],
)
def test_a_centroid_that_is_none_is_refused(tmp_path: Path, measure: str, centroid: Any) -> None:
    path, made = tmp_path / "june.json", pinned(all_of(same, 600))
    [wrong] = [one for one in made[0].measures if one.measure == measure]
    wrong.centroid = centroid
    write_file(path, made)
    with pytest.raises(FormatError):
        read_file(path)


def test_a_file_of_another_length_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "june.json"
    write_file(path, pinned(all_of(same, 600)))
    assert read_file(path, {"v": 8, "w": 3}) and read_file(path, {"w": 3})
    with pytest.raises(FormatError, match="has 8 numbers, and `embeddings` of the settings asks for 5"):
        read_file(path, {"v": 5})


def test_a_file_of_before_has_none_and_is_read(tmp_path: Path) -> None:
    path = tmp_path / "june.json"
    write_file(path, pinned(all_of(same, 600)))
    former = json.loads(path.read_bytes())
    for measure in former["baselines"][0]["measures"]:
        del measure["centroid"]
    path.write_bytes(json.dumps(former).encode())
    assert distance_of(read_file(path)[0]).centroid is None


def test_a_snapshot_holds_the_pinned_centroid_and_goes_on() -> None:
    run = Recorded(rules(), pinned(all_of(same)))
    run.feed(list(all_of(same, 1_000)))
    judge = run.judge.assignments[0].judge.models["m"]
    again = restored(packed(judge))
    assert len(again.timelines["input"].pinned_centroids["v"]) == 8
    assert comparable(again) == comparable(judge.saved_state())


@pytest.mark.parametrize("sections", [{}, {"sample": {"rows": 20}}, {"embeddings": {"v": 8}}])
def test_a_file_with_arrays_of_which_nothing_is_measured_makes_a_baseline(sections: dict[str, Any]) -> None:
    [baseline] = build(quick_settings(**sections), all_of(same, 600), "june", None).baselines
    measures = {measure.measure for measure in baseline.measures}
    assert {"v", "length(v)"} <= measures and DISTANCE not in measures  # of `v` itself only the kinds of its values
