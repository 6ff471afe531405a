"""The pending predictions against the oracle: joins, hostile input, and what may be let go."""

from __future__ import annotations

import random
import time
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.describe.join.pending import rows
from stream_monitor.describe.join.pending.rows import PredictionRows
from stream_monitor.describe.join.pending.store import PendingStore
from tests.describe.join.pending.oracle import (
    EARLY,
    HORIZON,
    IDS,
    NEVER,
    SPREAD,
    Driven,
    L,
    Oracle,
    P,
    S,
    big_stream,
    interleaved,
    model_of_key,
    oracle_of,
    prediction_rows,
    topics,
)
from tests.effort import examples

# --- the rules ---


@examples(100)
@given(topics, st.randoms(use_true_random=False), st.sampled_from([1, 4, 30]))
def test_the_store_says_what_the_oracle_says(topics: Any, rng: random.Random, most: int) -> None:
    batches = interleaved(topics, rng, most)
    oracle, driven = oracle_of(batches), Driven()
    for batch in batches:
        driven.take(batch)
    assert driven.duplicates == oracle.duplicates
    assert Counter(driven.events) == Counter(oracle.events)
    assert driven.states() == oracle.states()


@examples(50)
@given(topics, st.randoms(use_true_random=False))
def test_events_and_rows_do_not_depend_on_interleaving_and_batches(topics: Any, rng: random.Random) -> None:
    one, other = Driven(), Driven()
    for batch in interleaved(topics, rng, 30):
        one.take(batch)
    for batch in interleaved(topics, rng, 3):
        other.take(batch)
    assert Counter(one.events) == Counter(other.events)
    assert one.states() == other.states()


@examples(33)
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


@examples(50)
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
def test_the_work_for_a_flood_of_one_id_grows_with_its_events_and_what_waits_is_bounded(repeated: int) -> None:
    spent = [min(flooded(repeated, count) for _ in range(3)) for count in (25_000, 100_000)]
    assert spent[1] < 10 * spent[0]  # 4 where time grows with the events, 16 where with their square


def flooded(repeated: int, count: int) -> float:
    """CPU seconds of this process for a flood of so many events of one id."""
    driven = Driven()
    one: list[Any] = [P(IDS[2], 120, key, 0, NEVER) for key in (0, 1)]
    flood: dict[int, list[Any]] = {
        rows.PREDICTION: [P(IDS[2], 120, key, 0, NEVER) for key in range(count)],
        rows.LABEL: [L(IDS[2], 121, 0, i % 7, False, i % 3) for i in range(count)],
        rows.SIGNAL: [S(IDS[2], 121, 0, i % 16) for i in range(count)],
    }
    driven.take(one)
    batch = flood[repeated]
    inputs = prediction_rows(batch) if repeated == rows.PREDICTION else ()
    start = time.process_time()
    if repeated == rows.PREDICTION:
        driven.store.add_predictions(*inputs)
    else:
        driven.take(batch)
    spent = time.process_time() - start
    assert len(driven.store) <= 2 + 64
    assert driven.store.overflow == count - 64
    if repeated == rows.LABEL:
        assert len(driven.events) == 2 * count
        oracle = oracle_of([one, batch[:300]])
        assert Counter(driven.events[:600]) == Counter(oracle.events)
    return spent


# --- letting go ---


@examples(50)
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
    assert driven.store.sweep(125, 125, limit_rows=1) == 1
    assert driven.store.sweep(125, 120) == 0, "the label watermark has not passed the row's horizon"
    assert driven.store.sweep(125, 125) == 1
    assert len(driven.store) == 2
    driven.store.evict(10)
    assert driven.store.oldest_needed() == 5


def test_a_label_waits_until_no_prediction_that_is_not_late_can_meet_it() -> None:
    driven = Driven()
    driven.take([L(IDS[0], 105, 0, 1.0, False, 0)])
    assert driven.store.sweep(105 + EARLY, 105 + EARLY) == 0
    driven.take([P(IDS[0], 105 + EARLY, 0, 0, 105 + EARLY)])
    assert [event[0] for event in driven.events] == [rows.FIRST]
    assert driven.store.sweep(106 + EARLY, NEVER) == 1


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
