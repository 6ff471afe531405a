"""What a newer version wrote is refused by an older one, not misread: offsets, profiles, change logs, snapshots."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from stream_monitor.describe.stage import Describe
from stream_monitor.errors import FormatError
from stream_monitor.file_replay import Replay
from stream_monitor.judge.model_state import ModelState
from stream_monitor.judge.partition_state import PartitionState
from stream_monitor.judge.snapshots import SnapshotPart, Snapshots
from stream_monitor.judge.stage import Judge
from stream_monitor.profiles.bin_catalog import BinCatalog
from stream_monitor.profiles.records import WatermarkRecord, read_record, write_record
from stream_monitor.stages.contract import Position
from stream_monitor.stages.topology import Topology
from stream_monitor.wire.msgpack_arrays import pack, unpack
from tests.judge.logs import comparable, packed, restored
from tests.streams import T0, quick_settings, shop


def an_offset_of_describe() -> None:
    stage = Describe(quick_settings(), Topology(1, 1, 1), BinCatalog())
    stage.assign({("predictions", 0): Position(7, json.dumps({"ts": 1, "low": 0, "n": 1, "v": 99}))}, {})


def an_offset_of_the_judge() -> None:
    Judge(quick_settings(), 1).assign({("profiles", 0): Position(7, json.dumps({"low": 0, "n": 1, "v": 99}))}, {})


def a_record_of_profiles() -> None:
    read_record(write_record(WatermarkRecord(1, [], v=99)))


def a_snapshot() -> None:
    Snapshots.read([pack(SnapshotPart("", 5, 0, 1, b"", v=99))], 5)


@pytest.mark.parametrize("use", [an_offset_of_describe, an_offset_of_the_judge, a_record_of_profiles, a_snapshot])
def test_what_a_newer_version_wrote_is_refused_with_the_way_out(use: Callable[[], None]) -> None:
    with pytest.raises(FormatError, match="upgrade first"):
        use()


def test_fields_that_a_newer_version_added_to_an_offset_are_no_reason_to_stop() -> None:
    """Two versions work side by side during a roll as long as the format's number stays."""
    stage = Describe(quick_settings(), Topology(1, 1, 1), BinCatalog())
    told = json.dumps({"ts": 1, "low": None, "n": 1, "v": 1, "new": "field"})
    assert stage.assign({("predictions", 0): Position(7, told)}, {}) == {("predictions", 0): 7}


ADDED = {"earlier", "resets", "renewing", "others", "approximate", "left_out", "partial", "joint", "sampled"}
ADDED |= {"centroids", "samples", "again", "forgot"}
"""Fields of snapshots that 0.1.0 did not have from its beginning."""


def without(value: Any, added: set[str] = ADDED) -> Any:
    """What a snapshot was before there were these fields."""
    if isinstance(value, dict):
        return {key: without(item, added) for key, item in value.items() if key not in added}
    return [without(item, added) for item in value] if isinstance(value, list) else value


def shortened(written: bytes) -> bytes:
    """A snapshot without what was added since, which it held."""
    former: bytes = msgspec.msgpack.encode(without(msgspec.msgpack.decode(written, strict=False)))
    assert len(former) < len(written)
    return former


def test_a_snapshot_from_before_windows_could_slide_and_baselines_be_reset_is_read_and_goes_on() -> None:
    run, events = Replay(quick_settings(), lambda output: None), [(e.role, e.raw) for e in shop(3, 400)]
    run.feed(events)
    judge = run.judge.assignments[0].judge
    for model in judge.models.values():
        assert comparable(restored(shortened(packed(model)))) == comparable(model.saved_state())
    assert comparable(unpack(shortened(pack(judge.state)), PartitionState, own=True)) == comparable(judge.state)


def test_a_snapshot_from_before_alerts_of_detectors_were_attributed_is_read_and_goes_on() -> None:
    run, events = Replay(quick_settings(), lambda output: None), [(e.role, e.raw) for e in shop(3, 400)]
    run.feed(events)
    for model in run.judge.assignments[0].judge.models.values():
        former = msgspec.msgpack.encode(
            without(msgspec.msgpack.decode(packed(model), strict=False), {"finished", "cause"})
        )
        state = unpack(former, ModelState, own=True)
        assert (
            model.state.timelines["input"].last_tumbling is not None and state.timelines["input"].last_tumbling is None
        )
        assert state.alerts.open == model.state.alerts.open and not list(state.alerts.abandon(T0, "forgotten"))


def test_a_snapshot_from_before_rows_knew_reach_rarity_and_what_to_go_back_to_is_read() -> None:
    run, events = Replay(quick_settings(), lambda output: None), [(e.role, e.raw) for e in shop(3, 400)]
    run.feed(events)
    for model in run.judge.assignments[0].judge.models.values():
        value = packed(model)
        former = msgspec.msgpack.encode(without(msgspec.msgpack.decode(value, strict=False), {"reach", "pair", "kept"}))
        now, before = (unpack(raw, ModelState, own=True).timelines["input"].sequential.saved for raw in (value, former))
        assert now is not None and before is not None and len(former) < len(value)
        assert np.isfinite(now.cusum.reach).any() and np.isinf(before.cusum.reach).all()
        assert before.cusum.reach.shape == before.cusum.bar.shape
        assert before.cusum.pair.shape == now.cusum.pair.shape and not before.cusum.pair.any()
        blocks = before.cusum.blocks
        assert blocks.panes.any() and (blocks.kept[0] == blocks.panes).all()
        assert blocks.kept.shape == now.cusum.blocks.kept.shape
