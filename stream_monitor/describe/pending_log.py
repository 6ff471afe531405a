"""The change log of the pending predictions: rows and updates of a commit, with a dictionary of their own codes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from stream_monitor.describe.codes import Answer, CodeBook, Codes, Key
from stream_monitor.describe.pending import (
    CATEGORICAL,
    COLUMNS,
    HAS_LABEL,
    LABEL,
    MAX_SIGNALS,
    PREDICTION,
    SETTLED,
    SIGNAL,
    Pending,
)
from stream_monitor.errors import FormatError
from stream_monitor.events.arrays import pack, unpack
from stream_monitor.types import I64

FORMAT = 1
ROWS_A_RECORD = 4_000
STORED = [name for name in COLUMNS if name != "next"]
"""`next` is found again when rows are put back."""

Columns = dict[str, npt.NDArray[Any]]


class Dictionary(msgspec.Struct):
    """The names behind the codes of one record."""

    keys: list[Key] = []
    models: list[str] = []
    answers: list[Answer] = []
    categories: list[str] = []
    labelers: list[str] = []
    signals: list[str] = []


class Change(msgspec.Struct):
    """A record of the `pending` topic: rows from sequence number `first` on, and updates of older rows."""

    first: int
    rows: dict[str, np.ndarray]
    updated: np.ndarray
    updates: dict[str, np.ndarray]
    names: Dictionary
    v: int = FORMAT


def changes(pending: Pending, book: CodeBook) -> Iterator[tuple[int, bytes]]:
    """(first sequence number, packed record) of everything since the last settled commit."""
    new, updated = pending.changed()
    for at in range(0, max(len(new), len(updated)), ROWS_A_RECORD):
        rows, older = new[at : at + ROWS_A_RECORD], updated[at : at + ROWS_A_RECORD]
        first = int(rows[0]) if len(rows) else pending.head
        yield first, pack(_record(pending, book, rows, older, first))


def _record(pending: Pending, book: CodeBook, rows: I64, older: I64, first: int) -> Change:
    local = {name: Codes() for name in Dictionary.__struct_fields__}

    def shorten(table: str, codes: I64) -> I64:
        values, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
        order = np.argsort(first)  # by first sight in the rows, so that equal rows make equal records
        names = getattr(book, table).values
        place = np.empty(len(values), np.int64)
        place[order] = local[table].array(names[code] for code in values[order].tolist())
        return place[inverse]

    columns = translate({name: pending.column(name, rows).copy() for name in STORED}, shorten)
    kinds = {"kind": pending.column("kind", older)}
    updates = translate(kinds | {name: pending.column(name, older).copy() for name in SETTLED}, shorten)
    return Change(first, columns, older, updates, Dictionary(**{name: codes.values for name, codes in local.items()}))


def restore(pending: Pending, book: CodeBook, log: Sequence[bytes]) -> list[int]:
    """Put the rows of change log records back, in log order; returns the first sequence number of each record."""
    firsts: list[int] = []
    for value in log:
        change = unpack(value, Change)
        if change.v != FORMAT:
            raise FormatError(f"a pending record has format {change.v}, this version reads {FORMAT}: upgrade first")
        names = change.names
        firsts.append(change.first)

        def lengthen(table: str, codes: I64, names: Dictionary = names) -> I64:
            return getattr(book, table).array(getattr(names, table))[codes]

        if len(change.rows["ts"]):
            pending.append_raw(change.first, translate({k: v.copy() for k, v in change.rows.items()}, lengthen))
        if len(change.updated):
            updates = translate({k: v.copy() for k, v in change.updates.items()}, lengthen)
            updates.pop("kind")
            pending.update_raw(change.updated, updates)
    pending.settle()
    return firsts


def translate(columns: Columns, codes: Callable[[str, I64], I64]) -> Columns:
    """Replace every code of these columns (copies, changed in place); `codes` maps the codes of one table."""
    kind, flags = columns["kind"], columns["flags"]
    prediction, label, signal = kind == PREDICTION, kind == LABEL, kind == SIGNAL

    def put(name: str, at: npt.NDArray[np.bool_], table: str, offset: int = 0) -> None:
        if at.any():
            columns[name][at] = codes(table, columns[name][at].astype(np.int64) - offset) + offset

    if "key" in columns:
        put("key", prediction, "keys")
        put("key", ~prediction & (columns["key"] > 0), "models", 1)
        put("answer", prediction, "answers")
        put("answer", signal, "signals")
        put("value", label & ((flags & CATEGORICAL) > 0), "categories")
    put("labeler", columns["labeler"] > 0, "labelers", 1)
    put("label", prediction & ((flags & HAS_LABEL) > 0) & ((flags & CATEGORICAL) > 0), "categories")
    columns["bits"] = _translate_bits(columns["bits"], codes)
    return columns


def _translate_bits(bits: npt.NDArray[Any], codes: Callable[[str, I64], I64]) -> npt.NDArray[Any]:
    result = np.zeros_like(bits)
    used = int(np.bitwise_or.reduce(bits)) if len(bits) else 0
    for code in range(used.bit_length()):
        if used >> code & 1:
            new = int(codes("signals", np.array([code]))[0])
            if new >= MAX_SIGNALS:  # this worker has met other names before; the signal may count again
                continue
            result |= np.where(bits >> np.uint32(code) & np.uint32(1), np.uint32(1 << new), np.uint32(0))
    return result


def digest(pending: Pending, book: CodeBook) -> str:
    """A hash of what lives, whatever the codes and the capacity; equal for a store and its restored copy."""
    rows = np.arange(pending.tail, pending.head)
    change = _record(pending, book, rows, rows[:0], pending.tail)
    return hashlib.sha256(pack(change)).hexdigest()
