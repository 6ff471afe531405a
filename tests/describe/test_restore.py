"""A describe stage that takes a partition over goes on where the former owner's change log ends."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from stream_monitor.describe.stage import Describe
from stream_monitor.file_replay import Line
from stream_monitor.profiles.bin_catalog import BinCatalog
from stream_monitor.profiles.records import DeltaRecord, read_record
from stream_monitor.stages.contract import Output, Partition, PartitionStatus, Position
from stream_monitor.stages.topology import Topology
from tests.streams import T0, quick_settings

ROLES = ("predictions", "labels", "feedback")
RULES = quick_settings(segments=[["country"]])


def stage() -> Describe:
    return Describe(RULES, Topology(1, 1, 1), BinCatalog())


def lines(bodies: Sequence[dict[str, Any]]) -> list[Line]:
    return [Line(json.dumps(body).encode(), at, T0 + 10_000) for at, body in enumerate(bodies)]


def outcomes(outputs: Sequence[Output]) -> dict[str, int]:
    """Labelled predictions by segment."""
    found: dict[str, int] = {}
    for output in outputs:
        record = read_record(output.value) if output.role == "profiles" else None
        for delta in record.deltas if isinstance(record, DeltaRecord) else ():
            for segment, counts in zip(delta.segment, delta.counts.tolist(), strict=True):
                if delta.timeline == "label":
                    found[segment] = found.get(segment, 0) + counts[0]
    return found


@pytest.mark.parametrize("tags", [{"country": "DE"}, {}])
def test_a_prediction_that_waits_meets_its_label_whatever_segment_it_is_in(tags: dict[str, str]) -> None:
    """Also one that lies in no segment."""
    first = stage()
    first.assign({(role, 0): Position(0, "") for role in ROLES}, {})
    first.process("predictions", lines([{"id": "a", "model": "m", "ts": T0, "prediction": True, "tags": tags}]))
    status: dict[Partition, PartitionStatus] = {}
    log = [output.value for output in first.flush(status) if output.role == "pending"]
    offsets = first.offsets([*range(len(log))])

    second = stage()
    second.assign({(role, 0): offsets.get((role, 0), Position(0, "")) for role in ROLES}, {0: [*enumerate(log)]})
    second.process("labels", lines([{"id": "a", "ts": T0 + 1_000, "label": True}]))
    assert outcomes([*second.flush(status)]) == {"all": 1} | {f"country={name}": 1 for name in tags.values()}
