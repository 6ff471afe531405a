"""What a judge holds of panes that have not closed: in memory, in its snapshots, and what it does where it is much."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from stream_monitor.describe.stage import Describe
from stream_monitor.events.contracts import Alert, Metric
from stream_monitor.judge.panes.open_panes import cut, deltas_of, merge
from stream_monitor.judge.partition import PartitionJudge
from stream_monitor.judge.partition_state import PartitionState
from stream_monitor.judge.snapshots import Snapshots
from stream_monitor.profiles.bin_catalog import BinCatalog, ProgressRecord, notice_output
from stream_monitor.profiles.records import DeltaRecord, WatermarkRecord, read_record, write_record
from stream_monitor.stages.contract import PartitionStatus, Position
from stream_monitor.stages.topology import Topology
from stream_monitor.wire.msgpack_arrays import pack
from tests.judge.logs import recorded
from tests.judge.panes.test_merge_queue import judged, log_of
from tests.schedules import rounded
from tests.streams import T0, quick_settings, shop

SAMPLED = {"sample": {"rows": 8}, "segments": [["country"]], "embeddings": {"v": 4}}


def sampled_log(seed: int) -> tuple[Any, list[tuple[bytes, int]]]:
    """A log with sampled rows and embeddings; its deltas span many panes, and its labels come ahead."""
    rng, events = random.Random(seed), []
    for role, raw in [(e.role, e.raw) for e in shop(seed, 900)]:
        body = json.loads(raw)
        if role == "predictions":
            body["features"]["v"] = [rng.gauss(0, 1) for _ in range(4)]
        events.append((role, json.dumps(body).encode()))
    rules = quick_settings(**SAMPLED)
    run = recorded(rules, events, batch=250)
    return rules, [(write_record(record), arrived) for record, arrived in run.log]


def later_watermarks(log: tuple[Any, list[tuple[bytes, int]]], every: int) -> tuple[Any, list[tuple[bytes, int]]]:
    """The same log with most watermarks left out: panes stay open long."""
    rules, records = log
    last = max(at for at, (raw, _) in enumerate(records) if isinstance(read_record(raw), WatermarkRecord))
    marks = 0
    kept = []
    for at, (raw, arrived) in enumerate(records):
        if isinstance(read_record(raw), WatermarkRecord):
            marks += 1
            if marks % every and at != last:
                continue
        kept.append((raw, arrived))
    return rules, kept


LOGS = [lambda: later_watermarks(log_of(1), 9), lambda: later_watermarks(sampled_log(2), 2)]


def told(found: list[bytes]) -> list[Any]:
    """What was said, floats to nine digits; of baselines and edges their names."""
    said = [msgspec.msgpack.decode(raw, ext_hook=lambda code, data: None) for raw in found]
    named = [one if isinstance(one, dict) else {"gone": one} for one in said]
    return [rounded({k: v for k, v in one.items() if not isinstance(v, bytes)}) for one in named]


@pytest.mark.parametrize("make", LOGS)
def test_cutting_deltas_to_what_is_open_changes_nothing(make: Callable[[], Any]) -> None:
    log, shorter = make(), 0

    def cutting(judge: PartitionJudge, at: int) -> PartitionJudge:
        nonlocal shorter
        before = {len(delta.pane) for delta, _ in deltas_of(judge.memory.panes()).values()}
        cut(judge.memory.panes())
        for delta, parts in deltas_of(judge.memory.panes()).values():
            assert 2 * sum(part.last - part.first for part in parts) > len(delta.pane)
        shorter += before != {len(delta.pane) for delta, _ in deltas_of(judge.memory.panes()).values()}
        return judge

    assert judged(log, cutting) == judged(log, lambda judge, _: judge)
    assert shorter


@pytest.mark.parametrize("make", LOGS)
def test_merging_the_parts_of_open_panes_changes_no_more_than_the_last_digits(make: Callable[[], Any]) -> None:
    log, fewer = make(), 0

    def merging(judge: PartitionJudge, at: int) -> PartitionJudge:
        nonlocal fewer
        before = sum(len(parts) for panes in judge.memory.panes() for parts in panes.values())
        for panes in judge.memory.panes():
            merge(panes)
        fewer += sum(len(parts) for panes in judge.memory.panes() for parts in panes.values()) < before
        return judge

    assert told(judged(log, merging)) == told(judged(log, lambda judge, _: judge))
    assert fewer > 2


def test_snapshots_between_which_parts_were_merged_restore_what_is_open() -> None:
    rules, records = log = later_watermarks(log_of(1), 9)
    topic, snapshots, rng = dict[bytes, bytes | None](), Snapshots(), random.Random(5)

    def restored(judge: PartitionJudge, at: int) -> PartitionJudge:
        nonlocal snapshots
        if rng.random() < 0.4:
            judge.memory.merge()
        if rng.random() < 0.4:
            topic.update({record.key: record.value for record in snapshots.write(judge, at)})
            found = Snapshots.read([value for value in topic.values() if value is not None], at)
            snapshots, judge = found.snapshots, PartitionJudge(0, rules, found.state, found.models)
            judge.rest(snapshots.unchanged(at))
        return judge

    assert records and told(judged(log, restored)) == told(judged(log, lambda judge, _: judge))


def ahead(seed: int = 3, panes: int = 200) -> tuple[Any, list[Any]]:
    """Settings, and deltas of many panes each of which stays open: labels that are ahead of the predictions."""
    rules = quick_settings(detection={"min_count": 20})
    events = []
    for i in range(panes * 40):
        ts = T0 + i * 25
        body = {"id": f"e{i}", "model": "m", "ts": ts, "features": {"x": float(i % 7), "c": "ab"[i % 2]}}
        events.append(("predictions", json.dumps(body | {"prediction": True}).encode()))
        events.append(("labels", json.dumps({"id": f"e{i}", "ts": ts + 9_000, "label": i % 3 == 0}).encode()))
    return rules, [record for record, _ in recorded(rules, events, batch=4_000).log]


def held(records: list[Any], rules: Any) -> PartitionJudge:
    """A judge that has heard one watermark, early, and all deltas."""
    judge = PartitionJudge(0, rules, PartitionState(), {})
    marks = [record for record in records if isinstance(record, WatermarkRecord)]
    others = [record for record in records if not isinstance(record, WatermarkRecord)]
    for record in [*others[:3], marks[0], *others[3:]]:
        list(judge.process(record, 0))
    return judge


def test_a_snapshot_is_as_large_as_what_it_holds_and_a_second_one_writes_what_changed() -> None:
    rules, records = ahead()
    judge, snapshots = held(records, rules), Snapshots()
    in_memory = sum(len(pack(delta)) for delta, _ in deltas_of(judge.memory.panes()).values())
    parts = sum(len(parts) for panes in judge.memory.panes() for parts in panes.values())
    first = [*snapshots.write(judge, 1)]
    assert parts > 200 and in_memory > 100_000
    assert sum(len(record.value or b"") for record in first) < 1.2 * in_memory + 100_000
    again = [*snapshots.write(judge, 2)]
    assert sum(len(record.value or b"") for record in again) < 10_000
    found = Snapshots.read([record.value for record in [*first, *again] if record.value is not None], 2)
    restored = PartitionJudge(0, rules, found.state, found.models)
    assert len(deltas_of(restored.memory.panes())) == len(deltas_of(judge.memory.panes()))
    assert restored.memory.open_bytes.nbytes == judge.memory.open_bytes.nbytes > 0


def test_deltas_are_deleted_from_the_topic_when_their_last_pane_has_closed() -> None:
    rules, records = ahead()
    judge, snapshots = held(records, rules), Snapshots()
    topic = {record.key: record.value for record in snapshots.write(judge, 1)}
    for record in records:
        if isinstance(record, WatermarkRecord):
            list(judge.process(record, 0))
    assert not [*judge.memory.panes()] and judge.memory.open_bytes.nbytes == 0
    topic |= {record.key: record.value for record in snapshots.write(judge, 2)}
    left = [key for key, value in topic.items() if value is not None]
    assert [key.split(b"\x1f")[0] for key in left] == [b""], "nor is a model that was forgotten left"


def test_a_judge_that_holds_too_much_merges_and_then_asks_workers_to_wait_until_half_is_left() -> None:
    rules, records = ahead()
    judge = PartitionJudge(0, rules, PartitionState(), {})
    judge.memory.limit = 60_000
    deltas = [record for record in records if isinstance(record, DeltaRecord)]
    marks = [record for record in records if isinstance(record, WatermarkRecord)]
    said: list[Any] = []
    for record in [*(r for r in records if not isinstance(r, DeltaRecord | WatermarkRecord)), *deltas, *marks]:
        said += judge.process(record, 0)
    waits = [s.wait for s in said if isinstance(s, ProgressRecord)]
    assert True in waits and waits[-1] is False and judge.memory.open_bytes.nbytes == 0
    assert any(isinstance(s, Metric | Alert) for s in said)


def test_workers_wait_for_the_slowest_partition_while_a_judge_says_so() -> None:
    rules, catalog = quick_settings(), BinCatalog()
    stage = Describe(rules, Topology(2, 1, 2), catalog)
    parts = [(role, number) for role in ("predictions", "labels", "feedback") for number in (0, 1)]
    stage.assign({part: Position(0, "") for part in parts}, {})
    stage.clocks.joined[0].predictions.largest = T0
    stage.clocks.joined[1].predictions.largest = T0 + rules.align - 1
    status = dict.fromkeys(parts, PartitionStatus(at_end=False, idle=False)) | {
        part: PartitionStatus(at_end=True, idle=False) for part in parts if part[0] != "predictions"
    }
    assert stage.partitions_to_pause(status) == set()
    for partition in (0, 1):
        catalog.apply(notice_output(ProgressRecord(T0, partition, wait=True))[1])
    assert stage.partitions_to_pause(status) == {("predictions", 1)}
    catalog.apply(notice_output(ProgressRecord(T0, 0))[1])
    assert stage.partitions_to_pause(status) == {("predictions", 1)}, "the judge of the other partition still says so"
    catalog.apply(notice_output(ProgressRecord(T0, 1))[1])
    assert stage.partitions_to_pause(status) == set()
