"""Pinned rows: made of a file, carried by records, judged against in place of the stream's own."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_monitor.baseline.build import build
from stream_monitor.baseline.show import tables_of
from stream_monitor.baselines.baseline import Baseline
from stream_monitor.baselines.pinned import Pin, PinnedBaseline, PinnedMeasure, read_file, write_file
from stream_monitor.baselines.sampled_rows import ALL_HASHES, Rows, merge
from stream_monitor.errors import FormatError
from stream_monitor.judge.baselines.recent_rows import RecentRowBaselines, RecentRowsState
from stream_monitor.judge.detection.multivariate import Joint, RowsState
from stream_monitor.profiles.measures import JOINT
from stream_monitor.profiles.records import MAX_RECORD_BYTES, ResetRecord
from stream_monitor.wire.msgpack_arrays import pack, unpack
from tests.judge.baselines.test_recent_rows import baselines
from tests.judge.detection.test_multivariate import opened, rules, stream
from tests.judge.logs import Recorded, comparable, packed, recorded, restored
from tests.screens import shown
from tests.streams import T0

CALM = [(3_000, 0.8)]


def pinned(version: str | None = None) -> list[PinnedBaseline]:
    return build(rules(), stream(9, CALM), "calm", version).baselines


def of_rows(baseline: PinnedBaseline) -> PinnedMeasure:
    [measure] = [measure for measure in baseline.measures if measure.measure == JOINT]
    return measure


def with_version(events: Iterator[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """Every second event is of version 2."""
    return [
        (role, json.dumps(json.loads(raw) | {"version": str(1 + i % 2)}).encode())
        for i, (role, raw) in enumerate(events)
    ]


def many(count: int, features: int, seed: int = 1) -> Rows:
    rng = np.random.default_rng(seed)
    hashes = np.unique(rng.integers(0, 2**64 - 1, count, np.uint64))
    values = rng.normal(size=(features, len(hashes)))
    values[0, ::3] = np.nan
    codes = rng.integers(-1, 2, (1, len(hashes)))
    return Rows(hashes, ALL_HASHES, [f"x{i:02}" for i in range(features)], values, ["c"], codes, ["DE", "FR"])


def test_a_stream_that_never_was_as_the_file_rings_from_its_first_window() -> None:
    run = recorded(rules(), stream(1, [(3_000, -0.8)]), pinned())
    first = next(alert for alert in opened(run) if alert["measure"] == JOINT)
    assert first["ts"] - T0 <= 40_000 and {*baselines(run)} == {"calm"}
    assert first["findings"][0]["evidence"]["baseline"]["n"] == 1_000
    assert not opened(recorded(rules(), stream(1, CALM), pinned()))


def test_rows_that_were_pinned_for_a_version_judge_that_one_alone() -> None:
    run = recorded(rules(), with_version(stream(1, [(6_000, -0.8)])), pinned("2"))
    assert {alert["version"] for alert in opened(run) if alert["measure"] == JOINT} == {"2"}
    assert {*baselines(run)} == {"calm", "first-600"}


def test_a_file_without_rows_has_none() -> None:
    [baseline] = build(rules(0), stream(9, CALM), "calm", None).baselines
    assert JOINT not in {measure.measure for measure in baseline.measures}


def test_a_file_keeps_rows_to_the_last_bit_and_shows_that_it_has_them(tmp_path: Path) -> None:
    path = tmp_path / "calm.json"
    write_file(path, made := pinned())
    read = read_file(path)
    assert of_rows(read[0]).rows == of_rows(made[0]).rows and len(unpack(of_rows(made[0]).rows, Rows)) == 1_000
    assert "features side by side" in shown(tables_of(read[0]))


@pytest.mark.parametrize(
    "broken",
    [
        {"codes": np.full((1, 3), 9)},
        {"values": np.zeros((1, 2))},
        {"values": np.full((1, 3), np.inf)},
        {"hash": np.array([3, 2, 1], np.uint64)},
        {"hash": np.array([1, 2, 3])},
    ],
)
def test_rows_that_do_not_fit_are_refused(tmp_path: Path, broken: dict[str, Any]) -> None:
    good = Rows(np.arange(3, dtype=np.uint64), 9, ["a"], np.zeros((1, 3)), ["c"], np.zeros((1, 3), np.int64), ["x"])
    assert good.sound
    for rows in (pack(msgspec.structs.replace(good, **broken)), b"\x00"):
        measure = PinnedMeasure("input", "all", JOINT, Baseline("june", 0, 3, {}, 3), rows=rows)
        path = tmp_path / "june.json"
        write_file(path, [PinnedBaseline("m", None, "june", [measure])])
        assert base64.b64encode(rows) in path.read_bytes()
        with pytest.raises(FormatError):
            read_file(path)


@settings(deadline=None, derandomize=True)
@given(st.integers(0, 300), st.integers(200, 9_000))
def test_pieces_together_are_the_whole(count: int, most: int) -> None:
    rows = many(count, 3)
    whole = merge([rows], 2_000)
    measure = PinnedMeasure("input", "all", JOINT, Baseline("june", 0, 3, {}, 3), rows=pack(whole))
    parts = [unpack(piece.rows, Rows) for piece in measure.pieces(most)]
    assert pack(merge(parts, 2_000)) == measure.rows


def test_rows_of_many_features_fit_into_records() -> None:
    measure = PinnedMeasure("input", "all", JOINT, Baseline("june", 0, 3, {}, 3), rows=pack(many(2_000, 100)))
    records = PinnedBaseline("m", None, "june", [measure]).records()
    assert len(records) > 3 and max(len(record.payload) for record in records) <= MAX_RECORD_BYTES
    pin = Pin(None, records[0].digest, len(records), {record.part: record.payload for record in records})
    assert pack(merge([unpack(m.rows, Rows) for m in pin.measures()], 2_000)) == measure.rows


def joint() -> Joint:
    return Joint(RowsState(), 100, RecentRowBaselines(RecentRowsState(), None))


def in_force(of: Joint, version: str, start: int) -> str | None:
    found = of._pinned(version, start)
    return None if found is None else found.name


def test_a_window_that_had_begun_is_judged_by_what_was_in_force() -> None:
    of, rows = joint(), many(20, 2)
    of.pin(None, "may", [rows], 100)
    of.pin(None, "june", [rows], 200)
    of.pin("2", "july", [rows], 300)
    named = [in_force(of, version, start) for version in ("1", "2") for start in (50, 150, 250, 350)]
    assert named == [None, "may", "june", "june", None, "may", "june", "july"]
    of.pin(None, "june again", [rows], 200)
    assert (in_force(of, "1", 150), in_force(of, "1", 250)) == ("may", "june again")


def test_a_reset_forgets_what_it_covers() -> None:
    of, rows = joint(), many(20, 2)

    def pin_both() -> None:
        of.pin(None, "june", [rows], 0)
        of.pin("2", "july", [rows], 0)

    for reset, left in (
        (ResetRecord("m"), set()),
        (ResetRecord("m", "x01"), set()),
        (ResetRecord("m", version="2"), {""}),
        (ResetRecord("m", "latency_ms"), {"", "2"}),
        (ResetRecord("m", segment="country=DE"), {"", "2"}),
    ):
        pin_both()
        assert bool(of.forget(reset)) == (left != {"", "2"}) and {*of.state.pinned} == left


def test_a_reset_of_a_version_ends_the_alert_of_that_version_alone() -> None:
    run, events = Recorded(rules()), with_version(stream(1, [(6_000, -0.8)]))
    for record in [record for baseline in (*pinned("1"), *pinned("2")) for record in baseline.records()]:
        run._judge(pack(record))
    run.feed(events[:3_000])
    run.reset(ResetRecord("m", version="2", since=T0 + 70_000))
    run.feed(events[3_000:])
    ended = [a["version"] for a in run.alerts if a["measure"] == JOINT and "was reset" in a.get("reason", "")]
    assert ended == ["2"]


def test_a_snapshot_holds_pinned_rows_and_goes_on() -> None:
    run = Recorded(rules(), pinned())
    run.feed(list(stream(1, [(1_000, 0.8)])))
    judge = run.judge.assignments[0].judge.models["m"]
    again = restored(packed(judge))
    assert again.timelines["input"].joint.pinned[""].name == "calm"
    assert comparable(again) == comparable(judge.saved_state())
