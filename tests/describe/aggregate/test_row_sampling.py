"""Samples of rows: the events of smallest hash, whatever came in which delta."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.baselines.sampled_rows import ALL_HASHES, Rows, merge, of_cell
from stream_monitor.config.settings import Settings
from stream_monitor.describe.aggregate.row_sampling import MOST_FEATURES
from stream_monitor.describe.stage import Describe
from stream_monitor.file_replay import Line
from stream_monitor.kernels.id_hash import hash_ids
from stream_monitor.profiles.bin_catalog import BinCatalog
from stream_monitor.profiles.records import DeltaRecord, read_record
from stream_monitor.stages.contract import Output, Position
from stream_monitor.stages.topology import Topology
from tests.effort import examples
from tests.streams import T0, quick_settings

K = 5
Cell = tuple[str, str, int]
Told = dict[int, dict[str, Any]]
"""By hash: the features of a row."""


def told(rows: Rows) -> Told:
    """Rows as features by name; a number and a text never have the same name here."""
    found: Told = {int(key): {} for key in rows.hash.tolist()}
    for name, column in zip(rows.numbers, rows.values.tolist(), strict=True):
        for key, value in zip(rows.hash.tolist(), column, strict=True):
            if value == value:
                found[key][name] = value
    for name, codes in zip(rows.texts, rows.codes.tolist(), strict=True):
        for key, code in zip(rows.hash.tolist(), codes, strict=True):
            if code >= 0:
                found[key][name] = rows.categories[code]
    return found


def samples_of(outputs: Sequence[Output]) -> dict[Cell, list[Rows]]:
    """The parts of each (model, version, pane)."""
    found: dict[Cell, list[Rows]] = defaultdict(list)
    for output in outputs:
        record = read_record(output.value) if output.role == "profiles" else None
        for delta in record.deltas if isinstance(record, DeltaRecord) else ():
            for cell, segment in enumerate(delta.segment):
                if segment == "all" and delta.sample is not None:
                    key = delta.model, delta.version[cell], int(delta.pane[cell])
                    found[key].append(of_cell(delta.sample, cell, int(delta.counts[cell, 0])))
    return found


def described(lines: Sequence[bytes], batches: Sequence[int], rules: Settings) -> dict[Cell, Rows]:
    """The samples of lines, when commits come after so many; each is a worker's of its own partition."""
    found: dict[Cell, list[Rows]] = defaultdict(list)
    start = 0
    for size in [*batches, len(lines)]:
        stage = Describe(rules, Topology(1, 1, 1), BinCatalog())
        stage.assign({(role, 0): Position(0, "") for role in ("predictions", "labels", "feedback")}, {})
        for at in range(start, min(start + size, len(lines)), 7):
            part = lines[at : min(at + 7, start + size)]
            stage.process("predictions", [Line(line, at + i, T0 + 10_000) for i, line in enumerate(part)])
        for key, parts in samples_of(list(stage.flush({}))).items():
            found[key] += parts
        start += size
    return {key: merge(parts, K) for key, parts in found.items()}


def events_of(seed: int, count: int) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    events = []
    for i in range(count):
        features: dict[str, Any] = {"x": rng.gauss(0, 1), "country": rng.choice(["DE", "FR"]), "flag": i % 2 == 0}
        if rng.random() < 0.2:
            del features["x"]
        if rng.random() < 0.1:
            features["list"] = [1, 2]
        body = {"id": f"e{i}", "model": f"m{i % 2}", "version": str(i % 3), "ts": T0 + rng.randrange(3_000)}
        events.append(body | {"features": features, "prediction": 1.5})
    return events


def lines_of(events: Sequence[dict[str, Any]]) -> list[bytes]:
    return [json.dumps(event).encode() for event in events]


def expected(events: Sequence[dict[str, Any]]) -> dict[Cell, Told]:
    """By the definition: of each cell the events of smallest hash, what they say but arrays."""
    cells: dict[Cell, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
    hashes = hash_ids([event["id"] for event in events])[:, 0].tolist()
    for event, key in zip(events, hashes, strict=True):
        names = {name: value for name, value in event["features"].items() if name != "list"}
        names["flag"] = "true" if names["flag"] else "false"
        pane = event["ts"] - event["ts"] % 1_000
        cells[event["model"], event["version"], pane].append((key, names))
    return {cell: dict(sorted(rows, key=lambda row: row[0])[:K]) for cell, rows in cells.items()}


@examples(20)
@given(st.integers(0, 10_000), st.integers(1, 200), st.lists(st.integers(1, 60), max_size=6))
def test_a_sample_is_the_events_of_smallest_hash_however_they_are_batched(
    seed: int, count: int, batches: list[int]
) -> None:
    events = events_of(seed, count)
    samples = described(lines_of(events), batches, quick_settings(sample={"rows": K}, segments=[["country"]]))
    assert {cell: told(rows) for cell, rows in samples.items()} == expected(events)
    for cell, rows in samples.items():
        events_there = sum((e["model"], e["version"], e["ts"] - e["ts"] % 1_000) == cell for e in events)
        assert rows.upto == (int(rows.hash[-1]) if events_there > K else ALL_HASHES)


def test_without_the_setting_nothing_is_sampled() -> None:
    assert not described(lines_of(events_of(1, 50)), [20], quick_settings())


def test_a_duplicate_is_not_sampled_twice_and_a_late_event_not_at_all() -> None:
    rules = quick_settings(sample={"rows": 100})
    events = [{"id": f"e{i}", "ts": T0 + i, "features": {"x": i}} for i in range(4)]
    events += [{"id": "e3", "ts": T0 + 20, "features": {"x": 99}}, {"id": "a", "ts": T0 + 9_000, "features": {"x": 1}}]
    events += [{"id": "late", "ts": T0 + 30, "features": {"x": 98}}]
    samples = described(lines_of(events), [], rules)
    assert sorted(row["x"] for rows in samples.values() for row in told(rows).values()) == [0, 1, 1, 2, 3]


def test_private_features_are_tokens_or_not_there() -> None:
    private = {"hash": ["country"], "drop": ["x"], "key": "0123456789abcdef"}
    samples = described(lines_of(events_of(1, 50)), [20], quick_settings(sample={"rows": K}, privacy=private))
    rows = [row for sample in samples.values() for row in told(sample).values()]
    assert all("x" not in row and row["country"] not in ("DE", "FR") for row in rows)


@examples(10)
@given(st.integers(0, 10_000), st.lists(st.integers(1, 60), max_size=4))
def test_a_row_keeps_its_first_features_by_name_however_events_are_batched(seed: int, batches: list[int]) -> None:
    rng = random.Random(seed)
    events: list[dict[str, Any]] = []
    for i in range(80):
        names = rng.sample(range(400), rng.choice([3, 60, 300]))
        features = {f"f{n:03}": rng.choice([n + 0.5, f"t{n}"]) for n in names}
        events.append({"id": f"e{i}", "model": "m", "ts": T0, "features": features})
    samples = described(lines_of(events), batches, quick_settings(sample={"rows": K}))
    by_hash = dict(zip(hash_ids([e["id"] for e in events])[:, 0].tolist(), events, strict=True))
    [rows] = samples.values()
    for key, row in told(rows).items():
        features = by_hash[key]["features"]
        assert row == {name: features[name] for name in sorted(features)[:MOST_FEATURES]}


@examples(30)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 40))
def test_merging_is_exact_in_any_order_and_grouping(seed: int, parts: int, most: int) -> None:
    """What stays is every event up to one hash: the chance to be sampled is the same in busy and in quiet panes."""
    rng = np.random.default_rng(seed)
    whole = []
    for part in range(parts):
        hashes = np.sort(rng.integers(0, 2**64 - 1, rng.integers(1, 60), np.uint64))
        kept = hashes[:20]
        upto = int(kept[-1]) if len(hashes) > 20 else ALL_HASHES
        names = sorted(rng.choice(["a", "b", "c"], 2, replace=False).tolist())
        codes = np.zeros((1, len(kept)), np.int64)
        whole.append(Rows(kept, upto, names, rng.normal(size=(2, len(kept))), ["t"], codes, [f"c{part}"]))
    once = merge(whole, most)
    order = rng.permutation(parts).tolist()
    cut = int(rng.integers(0, parts))
    groups = [group for group in (order[:cut], order[cut:]) if group]
    twice = merge([merge([whole[at] for at in group], most) for group in groups], most)
    assert (told(once), once.upto) == (told(twice), twice.upto)
    assert (once.numbers, once.texts, once.categories) == (twice.numbers, twice.texts, twice.categories)
    assert len(once) <= most and set(once.hash.tolist()) == {
        key for part in whole for key in part.hash.tolist() if key <= once.upto
    }
