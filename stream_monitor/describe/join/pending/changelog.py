"""The change log of the pending rows: each record holds changes since the last commit, with its own dictionary.

A record holds new rows (all columns but the index's), the changed columns of older rows, and the sequence number of the
oldest pending row. A restore reads the records from the one with that row on; the first sequence number of each record
shows which one that is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from stream_monitor.describe.join.pending.label_effects import CHANGING
from stream_monitor.describe.join.pending.ring_buffer import CATEGORICAL, COLUMNS, HAS_LABEL, Ring
from stream_monitor.describe.join.pending.rows import ALONE, LABEL, MAX_SIGNALS, PREDICTION, SIGNAL, CodeBook
from stream_monitor.errors import FormatError
from stream_monitor.types import I64, Bool
from stream_monitor.wire.msgpack_arrays import pack, unpack

FORMAT = 3
FORMER_FORMAT = 2
"""The oldest format that can be read; its rows have no fingerprints."""
MAX_BYTES = 400_000

STORED = [name for name in COLUMNS if name != "distance"]
_ROW_BYTES = sum(np.dtype(COLUMNS[name]).itemsize for name in STORED)

Columns = dict[str, npt.NDArray[Any]]
_Span = tuple[int, int]
Recode = Callable[[str, npt.NDArray[Any]], npt.NDArray[Any]]
"""From (table, codes) to the other codes of the same names."""


class Payload(msgspec.Struct):
    """A record of the `pending` topic.

    It has `count` rows from sequence number `first` on, and the `updates` of the rows `updated`. `tail` is the oldest
    pending row. `names` holds each table's names; codes in the columns are indices into these lists.
    """

    v: int
    first: int
    count: int
    tail: int
    rows: dict[str, np.ndarray]
    updated: np.ndarray
    updates: dict[str, np.ndarray]
    names: dict[str, list[Any]]


class _Head(msgspec.Struct):
    first: int


def first_of(payload: bytes) -> int:
    """Sequence number of the first row of a record."""
    return unpack(payload, _Head).first


class _Shortener:
    """Turns codes into indices of the dictionary of one record."""

    def __init__(self, codes: CodeBook) -> None:
        self._codes = codes
        self.names: dict[str, list[Any]] = {}
        self._places: dict[str, dict[int, int]] = {}

    def __call__(self, table: str, codes: npt.NDArray[Any]) -> npt.NDArray[Any]:
        distinct = np.flatnonzero(np.bincount(codes))
        places = self._places.setdefault(table, {})
        new = [code for code in distinct.tolist() if code not in places]
        if new:
            places.update(zip(new, range(len(places), len(places) + len(new)), strict=True))
            self.names.setdefault(table, []).extend(self._codes.export(table, new))
        place = np.zeros(int(distinct[-1]) + 1, np.int64)
        place[distinct] = [places[code] for code in distinct.tolist()]
        return place[codes]


# --- writing ---


def export(ring: Ring, start: int, updated: I64, codes: CodeBook, max_bytes: int) -> list[bytes]:
    """Records of the rows from `start` on and of older rows that changed; at least one, for the tail."""
    start, updated = max(start, ring.tail), updated[updated >= ring.tail]
    step = max(1, max_bytes * 9 // (10 * _ROW_BYTES))  # the rest is for the dictionary, which rarely needs more
    payloads: list[bytes] = []
    for offset in range(0, max(ring.head - start, len(updated), 1), step):
        first = min(start + offset, ring.head)
        stop = min(start + offset + step, ring.head)
        payloads += _export_part(ring, (first, stop), updated[offset : offset + step], codes, max_bytes)
    return payloads


def _export_part(ring: Ring, rows: _Span, updated: I64, codes: CodeBook, max_bytes: int) -> list[bytes]:
    """One record, or halves until each is small enough; the size of the dictionary is known only after packing."""
    (first, stop), half = rows, len(updated) // 2
    payload = pack(_payload(ring, rows, updated, codes))
    if len(payload) <= max_bytes or (stop - first <= 1 and len(updated) <= 1):
        return [payload]
    middle = (first + stop + 1) // 2
    return [
        *_export_part(ring, (first, middle), updated[:half], codes, max_bytes),
        *_export_part(ring, (middle, stop), updated[half:], codes, max_bytes),
    ]


def _payload(ring: Ring, rows: _Span, updated: I64, codes: CodeBook) -> Payload:
    shorten = _Shortener(codes)
    columns = translate({name: ring.columns[name].span(*rows) for name in STORED}, shorten)
    older = {name: ring.take(name, updated) for name in ("kind", *CHANGING)}
    updates = translate(older, shorten)
    del updates["kind"]
    return Payload(FORMAT, rows[0], rows[1] - rows[0], ring.tail, columns, updated, updates, shorten.names)


# --- reading ---


def load(ring: Ring, data: bytes, codes: CodeBook) -> int:
    """Append a record's rows to the ring and apply its updates; return the sequence number of the first new row."""
    payload = unpack(data, Payload)
    if not FORMER_FORMAT <= payload.v <= FORMAT:
        raise FormatError(f"a pending record has format {payload.v}, this version reads {FORMAT}: upgrade")
    if payload.v == FORMER_FORMAT:
        _add_fingerprints(payload)
    known = {table: codes.import_(table, names) for table, names in payload.names.items()}

    def lengthen(table: str, places: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return known[table][places]

    if payload.first > ring.head:  # the rows between were dropped before a record had them
        ring.skip_to(payload.first)
    first = ring.head
    ring.append(payload.count, translate(payload.rows, lengthen))
    present = (payload.updated >= ring.tail) & (payload.updated < ring.head)
    updates = {"kind": np.full(len(payload.updated), PREDICTION, np.uint8), **payload.updates}
    for name, values in translate(updates, lengthen).items():
        if name != "kind":
            ring.columns[name].put(payload.updated[present], values[present])
    ring.tail = max(ring.tail, min(payload.tail, ring.head))
    return first


def _add_fingerprints(payload: Payload) -> None:
    """Give a record of the former format the column that it lacks: nothing is known of first labels, so of no pair."""
    none = (payload.rows["kind"] == LABEL) | ((payload.rows["flags"] & HAS_LABEL) != 0)
    payload.rows["fingerprint"] = np.where(none, np.uint32(ALONE), np.uint32(0))
    labelled = (payload.updates["flags"] & HAS_LABEL) != 0
    payload.updates["fingerprint"] = np.where(labelled, np.uint32(ALONE), np.uint32(0))


# --- codes ---


def translate(columns: Columns, recode: Recode) -> Columns:
    """The columns with every code replaced; `kind` and `flags` determine which numbers are codes."""
    kind, flags = columns["kind"], columns["flags"]
    prediction, category = kind == PREDICTION, (flags & CATEGORICAL) != 0
    result = dict(columns)

    def put(name: str, chosen: Bool, table: str, offset: int = 0) -> None:
        rows = np.flatnonzero(chosen)
        if len(rows):
            changed = result[name].copy()
            changed[rows] = recode(table, changed[rows].astype(np.int64) - offset) + offset
            result[name] = changed

    if "key" in columns:
        put("key", prediction, "key")
        put("key", ~prediction & (columns["key"] > 0), "model", 1)
        put("answer", prediction, "answer")
        put("answer", kind == SIGNAL, "signal")
        put("value", (kind == LABEL) & category, "category")
    put("label", prediction & category & ((flags & HAS_LABEL) != 0), "category")
    put("labeler", columns["labeler"] > 0, "labeler", 1)
    result["bits"] = _translate_bits(columns["bits"], recode)
    return result


def _translate_bits(bits: npt.NDArray[Any], recode: Recode) -> npt.NDArray[Any]:
    result = np.zeros_like(bits)
    used = int(np.bitwise_or.reduce(bits)) if len(bits) else 0
    for code in range(MAX_SIGNALS):
        if used >> code & 1:
            other = int(recode("signal", np.array([code]))[0])
            result |= (bits >> np.uint16(code) & np.uint16(1)) << np.uint16(other)
    return result


def digest(ring: Ring, codes: CodeBook) -> str:
    """A hash of the pending rows with their sequence numbers; it sorts names, so that codes do not affect it."""
    shorten = _Shortener(codes)
    columns = translate({name: ring.columns[name].span(ring.tail, ring.head) for name in STORED}, shorten)
    encoded = {table: [pack(name) for name in names] for table, names in shorten.names.items()}
    ranks = {table: np.argsort(np.argsort(np.array(names, object))) for table, names in encoded.items()}
    columns = translate(columns, lambda table, places: ranks[table][places])
    names = sorted((table, sorted(names)) for table, names in encoded.items())
    result = hashlib.sha256(pack([ring.tail, ring.head, names]))
    for name in STORED:
        result.update(np.ascontiguousarray(columns[name]).tobytes())
    return result.hexdigest()
