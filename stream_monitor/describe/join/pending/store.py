"""Pending predictions: what waits for its label or feedback, of one partition number, in columns.

Predictions, labels and signals wait in the same ring, in log order, because each may come first: a label may
precede its prediction, and in shadow mode a second version answers the same id later. The rules:

- the first prediction of a key counts; a later one is a duplicate iff an accepted one has ts >= the input
  watermark just before it - horizon;
- an item joins a prediction iff -early <= item ts - prediction ts <= horizon, and its model, if named, fits;
- a second label of the same (or no) labeler is a correction, of another one a disagreement; the row has the
  label in force and the labeler that came with it; a signal counts once a prediction.

So the events and the rows do not depend on how the three topics were interleaved or split into batches, but
for two bounds: rows that a sweep dropped, and `chain_cap`. 60 bytes a row, up to a quarter more in reserve,
and 4 to 8 of index. One thread; only `restore` raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from stream_monitor.describe.join.pending import changelog as log
from stream_monitor.describe.join.pending.duplicates import Arrivals, Held, decide
from stream_monitor.describe.join.pending.hash_index import IdIndex
from stream_monitor.describe.join.pending.id_groups import Groups, group_ids
from stream_monitor.describe.join.pending.label_effects import Applier, Rules
from stream_monitor.describe.join.pending.ring_buffer import CATEGORICAL, Ring
from stream_monitor.describe.join.pending.rows import (
    LABEL,
    NO_SIGNAL,
    PREDICTION,
    SIGNAL,
    CodeBook,
    Items,
    Joined,
    LabelRows,
    PredictionRows,
    SignalRows,
)
from stream_monitor.errors import FormatError
from stream_monitor.types import I64, Bool

CHAIN_CAP = 64
"""Predictions, labels and signals that wait under one id, of each kind."""

_SHORTEST = np.iinfo(np.int64).min // 2

_Values = dict[str, npt.NDArray[Any]]


class PendingStore:
    """The rows of one partition number.

    Args:
        horizon_ms: how long after its prediction an item may be.
        early_ms: how long before.
        model_of_key: model codes of key codes, n to n, for items that name a model.
        chain_cap: rows that wait under one id, of each kind; what comes above it is counted in `overflow`. An
            item above it is applied but does not wait; a prediction above it does not wait and joins nothing.
    """

    def __init__(
        self,
        horizon_ms: int,
        early_ms: int,
        model_of_key: Callable[[npt.NDArray[Any]], npt.NDArray[Any]],
        chain_cap: int = CHAIN_CAP,
    ) -> None:
        self._rules, self._cap = Rules(horizon_ms, early_ms, model_of_key), chain_cap
        self._ring = Ring()
        self._index = IdIndex(self._ring)
        self._applier = Applier(self._ring, self._rules)
        self.overflow = 0
        self._settled_head = self._settled_tail = self._ring.head

    def __len__(self) -> int:
        return len(self._ring)

    @property
    def nbytes(self) -> int:
        """Bytes reserved for rows and index."""
        return self._ring.nbytes + self._index.nbytes

    def oldest_needed(self) -> int:
        """Sequence number of the oldest row that waits, of the next row when none does."""
        return self._ring.tail

    # --- taking in ---

    def add_predictions(self, rows: PredictionRows, watermark_before: I64) -> tuple[Bool, Joined]:
        """Insert predictions and let them meet what waits for them.

        Args:
            rows: n predictions.
            watermark_before: (n) the input watermark just before each, epoch ms.

        Returns:
            Which are duplicates (n), and the events of the others.
        """
        groups = group_ids(rows.hash, rows.check)
        of, found, kind = self._waiting(groups, rows)
        held = np.flatnonzero(kind == PREDICTION)
        bound = np.maximum(watermark_before, _SHORTEST) - self._rules.horizon_ms
        decision = decide(
            Arrivals(groups, rows.key, rows.ts, bound),
            Held(of[held], self._ring.take("key", found[held]), self._ring.take("ts", found[held])),
            self._cap,
        )
        self.overflow += int(decision.overflow.sum())
        accepted = decision.accepted
        sequence = np.zeros(len(rows), np.int64)
        sequence[accepted] = self._insert_predictions(rows if accepted.all() else rows.take(accepted))
        items = np.flatnonzero(kind != PREDICTION)
        at, item = groups.expand(of[items], found[items], accepted)
        return decision.duplicate, self._applier.apply(sequence[at], self._items(item))

    def add_labels(self, rows: LabelRows) -> Joined:
        """Apply n labels to the predictions of their ids, and keep them for predictions to come."""
        flags = rows.categorical * np.uint8(CATEGORICAL)
        values: _Values = {"value": rows.value, "labeler": rows.labeler, "flags": flags}
        return self._add_items(rows, LABEL, Items.of_labels(rows), values)

    def add_signals(self, rows: SignalRows) -> Joined:
        """Apply n signals to the predictions of their ids, and keep them for predictions to come."""
        values: _Values = {"value": rows.value, "answer": rows.signal}
        return self._add_items(rows, SIGNAL, Items.of_signals(rows), values)

    def _add_items(self, rows: LabelRows | SignalRows, kind: int, items: Items, values: _Values) -> Joined:
        groups = group_ids(rows.hash, rows.check)
        of, found, kinds = self._waiting(groups, rows)
        waiting = np.bincount(of[kinds == kind], minlength=len(groups.first))
        kept = waiting[groups.of] + groups.rank < self._cap
        self.overflow += int(len(rows) - kept.sum())
        values |= {"hash": rows.hash, "check": rows.check, "ts": rows.ts, "key": rows.model}
        if not kept.all():
            values = {name: column[kept] for name, column in values.items()}
        self._insert({**values, "kind": kind, "label": np.nan}, int(kept.sum()))
        predictions = np.flatnonzero(kinds == PREDICTION)
        at, row = groups.expand(of[predictions], found[predictions])
        return self._applier.apply(row, items.take(at))

    def _waiting(
        self, groups: Groups, rows: PredictionRows | LabelRows | SignalRows
    ) -> tuple[I64, I64, npt.NDArray[Any]]:
        """(group, row, kind) of all rows that wait under the ids of a batch."""
        of, found = self._index.walk(rows.hash[groups.first], rows.check[groups.first])
        return of, found, self._ring.take("kind", found)

    def _insert_predictions(self, rows: PredictionRows) -> I64:
        names = ("hash", "check", "ts", "key", "answer", "value", "score")
        values = {name: getattr(rows, name) for name in names}
        return self._insert({**values, "kind": PREDICTION, "label": np.nan}, len(rows))

    def _insert(self, values: dict[str, Any], count: int) -> I64:
        sequence = self._ring.append(count, values)
        self._index.link(self._ring.head - count, self._ring.head)
        return sequence

    def _items(self, row: I64) -> Items:
        take = self._ring.take
        signal = np.where(take("kind", row) == SIGNAL, take("answer", row), NO_SIGNAL).astype(np.uint8)
        categorical = (take("flags", row) & CATEGORICAL) != 0
        ts, model, value, labeler = (take(name, row) for name in ("ts", "key", "value", "labeler"))
        return Items(ts, model, value, categorical, labeler, signal)

    # --- letting go ---

    def sweep(self, input_watermark: int, label_watermark: int, limit_rows: int = 1_000_000) -> int:
        """Let go of rows that nothing can join any more, oldest first, up to the first one that must stay.

        A prediction goes when both watermarks have passed its ts + horizon, a label or signal when the input
        watermark has passed its ts + early. Looks at no more than `limit_rows` rows. Returns how many went.
        """
        both = min(input_watermark, label_watermark) - self._rules.horizon_ms
        early = input_watermark - self._rules.early_ms
        ring, before = self._ring, self._ring.tail
        last = min(ring.head, ring.tail + limit_rows)
        while ring.tail < last:
            stop = min(ring.tail + 65_536, last)
            ts, kind = ring.columns["ts"].span(ring.tail, stop), ring.columns["kind"].span(ring.tail, stop)
            stay = np.flatnonzero(~np.where(kind == PREDICTION, ts < both, ts < early))
            if len(stay):
                ring.tail += int(stay[0])
                break
            ring.tail = stop
        return ring.tail - before

    def evict(self, count: int) -> None:
        """Drop the oldest rows whatever they are."""
        self._ring.tail = min(self._ring.tail + count, self._ring.head)

    # --- commits ---

    def changes(self, codes: CodeBook, max_bytes: int = log.MAX_BYTES) -> list[bytes]:
        """Records for the change log: everything since the last `settle`, each of at most `max_bytes`."""
        ring = self._ring
        if (ring.tail, ring.head) == (self._settled_tail, self._settled_head) and not len(self._applier.updated()):
            return []
        return log.export(ring, self._settled_head, self._applier.updated(), codes, max_bytes)

    def settle(self) -> None:
        """The commit stands: what `changes` returned is in the log. After a failed one a new store is restored."""
        self._settled_tail, self._settled_head = self._ring.tail, self._ring.head
        self._applier.settle()
        self._ring.fit()

    def restore(self, records: Iterable[tuple[int, bytes]], codes: CodeBook) -> None:
        """Fill an empty store from (offset, value) of its change log in order, from that with the oldest row on.

        Raises:
            FormatError: the record at an offset has a layout that this version cannot read.
        """
        for offset, value in records:
            try:
                first = log.load(self._ring, value, codes)
            except FormatError as error:
                raise FormatError(f"offset {offset}: {error}") from error
            self._index.link(first, self._ring.head)
        self.settle()

    def digest(self, codes: CodeBook) -> str:
        """A hash of the rows that wait, whatever the codes and the capacity; equal stores have equal ones."""
        return log.digest(self._ring, codes)
