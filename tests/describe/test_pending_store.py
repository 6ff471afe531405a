"""The pending predictions against an oracle: plain Python, an event at a time, straight from the rules."""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_monitor.describe.pending import rows as rows
from stream_monitor.describe.pending.changes import Payload
from stream_monitor.describe.pending.rows import Joined, LabelRows, PredictionRows, SignalRows
from stream_monitor.describe.pending.store import PendingStore
from stream_monitor.errors import FormatError
from stream_monitor.events.arrays import pack, unpack

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


def label_rows(events: Sequence[L]) -> LabelRows:
    return LabelRows(
        hash=np.array([e.id[0] for e in events], np.uint64),
        check=np.array([e.id[1] for e in events], np.uint32),
        ts=np.array([e.ts for e in events], np.int64),
        model=np.array([e.model for e in events], np.uint32),
        value=np.array([e.value for e in events], np.float64),
        categorical=np.array([e.categorical for e in events], np.bool_),
        labeler=np.array([e.labeler for e in events], np.uint32),
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


# --- the rules ---


@settings(max_examples=300, deadline=None, derandomize=True)
@given(topics, st.randoms(use_true_random=False), st.sampled_from([1, 4, 30]))
def test_the_store_says_what_the_oracle_says(topics: Any, rng: random.Random, most: int) -> None:
    batches = interleaved(topics, rng, most)
    oracle, driven = oracle_of(batches), Driven()
    for batch in batches:
        driven.take(batch)
    assert driven.duplicates == oracle.duplicates
    assert Counter(driven.events) == Counter(oracle.events)
    assert driven.states() == oracle.states()


@settings(max_examples=150, deadline=None, derandomize=True)
@given(topics, st.randoms(use_true_random=False))
def test_events_and_rows_do_not_depend_on_interleaving_and_batches(topics: Any, rng: random.Random) -> None:
    one, other = Driven(), Driven()
    for batch in interleaved(topics, rng, 30):
        one.take(batch)
    for batch in interleaved(topics, rng, 3):
        other.take(batch)
    assert Counter(one.events) == Counter(other.events)
    assert one.states() == other.states()


@settings(max_examples=100, deadline=None, derandomize=True)
@given(topics, st.randoms(use_true_random=False))
def test_two_batches_in_a_row_say_the_same_in_the_same_order_as_one(topics: Any, rng: random.Random) -> None:
    whole, split = Driven(), Driven()
    for topic in rng.sample(topics, 3):
        if topic:
            whole.take(topic)
            for at in range(0, len(topic), 2):
                split.take(topic[at : at + 2])
    assert whole.events == split.events
    assert whole.duplicates == split.duplicates


@settings(max_examples=150, deadline=None, derandomize=True)
@given(topics, st.randoms(use_true_random=False), st.sampled_from([1, 3, 9]))
def test_the_chain_cap_bounds_each_kind_and_counts_what_it_turns_away(
    topics: Any, rng: random.Random, cap: int
) -> None:
    batches = interleaved(topics, rng, 30)
    oracle, driven = oracle_of(batches, cap), Driven(PendingStore(HORIZON, EARLY, model_of_key, cap))
    for batch in batches:
        driven.take(batch)
    assert driven.duplicates == oracle.duplicates
    assert driven.store.overflow == oracle.overflow
    assert Counter(driven.events) == Counter(oracle.events)
    assert driven.states() == oracle.states()


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


class FastOracle(Oracle):
    """The same rules with the rows of each id apart, for larger streams."""

    def __init__(self) -> None:
        super().__init__()
        self.by_id: dict[tuple[int, int], Oracle] = {}

    def take(self, event: P | L | S) -> None:
        one = self.by_id.setdefault(event.id, Oracle())
        one.take(event)
        self.duplicates += one.duplicates
        self.events += one.events
        one.duplicates, one.events = [], []

    def states(self) -> list[tuple[Any, ...]]:
        return sorted(state for one in self.by_id.values() for state in one.states())


@pytest.mark.parametrize(("count", "many"), [(20_000, 100_000), (8_000, 700)])
def test_many_ids_join_as_the_oracle_says(count: int, many: int) -> None:
    oracle, driven = FastOracle(), Driven()
    for batch in big_stream(count, count, many):
        driven.take(batch)
        for event in batch:
            oracle.take(event)
    assert driven.store.overflow == 0
    assert driven.duplicates == oracle.duplicates
    assert Counter(driven.events) == Counter(oracle.events)
    assert driven.states() == oracle.states()


def test_row_numbers_above_32_bits_change_nothing() -> None:
    oracle, driven = FastOracle(), Driven()
    driven.store._ring.skip_to(2**32 - 10)
    driven.store.settle()
    for batch in big_stream(6, 4_000, 3_000):
        driven.take(batch)
        for event in batch:
            oracle.take(event)
    assert driven.store._ring.head > 2**32
    assert Counter(driven.events) == Counter(oracle.events)
    assert driven.states() == oracle.states()


def test_a_label_with_another_labeler_disagrees_and_the_first_one_stays_in_force() -> None:
    driven = Driven()
    driven.take([P(IDS[0], 100, 0, 0, NEVER)])
    driven.take([L(IDS[0], 101, 0, 1.0, False, 1), L(IDS[0], 102, 0, 0.0, False, 2)])
    driven.take([L(IDS[0], 103, 0, 2.0, False, 1), L(IDS[0], 104, 0, 2.0, False, 2)])
    assert [event[0] for event in driven.events] == [
        rows.FIRST, rows.DISAGREEMENT, rows.CORRECTION, rows.AGREEMENT
    ]  # fmt: skip
    assert [event[4][0] for event in driven.events] == [None, 1.0, 1.0, 2.0]


def test_a_labels_place_in_the_window_is_inclusive_at_both_ends() -> None:
    driven = Driven()
    driven.take([P(IDS[0], 100, 0, 0, NEVER)])
    gaps = (-EARLY - 1, -EARLY, HORIZON, HORIZON + 1)
    driven.take([S(IDS[0], 100 + gap, 0, code) for code, gap in enumerate(gaps)])
    assert [event[-1] for event in driven.events] == [1, 2]


@pytest.mark.parametrize("others", [0, 12], ids=["a few of an id", "many of an id"])
def test_a_prediction_counts_again_once_the_watermark_has_passed_all_before(others: int) -> None:
    def at(ts: int, watermark: int) -> P:
        return P(IDS[0], ts, 0, 0, watermark)

    driven = Driven()
    driven.take(
        [
            *(P(IDS[0], 100, key, 0, NEVER) for key in range(1, others + 1)),
            at(100, NEVER),
            at(101, 100 + HORIZON),
            at(90, 101 + HORIZON),
            at(102, 100 + HORIZON),
            at(103, 101 + HORIZON),
        ]
    )
    assert driven.duplicates[others:] == [False, True, False, True, False]


# --- hostile input ---


@pytest.mark.parametrize("repeated", [rows.PREDICTION, rows.LABEL, rows.SIGNAL])
def test_a_flood_of_one_id_is_fast_and_bounded(repeated: int) -> None:
    count, driven = 100_000, Driven()
    one: list[Any] = [P(IDS[2], 120, key, 0, NEVER) for key in (0, 1)]
    flood: dict[int, list[Any]] = {
        rows.PREDICTION: [P(IDS[2], 120, key, 0, NEVER) for key in range(count)],
        rows.LABEL: [L(IDS[2], 121, 0, i % 7, False, i % 3) for i in range(count)],
        rows.SIGNAL: [S(IDS[2], 121, 0, i % 16) for i in range(count)],
    }
    driven.take(one)
    batch = flood[repeated]
    inputs = prediction_rows(batch) if repeated == rows.PREDICTION else ()
    start = time.perf_counter()
    if repeated == rows.PREDICTION:
        driven.store.add_predictions(*inputs)
    else:
        driven.take(batch)
    assert time.perf_counter() - start < 2
    assert len(driven.store) <= 2 + 64
    assert driven.store.overflow == count - 64
    if repeated == rows.LABEL:
        assert len(driven.events) == 2 * count
        oracle = oracle_of([one, batch[:300]])
        assert Counter(driven.events[:600]) == Counter(oracle.events)


# --- letting go ---


@settings(max_examples=150, deadline=None, derandomize=True)
@given(topics, st.randoms(use_true_random=False), st.integers(1, 40))
def test_a_sweep_never_drops_what_a_later_event_that_is_not_late_could_join(
    topics: Any, rng: random.Random, limit: int
) -> None:
    # Event times rise, so nothing is late; the watermark is the largest time that was seen on each topic.
    ordered = [sorted(topic, key=lambda e: e.ts) for topic in topics]
    earlier = [NEVER, *(p.ts for p in ordered[0])]
    ordered[0] = [p._replace(watermark=before) for p, before in zip(ordered[0], earlier, strict=False)]
    driven, plain, seen = Driven(), Driven(), {P: NEVER, L: NEVER, S: NEVER}
    for batch in interleaved(ordered, rng, 5):
        driven.take(batch)
        plain.take(batch)
        seen[type(batch[0])] = batch[-1].ts
        driven.store.sweep(seen[P], min(seen.values()), limit)
        driven.store.settle()
    assert Counter(driven.events) == Counter(plain.events)
    assert driven.duplicates == plain.duplicates


def test_a_sweep_stops_at_the_first_row_that_must_stay_and_at_its_limit() -> None:
    driven = Driven()
    driven.take([P((n * SPREAD % 2**64, 0), ts, 0, 0, NEVER) for n, ts in enumerate([100, 101, 150, 102])])
    assert driven.store.sweep(125, 125, limit_rows=1).rows == 1
    assert driven.store.sweep(125, 120).rows == 0, "the label watermark has not passed the row's horizon"
    dropped = driven.store.sweep(125, 125)
    assert (dropped.rows, dropped.unlabelled) == (1, 1)
    assert len(driven.store) == 2
    assert driven.store.evict(10) == 2
    assert driven.store.oldest_needed() == 5


def test_a_label_waits_until_no_prediction_that_is_not_late_can_meet_it() -> None:
    driven = Driven()
    driven.take([L(IDS[0], 105, 0, 1.0, False, 0)])
    assert driven.store.sweep(105 + EARLY, 105 + EARLY).rows == 0
    driven.take([P(IDS[0], 105 + EARLY, 0, 0, 105 + EARLY)])
    assert [event[0] for event in driven.events] == [rows.FIRST]
    assert driven.store.sweep(106 + EARLY, NEVER).rows == 1


def test_a_store_that_is_swept_all_the_time_does_not_grow() -> None:
    driven, sizes = Driven(PendingStore(10_000, 0, model_of_key)), []
    rng, zeros = np.random.default_rng(1), np.zeros(2_000, np.uint32)
    for step in range(100):
        ts = np.arange(step * 2_000, (step + 1) * 2_000)
        batch = PredictionRows(
            rng.integers(0, 1 << 64, 2_000, np.uint64), zeros, ts, zeros, zeros,
            np.zeros(2_000), np.zeros(2_000, np.float32),
        )  # fmt: skip
        driven.store.add_predictions(batch, ts - 1)
        driven.store.sweep(int(ts[-1]), int(ts[-1]))
        driven.store.settle()
        sizes.append(driven.store.nbytes)
    assert len(driven.store) == 10_001
    assert sizes[-1] == sizes[20]
    assert sizes[-1] < 12_001 * 60 * 1.3 + 3 * 2**17


# --- commits ---


class Book:
    """A code book whose codes depend on the order in which it met the names."""

    def __init__(self, shift: int) -> None:
        self.shift = shift
        self.tables: dict[str, list[Any]] = {}

    def export(self, kind: str, codes: Sequence[int]) -> list[Any]:
        if not self.shift:
            return [f"{kind} {code}" for code in codes]
        return [self.tables[kind][code] for code in codes]

    def import_(self, kind: str, values: Sequence[Any]) -> rows.U32:
        table = self.tables.setdefault(kind, [] if kind == "signal" else ["padding"] * self.shift)
        table.extend(value for value in values if value not in table)
        return np.array([table.index(value) for value in values], np.uint32)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(topics, topics, st.randoms(use_true_random=False))
def test_a_rollback_returns_to_the_last_settled_state(before: Any, after: Any, rng: random.Random) -> None:
    driven, twin = Driven(), Driven()
    for batch in interleaved(before, rng, 10):
        driven.take(batch)
        twin.take(batch)
    driven.store.settle()
    digest, said = driven.store.digest(Book(0)), len(driven.events)
    for batch in interleaved(after, rng, 10):
        driven.take(batch)
        driven.store.sweep(130, 130)
    driven.store.evict(2)
    driven.store.rollback()
    assert driven.store.digest(Book(0)) == digest
    del driven.events[said:]
    for batch in interleaved(after, rng, 10):
        driven.take(batch)
        twin.take(batch)
    assert driven.store.digest(Book(0)) == twin.store.digest(Book(0))
    assert driven.events == twin.events


def test_a_rollback_undoes_what_grew_the_columns_and_the_index() -> None:
    batches = big_stream(3, 12_000, 9_000)
    driven, twin = Driven(), Driven()
    for at, batch in enumerate(batches):
        twin.take(batch)
        driven.store.settle()
        if at:
            driven.take(batches[at - 1])
            driven.store.rollback()
        driven.take(batch)
    driven.store.settle()
    assert driven.store.digest(Book(0)) == twin.store.digest(Book(0))
    assert driven.states() == twin.states()


def test_a_rollback_undoes_many_labels_of_one_prediction() -> None:
    driven = Driven()
    driven.take([P(IDS[0], 100, 0, 0, NEVER)])
    driven.take([L(IDS[0], 101, 0, 1.0, False, 0)])
    driven.store.settle()
    digest = driven.store.digest(Book(0))
    driven.take([L(IDS[0], 102, 0, 1.0 + (at > 20), False, 0) for at in range(40)])
    assert driven.store.digest(Book(0)) != digest
    driven.store.rollback()
    assert driven.store.digest(Book(0)) == digest


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_rollbacks_keep_rows_apart_while_the_columns_go_round_and_grow(seed: int) -> None:
    rng, driven, book, now = random.Random(seed), Driven(), Book(0), 0
    for step in range(120):
        driven.store.settle()
        digest = driven.store.digest(book)
        for _ in range(rng.choice([1, 1, 2])):
            size = rng.choice([50, 400, 400 + step * 10])
            batch = [P((rng.getrandbits(64), 0), now + i // 20, 0, i % 4, now - 1) for i in range(size)]
            driven.take(batch)
            driven.store.sweep(now + 50 - step % 30, now + 50)
        if rng.random() < 0.4:
            driven.store.rollback()
            assert driven.store.digest(book) == digest
        else:
            now += size // 20


def test_names_survive_a_restore_in_a_process_that_has_other_codes() -> None:
    live, book = Driven(), Book(5)
    live.take([L(IDS[0], 101, 2, 1.0, True, 2), L(IDS[0], 101, 1, 0.0, True, 1)])
    live.take([S(IDS[0], 101, 2, 3), S(IDS[0], 101, 2, 1)])
    live.take([P(IDS[1], 100, 4, 2, NEVER)])
    live.take([L(IDS[1], 101, 0, 2.0, True, 1)])
    restored = PendingStore(HORIZON, EARLY, lambda keys: book.import_("model", ["model 1"] * len(keys)))
    restored.restore(live.store.changes(Book(0)), book)
    key = int(book.import_("key", ["key 4"])[0])
    _, joined = restored.add_predictions(*prediction_rows([P(IDS[0], 100, key, 0, NEVER)]))
    assert joined.event.tolist() == [rows.FIRST, rows.SIGNALLED, rows.SIGNALLED]
    assert book.export("category", joined.new[:1].astype(int).tolist()) == ["category 1"]
    assert book.export("signal", joined.signal[1:].tolist()) == ["signal 3", "signal 1"]
    labeler = int(book.import_("labeler", ["labeler 0"])[0]) + 1
    again = restored.add_labels(label_rows([L(IDS[1], 102, 0, 0.0, False, labeler)]))
    assert again.event.tolist() == [rows.CORRECTION], "labeler 0 has the code + 1 = 1 in the first process"
    assert book.export("category", again.old.astype(int).tolist()) == ["category 2"]
    assert book.export("key", again.key.tolist()) == ["key 4"]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(topics, st.randoms(use_true_random=False), st.sampled_from([1, 700, 400_000]))
def test_a_store_restored_from_its_change_log_equals_the_live_one(
    topics: Any, rng: random.Random, max_bytes: int
) -> None:
    driven, log = Driven(), list[tuple[int, bytes]]()
    batches = interleaved(topics, rng, 10)
    for batch in batches:
        driven.take(batch)
        if rng.random() < 0.5:
            payloads = driven.store.changes(Book(0), max_bytes)
            driven.store.rollback() if rng.random() < 0.3 else log.extend((first(p), p) for p in payloads)
            driven.store.settle()
            driven.store.sweep(rng.choice([100, 115, 125]), 125)
    log += [(first(p), p) for p in driven.store.changes(Book(0), max_bytes)]
    driven.store.settle()
    low = max((at for at, (seq, _) in enumerate(log) if seq <= driven.store.oldest_needed()), default=0)
    book, restored = Book(5), Driven()
    restored.store.restore([payload for _, payload in log[low:]], book)
    if log:
        assert restored.store.oldest_needed() == driven.store.oldest_needed()
        assert restored.store.digest(book) == driven.store.digest(Book(0))


def first(payload: bytes) -> int:
    return unpack(payload, Payload).first


def test_change_log_records_stay_below_their_size_and_hold_every_row_once() -> None:
    driven, book = Driven(), Book(0)
    for batch in big_stream(4, 6_000, 20_000):
        driven.take(batch)
    payloads = driven.store.changes(book, 50_000)
    assert max(map(len, payloads)) <= 50_000
    assert [first(p) for p in payloads] == sorted({first(p) for p in payloads})
    restored = PendingStore(HORIZON, EARLY, model_of_key)
    restored.restore(payloads, other := Book(3))
    assert restored.digest(other) == driven.store.digest(book)
    driven.store.settle()
    assert driven.store.changes(book) == []


def test_a_restored_store_goes_on_as_the_live_one() -> None:
    batches, book = big_stream(5, 4_000, 2_000), Book(0)
    driven, restored = Driven(), Driven()
    for batch in batches[: len(batches) // 2]:
        driven.take(batch)
    restored.store.restore(driven.store.changes(book), SameBook())
    driven.store.settle()
    driven.events.clear()
    driven.duplicates.clear()
    for batch in batches[len(batches) // 2 :]:
        driven.take(batch)
        restored.take(batch)
    assert driven.events == restored.events
    assert driven.duplicates == restored.duplicates


class SameBook(Book):
    """Gives every name the code that it had."""

    def __init__(self) -> None:
        super().__init__(0)

    def import_(self, kind: str, values: Sequence[Any]) -> rows.U32:
        return np.array([int(value.split()[1]) for value in values], np.uint32)


def test_a_record_of_another_format_stops_the_restore() -> None:
    driven = Driven()
    driven.take([P(IDS[0], 100, 0, 0, NEVER)])
    other = unpack(driven.store.changes(Book(0))[0], Payload)
    other.v = 99
    with pytest.raises(FormatError, match="format 99"):
        PendingStore(HORIZON, EARLY, model_of_key).restore([pack(other)], Book(0))
