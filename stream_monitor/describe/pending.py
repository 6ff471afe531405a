"""Pending predictions: what waits for its label or feedback, of one partition number, in columns.

Rows lie in order of arrival and are found through an index from id hash to the chain of an id's rows, newest first.
Predictions, labels and signals wait in the same columns, because each may come first: a label may precede its
prediction, and in shadow mode a second version answers the same id later. The rules are in `design` terms:

- the first prediction of a key counts; a later one is a duplicate iff an accepted one has ts >= the input watermark
  just before it - horizon;
- an item joins a prediction iff -early <= item ts - prediction ts <= horizon;
- a second label of the same (or no) labeler is a correction, of another one a disagreement; a signal counts once.

So the outcome does not depend on how the three topics were interleaved. 68 bytes a row and about 27 of index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from stream_monitor.describe.id_index import EMPTY, U64, IdIndex
from stream_monitor.types import F64, I64, Bool

PREDICTION, LABEL, SIGNAL = 0, 1, 2
FIRST, CORRECTION, REPEAT, DISAGREEMENT, AGREEMENT, SIGNALLED = range(6)
HAS_LABEL, CATEGORICAL = 1, 2
CHAIN_CAP = 64
"""Rows of one id that are searched, newest first, and labels or signals of one id that a commit takes; what is above
is counted as overflow."""

MAX_SIGNALS = 32
"""Signal names that an app counts once a prediction; a worker joins no more than this many."""

COLUMNS: dict[str, npt.DTypeLike] = {
    "hash": np.uint64, "check": np.uint64, "ts": np.int64, "kind": np.uint8, "key": np.int32, "answer": np.int32,
    "value": np.float64, "score": np.float32, "label": np.float64, "labeler": np.int32, "bits": np.uint32,
    "flags": np.uint8, "next": np.int64,
}  # fmt: skip
SETTLED = ("label", "labeler", "bits", "flags")
"""Columns of a prediction that change after it was inserted."""


@dataclass(slots=True)
class Rows:
    """n records of one kind in log order; `key` is a key code (predictions) or a model code + 1, 0 for any (items)."""

    kind: int
    hash: U64
    check: U64
    ts: I64
    key: I64
    value: F64
    answer: I64
    score: F64
    labeler: I64
    flags: I64

    @classmethod
    def make(cls, kind: int, ids: U64, ts: I64, key: I64, value: F64, **others: Any) -> Rows:
        """Rows with defaults for what a kind does not have; `ids` is (n, 2)."""
        n = len(ts)
        zeros = np.zeros(n, np.int64)
        defaults = {"answer": zeros, "score": np.full(n, np.nan), "labeler": zeros, "flags": zeros}
        return cls(kind, ids[:, 0].copy(), ids[:, 1].copy(), ts, key, value, **(defaults | others))

    def take(self, at: I64) -> Rows:
        """Some of the rows."""
        names = ("hash", "check", "ts", "key", "value", "answer", "score", "labeler", "flags")
        return Rows(self.kind, *(getattr(self, name)[at] for name in names))


@dataclass(slots=True)
class Joined:
    """One entry an event: which prediction met which item, and with what result."""

    event: I64
    ts: I64
    key: I64
    answer: I64
    value: F64
    score: F64
    old: F64
    old_flags: I64
    label: F64
    flags: I64
    item_ts: I64
    signal: I64

    @classmethod
    def gather(cls, parts: list[Joined]) -> Joined:
        """Several results as one."""
        if len(parts) == 1:
            return parts[0]
        empty = {
            name: np.empty(0, np.float64 if name in ("value", "score", "old", "label") else np.int64)
            for name in cls.__slots__
        }
        return cls(
            **{name: np.concatenate([empty[name], *(getattr(p, name) for p in parts)]) for name in cls.__slots__}
        )


class Pending:
    """The rows of one partition number."""

    def __init__(self, horizon_ms: int, early_ms: int, model_of_key: Callable[[I64], I64]) -> None:
        self.horizon, self.early, self._model_of_key = horizon_ms, early_ms, model_of_key
        self.columns: dict[str, npt.NDArray[Any]] = {name: np.empty(1024, dtype) for name, dtype in COLUMNS.items()}
        self.base = 0
        """Sequence number of the first place of the columns."""
        self.tail = 0
        self.head = 0
        self.overflow = 0
        self.index = IdIndex()
        self._settled_head = 0
        self._updated: list[I64] = []

    def __len__(self) -> int:
        return self.head - self.tail

    def column(self, name: str, rows: I64) -> npt.NDArray[Any]:
        """A column at rows given by sequence number."""
        return self.columns[name][rows - self.base]

    # --- taking in ---

    def add_predictions(self, rows: Rows, watermark_before: I64) -> tuple[Bool, Joined]:
        """Insert predictions; which are duplicates, and what their waiting items say."""
        duplicate = np.zeros(len(rows.ts), np.bool_)
        parts: list[Joined] = []
        waiting = np.arange(len(rows.ts))
        while len(waiting):
            some = rows.take(waiting)
            op, row, long = self._chains(some)
            same = (self.column("kind", row) == PREDICTION) & (self.column("key", row) == some.key[op])
            same &= self.column("ts", row) >= watermark_before[waiting][op] - self.horizon
            again = np.zeros(len(waiting), np.bool_)
            again[op[same]] = True
            duplicate[waiting[again]] = True
            self.overflow += int((long & ~again).sum())
            # Of what is new, the first of each id; the rest is held against it in the next round, all at once.
            fresh = np.flatnonzero(~again & ~long)
            first = np.zeros(len(waiting), np.bool_)
            first[fresh[np.unique(some.hash[fresh], return_index=True)[1]]] = True
            seq = self._append(some, first)
            items = first[op] & (self.column("kind", row) != PREDICTION)
            parts.append(self._apply(seq[op[items]], row[items]))
            waiting = waiting[~again & ~long & ~first]
        return duplicate, Joined.gather(parts)

    def add_items(self, rows: Rows) -> Joined:
        """Insert labels or signals and apply them to the predictions of their ids."""
        parts: list[Joined] = []
        taken = 0
        for at in islice(_rounds(rows.hash), CHAIN_CAP):
            taken += len(at)
            some = rows.take(at)
            op, row, long = self._chains(some)
            seq = self._append(some, np.ones(len(at), np.bool_))
            found = self.column("kind", row) == PREDICTION
            parts.append(self._apply(row[found], seq[op[found]]))
            self.overflow += int(long.sum())
        self.overflow += len(rows.ts) - taken
        return Joined.gather(parts)

    def _chains(self, rows: Rows) -> tuple[I64, I64, Bool]:
        """(which of `rows`, row found) for every row of the same id; and which ids have too many rows."""
        cursor = self.index.find(rows.hash)
        ops, found = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        live = np.flatnonzero(cursor >= self.tail)
        for _ in range(CHAIN_CAP):
            if not len(live):
                break
            row = cursor[live]
            same = self.column("check", row) == rows.check[live]
            ops.append(live[same])
            found.append(row[same])
            cursor[live] = self.column("next", row)
            live = live[cursor[live] >= self.tail]
        long = np.zeros(len(rows.ts), np.bool_)
        long[live] = True
        return np.concatenate(ops), np.concatenate(found), long

    def _append(self, rows: Rows, chosen: Bool) -> I64:
        """Insert the chosen rows (ids distinct); their sequence numbers, EMPTY for the others."""
        count = int(chosen.sum())
        self._make_room(count)
        seq = np.full(len(chosen), EMPTY, np.int64)
        seq[chosen] = np.arange(self.head, self.head + count)
        place = slice(self.head - self.base, self.head - self.base + count)
        hashes = rows.hash[chosen]
        before = self.index.find(hashes)
        for name in ("hash", "check", "ts", "key", "value", "answer", "score", "labeler", "flags"):
            self.columns[name][place] = getattr(rows, name)[chosen]
        self.columns["kind"][place] = rows.kind
        self.columns["label"][place] = np.nan
        self.columns["bits"][place] = 0
        self.columns["next"][place] = np.where(before >= self.tail, before, EMPTY)
        self.index.put(hashes, seq[chosen])
        self.head += count
        return seq

    def _make_room(self, count: int) -> None:
        used, capacity = self.head - self.base, len(self.columns["ts"])
        if used + count > capacity:
            keep = slice(self.tail - self.base, used)
            size = max(2 * (self.head - self.tail), self.head - self.tail + count, 1024)
            for name, column in self.columns.items():
                grown = np.empty(size, column.dtype)
                grown[: self.head - self.tail] = column[keep]
                self.columns[name] = grown
            self.base = self.tail
        if self.index.full(count):
            self._rebuild(count)

    def _rebuild(self, room: int = 0) -> None:
        live = np.arange(self.tail, self.head)
        hashes = self.column("hash", live)
        distinct, first = np.unique(hashes[::-1], return_index=True)
        self.index.rebuild(distinct, self.head - 1 - first, room)

    # --- joining ---

    def _apply(self, prediction: I64, item: I64) -> Joined:
        """Apply items to predictions, both by row; items of one prediction in log order."""
        gap = self.column("ts", item) - self.column("ts", prediction)
        wanted = self.column("key", item).astype(np.int64)
        keep = (gap >= -self.early) & (gap <= self.horizon)
        restricted = np.flatnonzero(keep & (wanted > 0))
        if len(restricted):
            model = self._model_of_key(self.column("key", prediction[restricted]).astype(np.int64))
            keep[restricted] = model == wanted[restricted] - 1
        prediction, item = prediction[keep], item[keep]
        order = np.lexsort((item, prediction))
        prediction, item = prediction[order], item[order]
        return Joined.gather([self._apply_once(prediction[at], item[at]) for at in _rounds(prediction)])

    def _apply_once(self, row: I64, item: I64) -> Joined:
        """Apply one item to each of distinct predictions."""
        self._updated.append(row[row < self._settled_head])
        old, old_flags = self.column("label", row).copy(), self.column("flags", row).astype(np.int64)
        label, flags = self.column("value", item), self.column("flags", item).astype(np.int64)
        labeler, known = self.column("labeler", item), self.column("labeler", row)
        signal = np.where(self.column("kind", item) == SIGNAL, self.column("answer", item), -1).astype(np.int64)
        event = np.full(len(row), FIRST)
        labelled = (old_flags & HAS_LABEL) > 0
        equal = (old == label) & ((old_flags & CATEGORICAL) == (flags & CATEGORICAL))
        same = (labeler == 0) | (known == 0) | (labeler == known)
        again = np.where(same, np.where(equal, REPEAT, CORRECTION), np.where(equal, AGREEMENT, DISAGREEMENT))
        event[labelled] = again[labelled]
        is_signal = signal >= 0
        event[is_signal] = SIGNALLED
        self._set_labels(row, item, (event == FIRST) | (event == CORRECTION))
        news = ~is_signal | self._set_bits(row, signal, is_signal)
        return Joined(
            event=event[news],
            ts=self.column("ts", row)[news],
            key=self.column("key", row).astype(np.int64)[news],
            answer=self.column("answer", row).astype(np.int64)[news],
            value=self.column("value", row)[news],
            score=self.column("score", row).astype(np.float64)[news],
            old=old[news],
            old_flags=old_flags[news],
            label=label[news],
            flags=flags[news],
            item_ts=self.column("ts", item)[news],
            signal=signal[news],
        )

    def _set_labels(self, row: I64, item: I64, chosen: Bool) -> None:
        at, of = row[chosen] - self.base, item[chosen]
        self.columns["label"][at] = self.column("value", of)
        self.columns["labeler"][at] = self.column("labeler", of)
        self.columns["flags"][at] = HAS_LABEL | (self.column("flags", of) & CATEGORICAL)

    def _set_bits(self, row: I64, signal: I64, chosen: Bool) -> Bool:
        """Which of these signals are the first of their prediction."""
        known = chosen & (signal < MAX_SIGNALS)
        bit = np.where(known, np.uint32(1) << np.where(known, signal, 0).astype(np.uint32), 0).astype(np.uint32)
        had = self.column("bits", row)
        self.columns["bits"][row - self.base] = had | bit
        return np.asarray((had & bit) == 0)

    # --- commits ---

    def changed(self) -> tuple[I64, I64]:
        """Rows inserted, and older rows changed, since the last settled commit."""
        updated = np.unique(np.concatenate([np.empty(0, np.int64), *self._updated]))
        return np.arange(self._settled_head, self.head), updated[updated >= self.tail]

    def settle(self) -> None:
        """The commit stands."""
        self._settled_head = self.head
        self._updated.clear()

    def sweep(self, input_watermark: int, label_watermark: int) -> int:
        """Let go of settled rows, oldest first, that nothing can join any more; returns how many went unlabelled."""
        end = self._settled_head
        before = self.tail
        while self.tail < end:
            rows = np.arange(self.tail, min(self.tail + 65_536, end))
            ts, kind = self.column("ts", rows), self.column("kind", rows)
            gone = np.where(
                kind == PREDICTION,
                min(input_watermark, label_watermark) > ts + self.horizon,
                input_watermark > ts + self.early,
            )
            stay = np.flatnonzero(~gone)
            self.tail += int(stay[0]) if len(stay) else len(rows)
            if len(stay):
                break
        return self._unlabelled(before)

    def evict(self, count: int) -> int:
        """Drop the oldest settled rows whatever they are; returns how many predictions of them had no label."""
        before = self.tail
        self.tail = min(self.tail + count, self._settled_head)
        return self._unlabelled(before)

    def _unlabelled(self, before: int) -> int:
        rows = np.arange(before, self.tail)
        return int(((self.column("kind", rows) == PREDICTION) & ((self.column("flags", rows) & HAS_LABEL) == 0)).sum())

    # --- restoring ---

    def append_raw(self, first: int, columns: dict[str, npt.NDArray[Any]]) -> None:
        """Rows from a change log, in log order."""
        if not len(self):
            self.base = self.tail = self.head = first
        count = len(columns["ts"])
        self._make_room(count)
        place = slice(self.head - self.base, self.head - self.base + count)
        for name, values in columns.items():
            self.columns[name][place] = values
        for at in _rounds(columns["hash"]):
            before = self.index.find(columns["hash"][at])
            self.columns["next"][at + self.head - self.base] = np.where(before >= self.tail, before, EMPTY)
            self.index.put(columns["hash"][at], at + self.head)
        self.head += count

    def update_raw(self, rows: I64, columns: dict[str, npt.NDArray[Any]]) -> None:
        """Changes of older rows from a change log; rows that are gone are passed over."""
        there = rows >= self.tail
        for name, values in columns.items():
            self.columns[name][rows[there] - self.base] = values[there]


def _rounds(ids: npt.NDArray[Any]) -> Iterator[I64]:
    """Positions in rounds: in each every id occurs once, and an id's positions come in their order."""
    order = np.argsort(ids, kind="stable")
    ordered = ids[order]
    new = np.ones(len(ids), np.bool_)
    new[1:] = ordered[1:] != ordered[:-1]
    if new.all():
        yield np.arange(len(ids))
        return
    starts = np.flatnonzero(new)
    rank = np.arange(len(ids)) - np.repeat(starts, np.diff(np.append(starts, len(ids))))
    by_rank = np.argsort(rank, kind="stable")
    ends = np.cumsum(np.bincount(rank))
    for first, last in zip([0, *ends[:-1]], ends, strict=True):
        yield np.sort(order[by_rank[first:last]])
