"""The joiner joins labels and feedback to predictions; it owns the pending rows of this worker's partitions."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt

from stream_monitor.config.settings import Settings
from stream_monitor.describe.aggregate.delta_writer import Batch
from stream_monitor.describe.decode.columns import Coded, Columns, distinct
from stream_monitor.describe.join.code_book import Answer, CodeBook, Key
from stream_monitor.describe.join.outcomes import Outcomes
from stream_monitor.describe.join.pair_sums import pair_sums
from stream_monitor.describe.join.pending.absent_signals import AbsentSignal
from stream_monitor.describe.join.pending.changelog import first_of
from stream_monitor.describe.join.pending.rows import (
    LABEL,
    MAX_SIGNALS,
    SIGNAL,
    Joined,
    LabelRows,
    PredictionRows,
    SignalRows,
    gather,
)
from stream_monitor.describe.join.pending.store import PendingStore
from stream_monitor.describe.watermarks import PartitionClock
from stream_monitor.errors import FormatError
from stream_monitor.events.contracts import Feedback, Label
from stream_monitor.kernels.id_hash import hash_ids
from stream_monitor.profiles import measures
from stream_monitor.profiles.names import NEVER
from stream_monitor.stages.contract import Partition
from stream_monitor.types import F64, I64, Bool


@dataclass(slots=True)
class JoinFlush:
    """The outputs of the joins of one commit: batches, packed deltas of performance and pairs, change log records."""

    batches: list[Batch] = field(default_factory=list)
    performance: list[tuple[str, bytes]] = field(default_factory=list)
    pairs: list[tuple[str, bytes]] = field(default_factory=list)
    changes: list[tuple[int, bytes]] = field(default_factory=list)
    items: dict[Partition, int] = field(default_factory=dict)
    """Labels and signals that came, by topic partition."""
    joined: dict[Partition, int] = field(default_factory=dict)
    """Those that joined their first prediction."""


@dataclass(slots=True)
class _Log:
    """The change log records of a partition: (sequence number of the first row, offset), oldest first."""

    written: deque[tuple[int, int]] = field(default_factory=deque)

    def low(self, store: PendingStore) -> int | None:
        """The lowest offset that a restore needs; None when no row is pending."""
        while len(self.written) > 1 and self.written[1][0] <= store.oldest_needed():
            self.written.popleft()
        return self.written[0][1] if len(store) and self.written else None


_ROLES = {LABEL: "labels", SIGNAL: "feedback"}
"""The topic of each kind of rows that join predictions."""


class Joiner:
    """Joins the predictions, labels and feedback of one describe worker."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.book = CodeBook()
        self.outcomes = Outcomes(self.book, settings.time.pane, settings.join.grain, settings.segments)
        self.stores: dict[int, PendingStore] = {}
        self.evicted = 0
        """Rows that the joiner dropped since the last commit because there were too many pending rows."""
        self.overflow = 0
        """Rows since the last commit that had no place: too many rows of one id, or too many signal names."""
        self.unpaired = 0
        """Predictions since the last commit that make pairs only with some of those of their id."""
        self._absent = [*self._absent_signals()]
        self._logs: dict[int, _Log] = {}
        self._waiting: list[tuple[I64, LabelRows | SignalRows]] = []
        self._joined: list[Joined] = []
        self._written: list[tuple[int, int]] = []

    def assign(self, partition: int, log: Sequence[tuple[int, bytes]]) -> None:
        """Take ownership of a partition number, and restore its pending rows from the change log."""
        if partition in self.stores:
            return
        join = self.settings.join
        store = PendingStore(join.label_horizon, join.early_horizon, self.book.model_of_key, absent=self._absent)
        try:
            store.restore(log, self.book)
        except FormatError as error:
            topic = f"{self.settings.topic('pending')}/{partition}"
            raise FormatError(
                f"{topic} holds a record that this version cannot read: {error}. If it is not ours, `run --skip-record "
                f"{topic}/OFFSET` leaves it out"
            ) from error
        written = deque((first_of(value), offset) for offset, value in log)
        self.stores[partition], self._logs[partition] = store, _Log(written)

    def revoke(self, partition: int) -> None:
        """Forget a partition number."""
        self.stores.pop(partition, None)
        self._logs.pop(partition, None)
        if not self.stores:
            self._joined, self._waiting, self._written = [], [], []
            self.evicted = self.overflow = self.unpaired = 0

    # --- taking in ---

    def predictions(self, clock: tuple[I64, I64, I64], ids: npt.NDArray[np.uint64], parts: list[Columns]) -> Bool:
        """Insert all n predictions of a commit into the stores of their partitions.

        Args:
            clock: (partition, ts, largest earlier ts of the partition), (n,) each.
            ids: (n, 2) hashes of the ids.
            parts: the columns of the predictions.

        Returns:
            Which predictions are duplicates, (n,).
        """
        partition, ts, before = clock
        key, answer = np.empty(len(ts), np.uint32), np.empty(len(ts), np.uint32)
        value, score = np.full(len(ts), np.nan), np.full(len(ts), np.nan)
        for columns in parts:
            rows = columns.rows
            key[rows], answer[rows] = self._keys(columns), self._answers(columns)
            for target, name in ((value, measures.PREDICTION), (score, measures.SCORE)):
                if name in columns.numeric:
                    target[rows] = columns.numeric[name]
        watermark = np.where(before == NEVER, NEVER, before - self.settings.time.allowed_lateness)
        duplicate = np.zeros(len(ts), np.bool_)
        for number in np.unique(partition).tolist():
            own = np.flatnonzero(partition == number)
            rows_in = PredictionRows(
                *split(ids[own]), ts[own], key[own], answer[own], value[own], score[own].astype(np.float32)
            )
            duplicate[own], joined = self.stores[number].add_predictions(rows_in, watermark[own])
            self._joined.append(joined)
        return duplicate

    def _keys(self, columns: Columns) -> I64:
        models, versions = columns.models.names, columns.versions.names
        pairs, place = distinct(columns.models.codes * len(versions) + columns.versions.codes)
        keys = [Key(models[pair // len(versions)], versions[pair % len(versions)]) for pair in pairs.tolist()]
        return self.book.keys.array(keys)[place]

    def _answers(self, columns: Columns) -> I64:
        """Codes of (segments, class); the code book is asked once for each combination that occurs."""
        parts = [
            *columns.segments.values(),
            columns.categorical.get(measures.PREDICTION) or Coded.absent(len(columns.rows)),
        ]
        combined = np.zeros(len(columns.rows), np.int64)
        for part in parts:
            combined = combined * (len(part.names) + 1) + part.codes + 1
        combinations, inverse = distinct(combined)
        first = np.empty(len(combinations), np.int64)
        first[inverse] = np.arange(len(inverse))  # any row that has the combination
        names = [[*part.names, None] for part in parts]
        values = [tuple(n[part.codes[row]] for n, part in zip(names, parts, strict=True)) for row in first.tolist()]
        return self.book.answers.array(Answer(v[:-1], v[-1]) for v in values)[inverse]

    def labels(self, events: Sequence[Label], partition: I64, ts: I64) -> None:
        """Take in the labels of a batch; the joiner joins them at the commit, after the predictions."""
        value, categorical = self._label_values(events)
        labeler = np.array(
            [0 if e.labeler is None else 1 + self.book.labelers.of(e.labeler) for e in events], np.uint32
        )
        ids = split(hash_ids([e.id for e in events]))
        rows = LabelRows(
            *ids, ts, self._models(events), value, categorical, labeler, self.book.fingerprints(ts, value, categorical)
        )
        self._waiting.append((partition, rows))

    def _label_values(self, events: Sequence[Label]) -> tuple[F64, Bool]:
        value, categorical = np.empty(len(events)), np.zeros(len(events), np.bool_)
        for row, event in enumerate(events):
            label = event.label
            if isinstance(label, bool | str):
                text = ("false", "true")[label] if isinstance(label, bool) else measures.bounded(label)
                value[row], categorical[row] = self.book.categories.of(text), True
            else:
                value[row] = label
        return value, categorical

    def _models(self, events: Sequence[Label] | Sequence[Feedback]) -> npt.NDArray[np.uint32]:
        return np.array([0 if e.model is None else 1 + self.book.models.of(e.model) for e in events], np.uint32)

    def feedback(self, events: Sequence[Feedback], partition: I64, ts: I64) -> None:
        """Take in the feedback of a batch: one row for each signal."""
        pairs = [
            (row, self._signal(measures.bounded(name)), value)
            for row, event in enumerate(events)
            for name, value in event.signals.items()
            if value is not None
        ]
        kept = [(row, signal, value) for row, signal, value in pairs if signal is not None]
        self.overflow += len(pairs) - len(kept)
        if not kept:
            return
        rows = np.array([pair[0] for pair in kept], np.int64)
        signal = np.array([pair[1] for pair in kept], np.uint8)
        value = np.array([pair[2] for pair in kept], np.float64)
        ids = split(hash_ids([event.id for event in events])[rows])
        self._waiting.append((partition[rows], SignalRows(*ids, ts[rows], self._models(events)[rows], signal, value)))

    def _signal(self, name: str) -> int | None:
        """The code of a signal's name; None when there are `MAX_SIGNALS` other names already."""
        code = self.book.signals.find(name)
        if code is None and len(self.book.signals.values) < MAX_SIGNALS:
            code = self.book.signals.of(name)
        return code if code is not None and code < MAX_SIGNALS else None

    def _absent_signals(self) -> Iterator[AbsentSignal]:
        for name, rules in self.settings.join.signals.items():
            code = self._signal(measures.bounded(name))
            if rules.absent == "zero" and code is not None:
                yield AbsentSignal(code, rules.after, partial(self.book.keys_like, rules.models))

    # --- the commit ---

    def flush(self, clocks: Mapping[int, PartitionClock], lateness_ms: int, over: Collection[int] = ()) -> JoinFlush:
        """Join the labels and feedback of this commit, and return the outputs of all its joins.

        `over` are the partition numbers that bring no more: the end of a file.
        """
        for partition, rows in self._waiting:
            for number in np.unique(partition).tolist():
                store, chosen = self.stores[number], rows.take(np.flatnonzero(partition == number))
                joined = store.add_labels(chosen) if isinstance(chosen, LabelRows) else store.add_signals(chosen)
                self._joined.append(joined)
        for number, store in self.stores.items():
            if self._absent and number in clocks:
                clock = clocks[number]
                watermark = clock.joined(clock.feedback, lateness_ms, self.settings.join.label_horizon)
                self._joined += store.absent_signals(clock.latest(True) + 1 if number in over else watermark)
        flush = self._joins()
        share = max(1, self.settings.join.pending_rows // max(1, len(self.stores)))
        for number, store in self.stores.items():
            if number in clocks:
                store.sweep(*self._watermarks(clocks[number], lateness_ms))
            if len(store) > share:
                self.evicted += len(store) - share
                store.evict(len(store) - share)
            self.overflow, self.unpaired = self.overflow + store.overflow, self.unpaired + store.unpaired
            store.overflow = store.unpaired = 0
            for value in store.changes(self.book):
                flush.changes.append((number, value))
                self._written.append((number, first_of(value)))
        return flush

    def _joins(self) -> JoinFlush:
        """What this commit has joined."""
        flush = JoinFlush()
        if self._joined:
            everything = gather(self._joined)
            flush.batches += self.outcomes.batches(everything)
            flush.performance += self.outcomes.performance(everything)
        if pairs := [found for store in self.stores.values() for found in store.take_pairs()]:
            flush.pairs += pair_sums(gather(pairs), self.book, self.settings.join.grain)
        self._waiting, self._joined, self._written = [], [], []
        self._count(flush)
        return flush

    def _count(self, flush: JoinFlush) -> None:
        """Count the labels and signals of this commit, and those that have joined."""
        for number, store in self.stores.items():
            for kind, role in _ROLES.items():
                if store.items[kind] or store.joined[kind]:
                    flush.items[role, number], flush.joined[role, number] = store.items[kind], store.joined[kind]

    def _watermarks(self, clock: PartitionClock, lateness_ms: int) -> tuple[int, int]:
        horizon = self.settings.join.label_horizon
        labels = min(clock.joined(items, lateness_ms, horizon) for items in (clock.labels, clock.feedback))
        return clock.input(lateness_ms), labels

    def delivered(self, offsets: Sequence[int]) -> dict[int, int]:
        """Take in the offsets of the change log records of the last flush.

        Returns:
            By partition, the lowest offset that a restore needs; partitions without pending rows are left out.
        """
        for (number, first), offset in zip(self._written, offsets, strict=True):
            self._logs[number].written.append((first, offset))
        self._written = []
        lows = {number: log.low(self.stores[number]) for number, log in self._logs.items()}
        return {number: low for number, low in lows.items() if low is not None}

    def committed(self) -> None:
        """The commit succeeded: the change log holds what the joiner wrote, and the counts start from zero."""
        self.evicted = self.overflow = self.unpaired = 0
        for store in self.stores.values():
            store.settle()


def split(ids: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint32]]:
    """Split 128-bit hashes into the (hash, check) of each row."""
    return ids[:, 0], ids[:, 1].astype(np.uint32)
