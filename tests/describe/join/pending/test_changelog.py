"""The pending predictions over commits: the change log, and what is restored of it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.describe.join.pending import rows
from stream_monitor.describe.join.pending.changelog import Payload
from stream_monitor.describe.join.pending.store import PendingStore
from stream_monitor.errors import FormatError
from stream_monitor.wire.msgpack_arrays import pack, unpack
from tests.describe.join.pending.oracle import (
    EARLY,
    HORIZON,
    IDS,
    NEVER,
    Driven,
    L,
    P,
    S,
    big_stream,
    interleaved,
    label_rows,
    model_of_key,
    prediction_rows,
    topics,
)
from tests.effort import examples

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


def test_names_survive_a_restore_in_a_process_that_has_other_codes() -> None:
    live, book = Driven(), Book(5)
    live.take([L(IDS[0], 101, 2, 1.0, True, 2), L(IDS[0], 101, 1, 0.0, True, 1)])
    live.take([S(IDS[0], 101, 2, 3), S(IDS[0], 101, 2, 1)])
    live.take([P(IDS[1], 100, 4, 2, NEVER)])
    live.take([L(IDS[1], 101, 0, 2.0, True, 1)])
    restored = PendingStore(HORIZON, EARLY, lambda keys: book.import_("model", ["model 1"] * len(keys)))
    restored.restore(enumerate(live.store.changes(Book(0))), book)
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


@examples(33)
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
            log.extend((first(p), p) for p in payloads)
            driven.store.settle()
            driven.store.sweep(rng.choice([100, 115, 125]), 125)
    log += [(first(p), p) for p in driven.store.changes(Book(0), max_bytes)]
    driven.store.settle()
    low = max((at for at, (seq, _) in enumerate(log) if seq <= driven.store.oldest_needed()), default=0)
    book, restored = Book(5), Driven()
    restored.store.restore(log[low:], book)
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
    restored.restore(enumerate(payloads), other := Book(3))
    assert restored.digest(other) == driven.store.digest(book)
    driven.store.settle()
    assert driven.store.changes(book) == []


def test_a_restored_store_goes_on_as_the_live_one() -> None:
    batches, book = big_stream(5, 4_000, 2_000), Book(0)
    driven, restored = Driven(), Driven()
    for batch in batches[: len(batches) // 2]:
        driven.take(batch)
    restored.store.restore(enumerate(driven.store.changes(book)), SameBook())
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
        PendingStore(HORIZON, EARLY, model_of_key).restore([(0, pack(other))], Book(0))
