"""The store: the pending rows of one partition number, in columns.

A pending row is a prediction, label or signal that waits for its counterparts. All wait in the same ring, in log order,
because each may come first: a label may precede its prediction, and in shadow mode a second version answers the same id
later. The rules:

- the first prediction of a key counts; a later one is a duplicate iff an accepted one has ts >= the input
  watermark just before it - horizon;
- an item (a label or signal) joins a prediction iff -early <= item ts - prediction ts <= horizon, and its model, if
  named, fits;
- a second label of the same labeler, or of none, is a correction; a label of another labeler is a disagreement;
- the row keeps the active label and its labeler;
- each signal counts once for a prediction.

So neither the interleaving of the three topics nor their split into batches affects the joined events and the rows.
There are two exceptions: rows that a sweep dropped, and `chain_cap`. A row takes 64 bytes, up to a quarter more in
reserve, and 4 to 8 bytes of index. The module `pairs` finds versions that answered one id. The store is for one thread;
only `restore` raises.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from stream_monitor.describe.join.pending import changelog as log
from stream_monitor.describe.join.pending.absent_signals import AbsentSignal, AbsentSignals
from stream_monitor.describe.join.pending.duplicates import Arrivals, Held, decide
from stream_monitor.describe.join.pending.hash_index import IdIndex
from stream_monitor.describe.join.pending.id_groups import Groups, group_ids
from stream_monitor.describe.join.pending.label_effects import Applied, Applier, Rules
from stream_monitor.describe.join.pending.pairs import PairFinder
from stream_monitor.describe.join.pending.ring_buffer import CATEGORICAL, Ring
from stream_monitor.describe.join.pending.rows import (
    ALONE,
    LABEL,
    NO_LABEL,
    NO_SIGNAL,
    PREDICTION,
    SIGNAL,
    U32,
    CodeBook,
    Items,
    Joined,
    LabelRows,
    Pairs,
    PredictionRows,
    SignalRows,
)
from stream_monitor.errors import FormatError
from stream_monitor.types import I64, Bool

CHAIN_CAP = 64
"""Most pending rows of one id, of each kind (prediction, label, signal)."""

_SHORTEST = np.iinfo(np.int64).min // 2

_Values = dict[str, npt.NDArray[Any]]


class PendingStore:
    """The rows of one partition number.

    Args:
        horizon_ms: the most by which an item's ts may follow that of its prediction.
        early_ms: the most by which it may precede it.
        model_of_key: maps n key codes to n model codes, for items that name a model.
        chain_cap: most pending rows of one id, of each kind. The store counts further rows in `overflow`: it
            applies such an item but does not keep it, and it neither keeps nor joins such a prediction.
        absent: signals whose absence is a 0.
    """

    def __init__(
        self,
        horizon_ms: int,
        early_ms: int,
        model_of_key: Callable[[npt.NDArray[Any]], npt.NDArray[Any]],
        chain_cap: int = CHAIN_CAP,
        absent: Sequence[AbsentSignal] = (),
    ) -> None:
        self._rules, self._cap = Rules(horizon_ms, early_ms, model_of_key, absent), chain_cap
        self._ring = Ring()
        self._absent = AbsentSignals(self._ring, absent)
        self._index = IdIndex(self._ring)
        self._applier = Applier(self._ring, self._rules)
        self._finder = PairFinder(self._ring, self._rules)
        self._pairs: list[Pairs] = []
        self.overflow = self.unpaired = 0
        """Rows that had no place; predictions that make pairs only with some of those before them."""
        self.items, self.joined = Counter[int](), Counter[int]()
        """By kind, since `settle`: labels and signals that came, and those that joined their first prediction."""
        self._settled_head = self._settled_tail = self._ring.head

    def __len__(self) -> int:
        return len(self._ring)

    @property
    def nbytes(self) -> int:
        """Bytes that the rows and the index reserve."""
        return self._ring.nbytes + self._index.nbytes

    def oldest_needed(self) -> int:
        """Sequence number of the oldest pending row; of the next row when no row is pending."""
        return self._ring.tail

    # --- taking in ---

    def add_predictions(self, rows: PredictionRows, watermark_before: I64) -> tuple[Bool, Joined]:
        """Insert predictions and join them with the pending items of their ids.

        Args:
            rows: n predictions.
            watermark_before: (n,) the input watermark just before each prediction, epoch ms.

        Returns:
            Which predictions are duplicates (n,), and the joined events of the others.
        """
        groups = group_ids(rows.hash, rows.check)
        group, waiting, kind = self._waiting(groups, rows)
        held = np.flatnonzero(kind == PREDICTION)
        bound = np.maximum(watermark_before, _SHORTEST) - self._rules.horizon_ms
        decision = decide(
            Arrivals(groups, rows.key, rows.ts, bound),
            Held(group[held], self._ring.take("key", waiting[held]), self._ring.take("ts", waiting[held])),
            self._cap,
        )
        self.overflow += int(decision.overflow.sum())
        accepted = decision.accepted
        sequence = np.zeros(len(rows), np.int64)
        alone = self._finder.alone(rows.ts, bound)
        fingerprint = np.where(alone, np.uint32(ALONE), np.uint32(NO_LABEL))[accepted]
        sequence[accepted] = self._insert_predictions(rows if accepted.all() else rows.take(accepted), fingerprint)
        items = np.flatnonzero(kind != PREDICTION)
        row, item = groups.expand(group[items], waiting[items], accepted)
        inserted, found = sequence[row], self._items(item)
        keep = self._applier.joins(inserted, found)
        new = self._applier.mark_joined(item[keep])
        self.joined.update(self._ring.take("kind", new).tolist())
        applied = self._applier.apply(inserted[keep], found.take(keep))
        if len(held) or not groups.unique:
            several = (
                np.concatenate([group[held], groups.of[accepted]]),
                np.concatenate([waiting[held], sequence[accepted]]),
            )
            self._pair(*several, applied, int(accepted.sum()))
        return decision.duplicate, applied.joined

    def add_labels(self, rows: LabelRows) -> Joined:
        """Apply n labels to the predictions of their ids, and keep them for later predictions."""
        flags = rows.categorical * np.uint8(CATEGORICAL)
        values: _Values = {"value": rows.value, "labeler": rows.labeler, "flags": flags}
        values["fingerprint"] = rows.fingerprint
        return self._add_items(rows, LABEL, Items.of_labels(rows), values)

    def add_signals(self, rows: SignalRows) -> Joined:
        """Apply n signals to the predictions of their ids, and keep them for later predictions."""
        values: _Values = {"value": rows.value, "answer": rows.signal}
        return self._add_items(rows, SIGNAL, Items.of_signals(rows), values)

    def absent_signals(self, watermark: int) -> Iterator[Joined]:
        """The zeros of predictions that wait for a signal no more, at a watermark of feedback (epoch ms)."""
        for rows, zeros in self._absent.due(watermark):
            yield self._applier.apply(rows, zeros).joined

    def _add_items(self, rows: LabelRows | SignalRows, kind: int, items: Items, values: _Values) -> Joined:
        groups = group_ids(rows.hash, rows.check)
        group, waiting, kinds = self._waiting(groups, rows)
        same_kind = np.bincount(group[kinds == kind], minlength=len(groups.first))
        kept = same_kind[groups.of] + groups.rank < self._cap
        self.overflow += int(len(rows) - kept.sum())
        values |= {"hash": rows.hash, "check": rows.check, "ts": rows.ts, "key": rows.model}
        if not kept.all():
            values = {name: column[kept] for name, column in values.items()}
        sequence = np.zeros(len(rows), np.int64)
        sequence[kept] = self._insert({**values, "kind": kind, "label": np.nan}, int(kept.sum()))
        predictions = np.flatnonzero(kinds == PREDICTION)
        item, row = groups.expand(group[predictions], waiting[predictions])
        found = items.take(item)
        keep = self._applier.joins(row, found)
        self.items[kind] += len(rows)
        joined = np.unique(item[keep])
        self.joined[kind] += len(joined)
        self._applier.mark_joined(sequence[joined[kept[joined]]])
        applied = self._applier.apply(row[keep], found.take(keep))
        if kind == LABEL and np.bincount(group[predictions]).max(initial=0) > 1:
            self._pair(group[predictions], waiting[predictions], applied)
        return applied.joined

    def _pair(self, group: I64, row: I64, applied: Applied, new: int = 0) -> None:
        """Keep what a call made known of pairs of the predictions `row`, of which the last `new` are new."""
        several = np.bincount(group)[group] > 1
        group, row = group[several], row[several]
        found = [self._finder.labelled(group, row, applied.first)]
        if new:
            answered, crowded = self._finder.answered(group, row, self._ring.head - new)
            found.append(answered)
            self.unpaired += crowded
        self._pairs += [pairs for pairs in found if pairs is not None]

    def take_pairs(self) -> list[Pairs]:
        """What became known of pairs since the last call."""
        pairs, self._pairs = self._pairs, []
        return pairs

    def _waiting(
        self, groups: Groups, rows: PredictionRows | LabelRows | SignalRows
    ) -> tuple[I64, I64, npt.NDArray[Any]]:
        """(group, row, kind) of all pending rows that have an id of the batch."""
        group, waiting = self._index.walk(rows.hash[groups.first], rows.check[groups.first])
        return group, waiting, self._ring.take("kind", waiting)

    def _insert_predictions(self, rows: PredictionRows, fingerprint: U32) -> I64:
        names = ("hash", "check", "ts", "key", "answer", "value", "score")
        values = {name: getattr(rows, name) for name in names}
        return self._insert({**values, "fingerprint": fingerprint, "kind": PREDICTION, "label": np.nan}, len(rows))

    def _insert(self, values: dict[str, Any], count: int) -> I64:
        sequence = self._ring.append(count, values)
        self._index.link(self._ring.head - count, self._ring.head)
        return sequence

    def _items(self, row: I64) -> Items:
        take = self._ring.take
        signal = np.where(take("kind", row) == SIGNAL, take("answer", row), NO_SIGNAL).astype(np.uint8)
        categorical = (take("flags", row) & CATEGORICAL) != 0
        ts, model, value, labeler = (take(name, row) for name in ("ts", "key", "value", "labeler"))
        return Items(ts, model, value, categorical, labeler, signal, take("fingerprint", row))

    # --- dropping rows ---

    def sweep(self, input_watermark: int, label_watermark: int, limit_rows: int = 1_000_000) -> int:
        """Drop rows that nothing can join any more, oldest first, up to the first row that must stay.

        The sweep drops a prediction when both watermarks have passed its ts + horizon, and a label or signal when the
        input watermark has passed its ts + early. It looks at no more than `limit_rows` rows.

        Returns:
            How many rows it dropped.
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
        """Drop the `count` oldest rows, whether anything can still join them or not."""
        self._ring.tail = min(self._ring.tail + count, self._ring.head)

    # --- commits ---

    def changes(self, codes: CodeBook, max_bytes: int = log.MAX_BYTES) -> list[bytes]:
        """Change log records, each of at most `max_bytes`: all changes since the last `settle`."""
        ring = self._ring
        if (ring.tail, ring.head) == (self._settled_tail, self._settled_head) and not len(self._applier.updated()):
            return []
        return log.export(ring, self._settled_head, self._applier.updated(), codes, max_bytes)

    def settle(self) -> None:
        """The commit succeeded: the change log holds what `changes` returned.

        After a failed commit the joiner restores a new store instead.
        """
        self._settled_tail, self._settled_head = self._ring.tail, self._ring.head
        self.items.clear()
        self.joined.clear()
        self._applier.settle()
        self._ring.fit()

    def restore(self, records: Iterable[tuple[int, bytes]], codes: CodeBook) -> None:
        """Fill an empty store from its change log.

        Args:
            records: (offset, value) in log order, from the record with the oldest pending row on.
            codes: the code book that gives the restored names their codes.

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
        """A hash of the pending rows; neither codes nor capacity affect it, and equal stores have equal hashes."""
        return log.digest(self._ring, codes)
