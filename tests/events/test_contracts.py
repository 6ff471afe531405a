"""The published schemas hold for what is really read and written."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import jsonschema
import msgspec
import numpy as np
import pytest

from stream_monitor.describe.stage import Describe
from stream_monitor.events.schemas import CONTRACTS, json_schema
from stream_monitor.file_replay import Line, replay
from stream_monitor.profiles.bin_catalog import BinCatalog
from stream_monitor.profiles.records import DeltaRecord, profile_schema, read_record
from stream_monitor.stages.contract import Output, Position
from stream_monitor.stages.topology import Topology
from stream_monitor.wire.msgpack_arrays import Table
from tests.streams import quick_settings, shop


@pytest.fixture(scope="module")
def written() -> dict[str, list[bytes]]:
    out: dict[str, list[bytes]] = defaultdict(list)

    def publish(output: Output) -> None:
        out[output.role].append(output.value)

    events = [(event.role, event.raw) for event in shop(1)]
    replay(quick_settings(segments=[["country"]]), [*events, ("predictions", b"{")], publish)
    return out


@pytest.mark.parametrize(
    ("role", "name"), [("alerts", "alert"), ("metrics", "metric"), ("dead-letters", "dead-letter")]
)
def test_real_output_fits_its_schema(written: dict[str, list[bytes]], role: str, name: str) -> None:
    validator = jsonschema.Draft202012Validator(json_schema(name))
    assert written[role]
    for value in written[role]:
        validator.validate(json.loads(value))


@pytest.mark.parametrize(
    ("role", "name"), [("predictions", "prediction"), ("labels", "label"), ("feedback", "feedback")]
)
def test_events_that_are_counted_fit_their_schema(role: str, name: str) -> None:
    validator = jsonschema.Draft202012Validator(json_schema(name))
    for event in shop(1):
        if event.role == role:
            validator.validate(json.loads(event.raw))


def test_every_contract_has_a_schema() -> None:
    for name in CONTRACTS:
        jsonschema.Draft202012Validator.check_schema(json_schema(name))


def plainly(packed: Any) -> Any:
    if isinstance(packed, Table):
        return {name: np.asarray(column).tolist() for name, column in packed.columns().items()}
    return packed.tolist()


def test_the_schema_of_profiles_holds_for_what_describe_writes() -> None:
    stage = Describe(quick_settings(), Topology(1, 1, 1), BinCatalog())
    stage.assign({(role, 0): Position(0, "") for role in ("predictions", "labels", "feedback")}, {})
    for at, event in enumerate(shop(1, 50)):
        stage.process(event.role, [Line(event.raw, at, event.ts + 1_000)])
    records = [read_record(output.value) for output in stage.flush({}) if output.role == "profiles"]
    deltas = [record for record in records if isinstance(record, DeltaRecord)]
    assert deltas
    for record in deltas:
        plain = json.loads(msgspec.json.encode(record, enc_hook=plainly))
        jsonschema.validate(plain, profile_schema())
