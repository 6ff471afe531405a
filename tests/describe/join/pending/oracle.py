"""The pending predictions in plain Python, an event at a time, straight from the rules; and streams for both."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from stream_monitor.describe.join.pending import rows
from stream_monitor.describe.join.pending.rows import Joined, LabelRows, PredictionRows, SignalRows
from stream_monitor.describe.join.pending.store import PendingStore

HORIZON, EARLY = 20, 5
KEYS_A_MODEL = 3
NEVER = -(2**62)
SPREAD = 0x9E37_79B9_7F4A_7C15


class P(NamedTuple):
    id: tuple[int, int]
    ts: int
    key: int
    answer: int
    watermark: int


class L(NamedTuple):
    id: tuple[int, int]
    ts: int
    model: int
    value: float
    categorical: bool
    labeler: int


class S(NamedTuple):
    id: tuple[int, int]
    ts: int
    model: int
    signal: int


def model_of_key(keys: np.ndarray) -> np.ndarray:
    return keys // KEYS_A_MODEL


# --- the oracle ---


@dataclass
class Waiting:
    """A prediction that the oracle accepted, and what became of it."""

    event: P
    label: tuple[float, bool] | None = None
    labeler: int = 0
    signals: set[int] = field(default_factory=set)


class Oracle:
    def __init__(self, cap: int = 10**9) -> None:
        self.cap = cap
        self.predictions: list[Waiting] = []
        self.items: list[L | S] = []
        self.events: list[tuple[Any, ...]] = []
        self.duplicates: list[bool] = []
        self.overflow = 0

    def take(self, event: P | L | S) -> None:
        if isinstance(event, P):
            self.predict(event)
            return
        for waiting in self.predictions:
            self.join(waiting, event)
        if sum(type(i) is type(event) and i.id == event.id for i in self.items) < self.cap:
            self.items.append(event)
        else:
            self.overflow += 1

    def predict(self, event: P) -> None:
        mine = [w.event for w in self.predictions if w.event.id == event.id]
        bound = event.watermark - HORIZON
        again = any(p.key == event.key and p.ts >= bound for p in mine)
        self.duplicates.append(again)
        if again:
            return
        if len(mine) >= self.cap:
            self.overflow += 1
            return
        waiting = Waiting(event)
        self.predictions.append(waiting)
        for item in self.items:
            self.join(waiting, item)

    def join(self, waiting: Waiting, item: L | S) -> None:
        p = waiting.event
        if p.id != item.id or not -EARLY <= item.ts - p.ts <= HORIZON:
            return
        if item.model and item.model - 1 != p.key // KEYS_A_MODEL:
            return
        if isinstance(item, S):
            if item.signal not in waiting.signals:
                waiting.signals.add(item.signal)
                self.note(rows.SIGNALLED, p, item, None, float(item.signal))
            return
        new, old = (item.value, item.categorical), waiting.label
        if old is None:
            event = rows.FIRST
        elif item.labeler == 0 or waiting.labeler in (0, item.labeler):
            event = rows.REPEAT if new == old else rows.CORRECTION
        else:
            event = rows.AGREEMENT if new == old else rows.DISAGREEMENT
        if event in (rows.FIRST, rows.CORRECTION):
            waiting.label, waiting.labeler = new, item.labeler
        self.note(event, p, item, old, item.value)

    def note(self, event: int, p: P, item: L | S, old: tuple[float, bool] | None, new: float) -> None:
        signal = item.signal if isinstance(item, S) else rows.NO_SIGNAL
        categorical = isinstance(item, L) and item.categorical
        values = old or (None, False), (new, categorical)
        self.events.append((event, p.ts, p.key, p.answer, *values, item.ts, signal))

    def states(self) -> list[tuple[Any, ...]]:
        none = (-1.0, False)
        return sorted((w.event[:4], w.label or none, w.labeler, sorted(w.signals)) for w in self.predictions)


# --- the store, driven by the same events ---


def prediction_rows(events: Sequence[P]) -> tuple[PredictionRows, np.ndarray]:
    count = len(events)
    answer = np.array([e.answer for e in events], np.uint32)
    return PredictionRows(
        hash=np.array([e.id[0] for e in events], np.uint64),
        check=np.array([e.id[1] for e in events], np.uint32),
        ts=np.array([e.ts for e in events], np.int64),
        key=np.array([e.key for e in events], np.uint32),
        answer=answer,
        value=answer.astype(np.float64) * 0.5,
        score=np.full(count, 0.25, np.float32),
    ), np.array([e.watermark for e in events], np.int64)


def fingerprint_of(event: L) -> int:
    """Tells labels apart that differ in time, value or kind."""
    return 2 + int(event.ts * 100 + event.value * 10 + event.categorical)


def label_rows(events: Sequence[L]) -> LabelRows:
    return LabelRows(
        hash=np.array([e.id[0] for e in events], np.uint64),
        check=np.array([e.id[1] for e in events], np.uint32),
        ts=np.array([e.ts for e in events], np.int64),
        model=np.array([e.model for e in events], np.uint32),
        value=np.array([e.value for e in events], np.float64),
        categorical=np.array([e.categorical for e in events], np.bool_),
        labeler=np.array([e.labeler for e in events], np.uint32),
        fingerprint=np.array([fingerprint_of(e) for e in events], np.uint32),
    )


def signal_rows(events: Sequence[S]) -> SignalRows:
    return SignalRows(
        hash=np.array([e.id[0] for e in events], np.uint64),
        check=np.array([e.id[1] for e in events], np.uint32),
        ts=np.array([e.ts for e in events], np.int64),
        model=np.array([e.model for e in events], np.uint32),
        signal=np.array([e.signal for e in events], np.uint8),
        value=np.array([e.signal for e in events], np.float64),
    )


def unpacked(joined: Joined) -> list[tuple[Any, ...]]:
    assert np.array_equal(joined.value, joined.answer * 0.5)
    assert (joined.score == 0.25).all()
    return [
        (event, ts, key, answer, (None if math.isnan(old) else old, was), (new, is_), item_ts, signal)
        for event, ts, key, answer, old, was, new, is_, item_ts, signal in zip(
            *(
                getattr(joined, name).tolist()
                for name in ("event", "ts", "key", "answer", "old", "old_categorical", "new",
                             "new_categorical", "item_ts", "signal")
            ),
            strict=True,
        )
    ]  # fmt: skip


class Driven:
    """A store and all that it ever said."""

    def __init__(self, store: PendingStore | None = None) -> None:
        self.store = PendingStore(HORIZON, EARLY, model_of_key) if store is None else store
        self.events: list[tuple[Any, ...]] = []
        self.duplicates: list[bool] = []

    def take(self, batch: Sequence[Any]) -> None:
        joined: Joined
        match batch[0]:
            case P():
                duplicate, joined = self.store.add_predictions(*prediction_rows(batch))
                self.duplicates += duplicate.tolist()
            case L():
                joined = self.store.add_labels(label_rows(batch))
            case S():
                joined = self.store.add_signals(signal_rows(batch))
        self.events += unpacked(joined)

    def states(self) -> list[tuple[Any, ...]]:
        ring = self.store._ring
        take = {name: ring.columns[name].span(ring.tail, ring.head).tolist() for name in ring.columns}
        return sorted(
            (
                ((h, c), ts, key, answer),
                (label, bool(flags & 2)) if flags & 1 else (-1.0, False),
                labeler,
                [code for code in range(16) if bits >> code & 1],
            )
            for h, c, ts, kind, key, answer, label, labeler, bits, flags in zip(
                *(take[name] for name in ("hash", "check", "ts", "kind", "key", "answer", "label",
                                          "labeler", "bits", "flags")),
                strict=True,
            )
            if kind == rows.PREDICTION
        )  # fmt: skip


# --- streams ---

# Some ids share the hash and differ in the check, some share nothing, some share the upper bits.
IDS = [(1, 7), (1, 8), (SPREAD, 7), (SPREAD + 1, 7), (SPREAD * 3 % 2**64, 7)]
ids = st.sampled_from(IDS)
times = st.integers(100, 140)
predictions = st.builds(
    P, ids, times, st.integers(0, 5), st.integers(0, 3), st.one_of(st.just(NEVER), st.integers(90, 150))
)
values = st.sampled_from([0.0, 1.0, 2.0])
labels = st.builds(L, ids, times, st.integers(0, 2), values, st.booleans(), st.integers(0, 2))
signals = st.builds(S, ids, times, st.integers(0, 2), st.integers(0, 15))
topics = st.tuples(
    st.lists(predictions, max_size=30),
    st.lists(labels, max_size=30),
    st.lists(signals, max_size=20),
)


def interleaved(topics: Sequence[Sequence[Any]], rng: random.Random, most: int) -> list[list[Any]]:
    """Batches of up to `most` events; each topic in its own order."""
    left = [list(topic) for topic in topics if topic]
    batches = []
    while left:
        topic = rng.choice(left)
        size = rng.randint(1, most)
        batches.append(topic[:size])
        del topic[:size]
        left = [topic for topic in left if topic]
    return batches


def oracle_of(batches: Sequence[Sequence[Any]], cap: int = 10**9) -> Oracle:
    oracle = Oracle(cap)
    for event in (event for batch in batches for event in batch):
        oracle.take(event)
    return oracle


def big_stream(seed: int, count: int, many: int) -> list[list[Any]]:
    """Batches of distinct and repeated ids, large enough to grow every column and split many buckets."""
    rng = random.Random(seed)

    def an_id() -> tuple[int, int]:
        number = rng.randrange(many)
        return number * SPREAD % 2**64, number % 2

    def a_time() -> int:
        return rng.randint(100, 125)

    def a_prediction() -> P:
        return P(an_id(), a_time(), rng.randrange(6), rng.randrange(4), rng.choice([NEVER, 110, 140]))

    def a_label() -> L:
        return L(an_id(), a_time(), rng.randrange(3), rng.randrange(2) * 1.0, False, rng.randrange(3))

    topics: tuple[list[Any], ...] = (
        [a_prediction() for _ in range(count)],
        [a_label() for _ in range(count)],
        [S(an_id(), a_time(), rng.randrange(3), rng.randrange(16)) for _ in range(count // 2)],
    )
    return interleaved(topics, rng, count // 4)
