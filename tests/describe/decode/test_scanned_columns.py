"""The typed decode is only a cache: whatever comes, its deltas equal those of the generic way."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.baselines.sampled_rows import merge
from stream_monitor.describe.decode import scanned_columns as tape
from stream_monitor.describe.decode import symbol_tables as scan_tables
from stream_monitor.describe.stage import Describe
from stream_monitor.events.contracts import Prediction
from stream_monitor.events.privacy import Privacy
from stream_monitor.file_replay import Line
from stream_monitor.kernels import json_scanner as scan
from stream_monitor.profiles.bin_catalog import BinCatalog
from stream_monitor.profiles.records import DeltaRecord, read_record
from stream_monitor.stages.contract import Position
from stream_monitor.stages.topology import Topology
from tests.describe.aggregate.test_row_sampling import samples_of, told
from tests.effort import examples
from tests.streams import T0, quick_settings

values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**25), 10**25),
    st.floats(),
    st.sampled_from(["", "a", "b", "é\n", "x" * 300, "NaN"]),
    st.lists(st.one_of(st.integers(), st.floats()), max_size=2),
    st.just({"nested": 1}),
    st.just(-0.0),
)

steady = {"amount": st.floats(-5, 5), "country": st.sampled_from(["DE", "FR"]), "vip": st.booleans()}
odd = st.dictionaries(st.sampled_from(["amount", "country", "score", "x)"]), values, max_size=3)
features = st.one_of(st.fixed_dictionaries(steady), st.fixed_dictionaries(steady), odd)
NAN, INFINITY = float("nan"), float("inf")
tags = st.sampled_from(["IT", "5", 5, 5.0, -3, 0.5, True, None, NAN, 2**53, 2**53 + 1, 2.0**53, 10**25, 1e25, -0.0])
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
        "probabilities": st.one_of(
            st.floats(0, 1),
            st.sampled_from([[0.2, 0.8], {"true": 0.7}, None, [NAN, 0.3], {"true": NAN, "x": 0.1}, -INFINITY]),
        ),
        "latency_ms": st.one_of(st.floats(0, 9), st.sampled_from([None, NAN, INFINITY])),
        "human_prediction": st.one_of(st.booleans(), st.none()),
        "tags": st.dictionaries(st.sampled_from(["country", "vip"]), tags, max_size=2),
        "unknown": st.just(1),
    },
)
raw = st.one_of(
    *[events.map(lambda event: json.dumps(event).encode())] * 8,
    st.sampled_from([b"", b" ", b"{", b"[1]\n[2]", b'{"id":"a","ts":1}', b"\xff", b"null"]),
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good event, other white space or not, some bytes of it lost, doubled, cut off or replaced."""
    event = draw(events)
    separators = draw(st.sampled_from([(", ", ": "), (",", ":"), (" ,\n", "\t:\r")]))
    line = bytearray(json.dumps(event, separators=separators, ensure_ascii=draw(st.booleans())).encode())
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(line) - 1))
        way = draw(st.sampled_from(["lose", "double", "cut", "replace", "insert"]))
        piece = draw(st.sampled_from([b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"0", b"-", b".", b"e", b" ",
                                      b"\xff", b"\xc3\xa9", b"\xed\xa0\x80", b"\n", b"\0", b"null",
                                      b"1e400", b"NaN", b"-Infinity", b"nan"]))  # fmt: skip
        span = {"lose": (at, at + 1, b""), "double": (at, at, bytes(line[at : at + 5])), "cut": (at, None, b""),
                "replace": (at, at + 1, piece), "insert": (at, at, piece)}[way]  # fmt: skip
        line[span[0] : span[1]] = span[2]
        if not line:
            break
    return bytes(line)


PRIVATE = {"hash": ["amount", "country", "vip"], "drop": ["score"], "key": "0123456789abcdef"}


def described(
    lines: list[bytes], way: str, monkeypatch: pytest.MonkeyPatch, **sections: Any
) -> tuple[Any, list[bytes]]:
    """(everything in the deltas, dead letters), by model; batches of 7 so that keys are learned on the way."""
    if way == "generic":
        monkeypatch.setattr(tape.PredictionScanner, "learn", lambda self, events: None)
    sections = {"embeddings": {"x)": 2}, **sections}
    rules = quick_settings(segments=[["country"], ["vip", "amount"]], sample={"rows": 4}, **sections)
    stage = Describe(rules, Topology(1, 1, 1), BinCatalog())
    stage.assign({(role, 0): Position(0, "") for role in ("predictions", "labels", "feedback")}, {})
    for at in range(0, len(lines), 7):
        stage.process("predictions", [Line(line, at + i, T0 + 10_000) for i, line in enumerate(lines[at : at + 7])])
    outputs = list(stage.flush({}))
    return facts(outputs), [output.value for output in outputs if output.role == "dead-letters"]


def facts(outputs: list[Any]) -> dict[Any, Any]:
    """What deltas say together; moments to nine digits, for they are summed in the order in which columns were made."""
    counts: dict[Any, Any] = defaultdict(lambda: np.zeros(3, np.int64))
    moments: dict[Any, list[tuple[float, ...]]] = defaultdict(list)
    values: dict[Any, list[float]] = defaultdict(list)
    categories: dict[Any, Counter[str]] = defaultdict(Counter)
    for output in outputs:
        record = read_record(output.value) if output.role == "profiles" else None
        for delta in record.deltas if isinstance(record, DeltaRecord) else ():
            cells = list(zip(delta.version, delta.segment, delta.pane.tolist(), strict=True))
            for cell, count in zip(cells, delta.counts, strict=True):
                counts[delta.model, cell] += count
            rows = delta.numeric
            for r, (cell, name) in enumerate(zip(rows.cell.tolist(), rows.name.tolist(), strict=True)):
                key = delta.model, cells[cell], rows.names[name]
                moments[key].append(tuple(float(c[r]) for c in (rows.n, rows.mean, rows.m2, rows.low, rows.high)))
                values[key] += rows.values[int(rows.value_ptr[r]) : int(rows.value_ptr[r + 1])].tolist()
            kinds = delta.categorical
            for r, (cell, name) in enumerate(zip(kinds.cell.tolist(), kinds.name.tolist(), strict=True)):
                span = slice(int(kinds.ptr[r]), int(kinds.ptr[r + 1]))
                assert kinds.n[r] == kinds.count[span].sum()
                for code, n in zip(kinds.code[span].tolist(), kinds.count[span].tolist(), strict=True):
                    categories[delta.model, cells[cell], kinds.names[name]][kinds.categories[code]] += n
    return {
        "counts": {key: count.tolist() for key, count in counts.items()},
        "moments": {key: Moments.of(parts) for key, parts in moments.items()},
        "values": {key: sorted(each) for key, each in values.items()},
        "categories": dict(categories),
        "samples": {cell: repr(told(merge(parts, 4))) for cell, parts in samples_of(outputs).items()},
    }


@dataclass
class Moments:
    """Those of several parts together; equal to nine digits of the largest value, for sums depend on their order."""

    n: float
    mean: float
    m2: float
    low: float
    high: float

    @classmethod
    def of(cls, parts: list[tuple[float, ...]]) -> Moments:
        n, means, squares, low, high = np.array(parts).T
        mean = float((n / n.sum() * means).sum())
        with np.errstate(over="ignore"):
            return cls(n.sum(), mean, squares.sum() + (n * (means - mean) ** 2).sum(), low.min(), high.max())

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, Moments)
        scale = max(abs(self.low), abs(self.high))
        squares = scale > 1e150 or self.m2 == pytest.approx(other.m2, rel=1e-9, abs=1e-9 * scale * scale)
        exact = (self.n, self.low, self.high) == (other.n, other.low, other.high)
        return exact and squares and self.mean == pytest.approx(other.mean, rel=1e-9, abs=1e-9 * scale)


@examples(50)
@given(st.lists(raw, max_size=60))
def test_scanned_and_generic_events_are_described_alike(lines: list[bytes]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        fast = described(lines, "scanned", patch)
        slow = described(lines, "generic", patch)
    assert fast == slow


def test_both_zeros_are_one_segment() -> None:
    """A table of values takes them for one, and texts are two."""
    body = b'{"id":"e%d","ts":%d,"model":"m","features":{"amount":%s,"country":"DE","vip":false},"prediction":1}'
    lines = [body % (i, T0 + i, zero) for i, zero in enumerate([b"-0.0", b"0.0", b"0.0", b"-0.0"] * 5)]
    with pytest.MonkeyPatch.context() as patch:
        fast = described(lines, "scanned", patch)
        slow = described(lines, "generic", patch)
    assert fast == slow
    segments = {segment for _, (_, segment, _) in fast[0]["counts"]}
    assert segments == {"all", "country=DE", "vip=false,amount=0"}


@examples(100)
@given(st.lists(st.one_of(damaged(), damaged(), raw), min_size=10, max_size=60))
def test_damaged_events_are_described_alike(lines: list[bytes]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        fast = described(lines, "scanned", patch)
        slow = described(lines, "generic", patch)
    assert fast == slow


@examples(50)
@given(st.lists(st.one_of(raw, raw, damaged()), max_size=60))
def test_private_fields_are_described_alike(lines: list[bytes]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        fast = described(lines, "scanned", patch, privacy=PRIVATE)
        slow = described(lines, "generic", patch, privacy=PRIVATE)
    assert fast == slow
    measures = {key[2] for kind in ("moments", "categories") for key in fast[0][kind]}
    assert not measures & {"feature.score", "length(feature.score)", "length(country)", "length(amount)"}


def scanned(scanner: tape.PredictionScanner, lines: list[bytes]) -> list[bool]:
    ends = np.cumsum([0, *map(len, lines)])
    upto, rows = scanner.scan(np.frombuffer(b"".join(lines) + bytes(scan.PADDING), np.uint8), ends, 0)
    assert upto == len(lines)
    return [bool(fast) for fast in rows.fast]


def test_steady_events_are_scanned_and_odd_ones_are_not() -> None:
    scanner = tape.PredictionScanner((), Privacy())
    event: dict[str, Any] = {"id": "a", "ts": T0, "model": "m", "version": "é", "features": {"x": 1.5, "c": "München"}}
    event |= {"prediction": True, "probabilities": [0.1, 0.9], "latency_ms": 3, "tags": {"t": "u"}}
    good = json.dumps(event, ensure_ascii=False).encode()
    assert scanned(scanner, [good]) == [False]
    scanner.learn([msgspec.json.decode(good, type=Prediction)])
    odd = [good[:-1], good + b"}", good.replace(b"1.5", b"01.5"), good.replace(b"1.5", b"9007199254740993"), b""]
    twice = good.replace(b'"x": 1.5', b'"x": 1.5, "x": 2')
    assert scanned(scanner, [good, *odd, twice, good]) == [True, *[False] * 6, True]


def test_numbers_are_read_to_the_nearest_double() -> None:
    rng = random.Random(1)
    texts = [repr(rng.gauss(0, 10.0 ** rng.randrange(-30, 30))) for _ in range(20_000)]
    texts += [f"{rng.getrandbits(62)}e{rng.randrange(-60, 60)}" for _ in range(20_000)]
    texts += [f"{(2 * (rng.getrandbits(52) | 1 << 52) + 1) << rng.randrange(0, 9)}.0" for _ in range(20_000)]
    texts += ["0", "-0.0", "1e22", "1e23", "9007199254740992", "9007199254740993.0", "123456789012345678.9e-5"]
    read = 0
    for text in texts:
        raw = text.encode()
        at, value, _ = scan.read_number(np.frombuffer(raw + b"," + bytes(scan.PADDING), np.uint8), 0, len(raw))
        if at >= 0:
            read += 1
            assert at == len(raw) and (value, str(value)) == (float(text), str(float(text)))
    assert read > 0.9 * len(texts)


def test_more_texts_than_there_is_room_for_are_described_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_tables, "MAX_STRINGS", 64)
    lines = [
        json.dumps({"id": f"{i}", "ts": T0 + i, "features": {"c": f"word{i % 150}", "d": f"{i % 7}"}}).encode()
        for i in range(1_000)
    ]
    with pytest.MonkeyPatch.context() as patch:
        fast = described(lines, "scanned", patch)
        slow = described(lines, "generic", patch)
    assert fast == slow
