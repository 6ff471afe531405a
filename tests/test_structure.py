"""Profiles of other panes, segments, grains or embeddings than the app's are never merged, whichever role starts."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from stream_monitor.config.settings import Settings
from stream_monitor.describe.stage import Describe
from stream_monitor.errors import SettingsError
from stream_monitor.judge.partition import PartitionJudge
from stream_monitor.judge.partition_state import PartitionState
from stream_monitor.profiles.bin_catalog import BinCatalog
from stream_monitor.profiles.records import DeltaRecord, read_record, write_record
from stream_monitor.stages.contract import Position
from stream_monitor.stages.topology import Topology
from tests.judge.logs import recorded
from tests.schedules import Cluster
from tests.streams import quick_settings, shop
from tests.upgrade.sample import feed, rules

OTHERS: list[dict[str, Any]] = [
    {"time": {"pane": "2s", "windows": ["10s"], "allowed_lateness": "5s", "max_skew": "1s"}},
    {"segments": [["country"]]},
    {"join": {"label_horizon": "1m", "early_horizon": "10s", "grain": "5s", "revisions": ["0s", "20s"]}},
]


def committed(settings: Settings) -> dict[tuple[str, int], Position]:
    """What a describe worker with these settings commits."""
    stage = Describe(settings, Topology(1, 1, 1), BinCatalog())
    parts = [("predictions", 0), ("labels", 0), ("feedback", 0), ("observations", 0)]
    stage.assign({part: Position(0, "") for part in parts}, {})
    list(stage.flush({}))
    return stage.offsets([])


@pytest.mark.parametrize("other", OTHERS)
def test_a_describe_worker_of_another_structure_is_refused_by_what_the_app_committed(other: dict[str, Any]) -> None:
    offsets = committed(quick_settings())
    assert offsets.keys() >= {("predictions", 0), ("labels", 0)}
    Describe(quick_settings(), Topology(1, 1, 1), BinCatalog()).assign(offsets, {})
    for part, position in offsets.items():
        with pytest.raises(SettingsError, match="another app name"):
            Describe(quick_settings(**other), Topology(1, 1, 1), BinCatalog()).assign({part: position}, {})


def test_embeddings_of_another_width_are_refused_and_new_ones_are_not() -> None:
    offsets, topology = committed(quick_settings(embeddings={"v": 4})), Topology(1, 1, 1)
    Describe(quick_settings(embeddings={"v": 4, "w": 8}), topology, BinCatalog()).assign(offsets, {})
    Describe(quick_settings(), topology, BinCatalog()).assign(offsets, {})
    with pytest.raises(SettingsError, match=r"embeddings\.v has 8 numbers here and 4"):
        Describe(quick_settings(embeddings={"v": 8}), topology, BinCatalog()).assign(offsets, {})


def said(judge: PartitionJudge, records: list[Any]) -> list[bytes]:
    return [msgspec.json.encode(s, enc_hook=repr) for record in records for s in judge.process(record, 0)]


@pytest.mark.parametrize("other", [*OTHERS, {"embeddings": {"v": 8}}])
def test_a_judge_leaves_out_what_a_describe_of_another_structure_wrote(other: dict[str, Any]) -> None:
    """Two describes that start at the same moment, before either has committed."""
    own = quick_settings(embeddings={"v": 4}) if "embeddings" in other else quick_settings()
    mine = [record for record, _ in recorded(own, [(e.role, e.raw) for e in shop(3, 300)]).log]
    foreign = recorded(quick_settings(**other), [(e.role, e.raw) for e in shop(4, 200)]).log
    deltas = [record for record, _ in foreign if isinstance(record, DeltaRecord)]
    assert deltas and all(delta.structure for delta in deltas)
    alone, mixed = (PartitionJudge(0, own, PartitionState(), {}) for _ in range(2))
    assert said(alone, mine) == said(mixed, [*mine[:3], *deltas, *mine[3:]])
    assert (alone.state.refused, mixed.state.refused) == (0, len(deltas))


def test_a_delta_without_its_structure_counts_as_the_apps() -> None:
    own = quick_settings()
    log = [record for record, _ in recorded(own, [(e.role, e.raw) for e in shop(3, 300)]).log]
    former = [msgspec.structs.replace(r, structure="", widths={}) if isinstance(r, DeltaRecord) else r for r in log]
    first, second = (PartitionJudge(0, own, PartitionState(), {}) for _ in range(2))
    assert said(first, [read_record(write_record(r)) for r in former]) == said(second, log)


def test_a_worker_of_another_structure_joins_a_running_app_and_stops_before_it_publishes() -> None:
    cluster = Cluster(rules(), 2, 1, 0.0)
    for stage in ("describe", "judge"):
        cluster.start(stage)
    feed(cluster, shop(1, 300))
    cluster.loops["describe"][0].commit()
    before = len(cluster.broker.values("profiles"))
    cluster.rules = rules().model_copy(update={"segments": ()})
    cluster.start("describe")
    assert isinstance(cluster.loops["describe"][1].failure, SettingsError)
    assert all(json.loads(p.metadata)["structure"] for p in cluster.broker.group("describe").offsets.values())
    assert len(cluster.broker.values("profiles")) - before <= 4  # what the other one committed when it gave up half


def test_the_judges_own_settings_say_how_long_embeddings_are_whoever_comes_first() -> None:
    own = quick_settings(embeddings={"v": 4})
    mine = [record for record, _ in recorded(own, [(e.role, e.raw) for e in shop(3, 200)]).log]
    other = recorded(quick_settings(embeddings={"v": 8, "w": 16}), [(e.role, e.raw) for e in shop(4, 200)]).log
    foreign = [record for record, _ in other if isinstance(record, DeltaRecord)]
    judge = PartitionJudge(0, own, PartitionState(), {})
    said(judge, foreign)
    assert judge.state.refused == len(foreign) and judge.state.widths == {}, "nothing is learned of what is refused"
    said(judge, mine)
    assert judge.state.refused == len(foreign) and judge.state.widths == {"v": 4}
