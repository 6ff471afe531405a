"""What a newer version wrote is refused by an older one, not misread: offsets, profiles, change logs, snapshots."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from stream_monitor.describe.knowledge import Knowledge
from stream_monitor.describe.records import WatermarkRecord, read, write
from stream_monitor.describe.stage import Describe, Layout
from stream_monitor.errors import FormatError
from stream_monitor.events.arrays import pack
from stream_monitor.judge.stage import Judge, SnapshotPart, read_snapshot
from stream_monitor.stages import Position
from tests.streams import quick_settings


def an_offset_of_describe() -> None:
    stage = Describe(quick_settings(), Layout(1, 1, 1), Knowledge())
    stage.assign({("predictions", 0): Position(7, json.dumps({"ts": 1, "low": 0, "n": 1, "v": 99}))}, {})


def an_offset_of_the_judge() -> None:
    Judge(quick_settings(), 1).assign({("profiles", 0): Position(7, json.dumps({"low": 0, "n": 1, "v": 99}))}, {})


def a_record_of_profiles() -> None:
    read(write(WatermarkRecord(1, [], v=99)))


def a_snapshot() -> None:
    read_snapshot([pack(SnapshotPart("", 5, 0, 1, b"", v=99))], 5)


@pytest.mark.parametrize("use", [an_offset_of_describe, an_offset_of_the_judge, a_record_of_profiles, a_snapshot])
def test_what_a_newer_version_wrote_is_refused_with_the_way_out(use: Callable[[], None]) -> None:
    with pytest.raises(FormatError, match="upgrade first"):
        use()


def test_fields_that_a_newer_version_added_to_an_offset_are_no_reason_to_stop() -> None:
    """Two versions work side by side during a roll as long as the format's number stays."""
    stage = Describe(quick_settings(), Layout(1, 1, 1), Knowledge())
    told = json.dumps({"ts": 1, "low": None, "n": 1, "v": 1, "new": "field"})
    assert stage.assign({("predictions", 0): Position(7, told)}, {}) == {("predictions", 0): 7}
