"""The typed decode is only a cache: whatever comes, its deltas equal those of the generic way."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_monitor.describe import tape
from stream_monitor.describe.records import DeltaRecord, read
from stream_monitor.describe.stage import Describe, Knowledge, Layout
from stream_monitor.replay import Line
from stream_monitor.stages import Position
from tests.streams import T0, quick_settings

values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**25), 10**25),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "a", "b", "é\n", "x" * 300]),
    st.lists(st.integers(), max_size=2),
    st.just({"nested": 1}),
    st.just(-0.0),
)
steady = {"amount": st.floats(-5, 5), "country": st.sampled_from(["DE", "FR"]), "vip": st.booleans()}
odd = st.dictionaries(st.sampled_from(["amount", "country", "score", "x)"]), values, max_size=3)
features = st.one_of(st.fixed_dictionaries(steady), st.fixed_dictionaries(steady), odd)
events = st.fixed_dictionaries(
    {
        "id": st.sampled_from([f"e{i}" for i in range(300)]),
        "ts": st.integers(T0, T0 + 3_000),
        "model": st.sampled_from(["m0", "m1"]),
        "features": features,
        "prediction": st.one_of(st.booleans(), st.booleans(), values),
    },
    optional={
        "version": st.sampled_from(["1", "2", ""]),
        "probabilities": st.one_of(st.floats(0, 1), st.just([0.2, 0.8]), st.just({"true": 0.7}), st.none()),
        "latency_ms": st.one_of(st.floats(0, 9), st.none()),
        "human_prediction": st.one_of(st.booleans(), st.none()),
        "tags": st.just({"country": "IT"}),
        "unknown": st.just(1),
    },
)
raw = st.one_of(
    *[events.map(lambda event: json.dumps(event).encode())] * 8,
    st.sampled_from([b"", b" ", b"{", b"[1]\n[2]", b'{"id":"a","ts":1}', b"\xff", b"null"]),
)


def described(lines: list[bytes], way: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, list[bytes]]:
    """(everything in the deltas, dead letters), by model; batches of 7 so that keys are learned on the way."""
    if way == "generic":
        monkeypatch.setattr(tape.Reel, "learn", lambda self, events: None)
    stage = Describe(quick_settings(segments=[["country"], ["vip", "amount"]]), Layout(1, 1, 1), Knowledge())
    stage.assign({(role, 0): Position(0, "") for role in ("predictions", "labels", "feedback")}, {})
    for at in range(0, len(lines), 7):
        stage.step("predictions", [Line(line, at + i, T0 + 10_000) for i, line in enumerate(lines[at : at + 7])])
    outputs = stage.flush({}).outputs
    return facts(outputs), [output.value for output in outputs if output.role == "dead-letters"]


def facts(outputs: list[Any]) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for output in outputs:
        record = read(output.value) if output.role == "profiles" else None
        for delta in record.deltas if isinstance(record, DeltaRecord) else ():
            cells = list(zip(delta.version, delta.segment, delta.pane.tolist(), strict=True))
            for cell, counts in zip(cells, delta.counts.tolist(), strict=True):
                found[delta.model, cell] = counts
            rows = delta.numeric
            for r, (cell, name) in enumerate(zip(rows.cell.tolist(), rows.name.tolist(), strict=True)):
                span = slice(int(rows.value_ptr[r]), int(rows.value_ptr[r + 1]))
                moments = [float(c[r]) for c in (rows.n, rows.mean, rows.m2, rows.low, rows.high)]
                found[delta.model, cells[cell], rows.names[name]] = moments, sorted(rows.values[span].tolist())
            kinds = delta.categorical
            for r, (cell, name) in enumerate(zip(kinds.cell.tolist(), kinds.name.tolist(), strict=True)):
                span = slice(int(kinds.ptr[r]), int(kinds.ptr[r + 1]))
                pairs = zip(kinds.code[span].tolist(), kinds.count[span].tolist(), strict=True)
                counted = {kinds.categories[code]: n for code, n in pairs}
                found[delta.model, cells[cell], kinds.names[name], "c"] = int(kinds.n[r]), counted
    return found


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(raw, max_size=60))
def test_scanned_and_generic_events_are_described_alike(lines: list[bytes]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        fast = described(lines, "scanned", patch)
        slow = described(lines, "generic", patch)
    assert fast == slow
