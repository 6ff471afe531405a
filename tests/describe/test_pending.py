"""The pending rows against an oracle: plain Python, a record at a time, straight from the rules."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_monitor.describe import pending as p
from stream_monitor.describe.codes import Answer, CodeBook, Key
from stream_monitor.describe.pending import Pending, Rows
from stream_monitor.describe.pending_log import changes, digest, restore

HORIZON, EARLY, LATENESS = 40, 10, 5
Record = tuple[str, int, int, int, int, float, int]  # (kind, id, ts, key or model, watermark, value, labeler or signal)


@dataclass
class Oracle:
    predictions: list[dict] = field(default_factory=list)
    items: list[Record] = field(default_factory=list)
    events: Counter = field(default_factory=Counter)
    duplicates: list[bool] = field(default_factory=list)

    def add(self, record: Record) -> None:
        if record[0] != "p":
            self.items.append(record)
            for row in self.predictions:
                self.apply(row, record)
            return
        _, name, ts, key, watermark, _, _ = record
        same = [r for r in self.predictions if r["id"] == name and r["key"] == key]
        again = any(r["ts"] >= watermark - HORIZON for r in same)
        self.duplicates.append(again)
        if not again:
            row = {"id": name, "ts": ts, "key": key, "label": None, "labeler": 0, "signals": set()}
            self.predictions.append(row)
            for item in self.items:
                self.apply(row, item)

    def apply(self, row: dict, item: Record) -> None:
        kind, name, ts, model, _, value, other = item
        if name != row["id"] or not -EARLY <= ts - row["ts"] <= HORIZON or (model and model - 1 != row["key"] % 2):
            return
        if kind == "s":
            if other in row["signals"]:
                return
            row["signals"].add(other)
            self.events[p.SIGNALLED, row["ts"], row["key"], ts, value, other] += 1
            return
        if row["label"] is None:
            event = p.FIRST
        elif other == 0 or row["labeler"] == 0 or other == row["labeler"]:
            event = p.REPEAT if value == row["label"] else p.CORRECTION
        else:
            event = p.AGREEMENT if value == row["label"] else p.DISAGREEMENT
        if event in (p.FIRST, p.CORRECTION):
            row["label"], row["labeler"] = value, other
        self.events[event, row["ts"], row["key"], ts, value, -1] += 1


def book_of() -> CodeBook:
    """Key k is model k % 2."""
    book = CodeBook()
    for k in range(4):
        book.keys.of(Key(f"m{k % 2}", f"v{k}"))
    book.models.array(["m0", "m1"])
    book.answers.of(Answer((), None))
    book.signals.array(["click", "redo", "skip"])
    book.labelers.array(["a", "b"])
    return book


def records(seed: int, count: int, ids: int) -> dict[str, list[Record]]:
    rng = random.Random(seed)
    logs: dict[str, list[Record]] = {"p": [], "l": [], "s": []}
    largest = -(2**60)
    for at in range(count):
        kind = rng.choice("pplls")
        ts = at + rng.randrange(-4, 5)
        name = rng.randrange(ids)
        if kind == "p":
            logs["p"].append((kind, name, ts, rng.randrange(4), largest - LATENESS, float(at), 0))
            largest = max(largest, ts)
        else:
            model = rng.choice([0, 0, 1, 2])
            logs[kind].append((kind, name, ts, model, 0, float(rng.randrange(3)), rng.randrange(3)))
    return logs


def rows_of(batch: list[Record]) -> Rows:
    kind = {"p": p.PREDICTION, "l": p.LABEL, "s": p.SIGNAL}[batch[0][0]]
    column = [np.array(values) for values in zip(*(record[1:] for record in batch), strict=True)]
    ids = np.stack([column[0].astype(np.uint64) % np.uint64(7), column[0].astype(np.uint64)], axis=1)  # hashes collide
    other = {p.LABEL: {"labeler": column[5]}, p.SIGNAL: {"answer": column[5]}}.get(kind, {})
    return Rows.make(kind, ids, column[1].astype(np.int64), column[2].astype(np.int64), column[4], **other)


def put(store: Pending, batch: list[Record]) -> tuple[list[bool], Counter]:
    if batch[0][0] == "p":
        duplicate, joined = store.add_predictions(rows_of(batch), np.array([record[4] for record in batch]))
        again = duplicate.tolist()
    else:
        joined, again = store.add_items(rows_of(batch)), []
    columns = (joined.event, joined.ts, joined.key, joined.item_ts, joined.label, joined.signal)
    return again, Counter(zip(*(column.tolist() for column in columns), strict=True))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.sampled_from([2, 5, 30]))
def test_any_interleaving_and_batching_of_the_three_logs_equals_the_oracle(seed: int, ids: int) -> None:
    logs = records(seed, 150, ids)
    oracle = Oracle()
    for record in (*logs["p"], *logs["l"], *logs["s"]):
        oracle.add(record)
    rng = random.Random(seed + 1)
    book = book_of()
    store, events, duplicates = Pending(HORIZON, EARLY, book.model_of_key), Counter(), []
    log: list[bytes] = []
    while any(logs.values()):
        kind = rng.choice([kind for kind, rest in logs.items() if rest])
        size = rng.randrange(1, 30)
        batch, logs[kind] = logs[kind][:size], logs[kind][size:]
        again, found = put(store, batch)
        duplicates += again
        events += found
        if rng.random() < 0.4:
            log += [payload for _, payload in changes(store, book)]
            store.settle()
    assert duplicates == oracle.duplicates
    assert events == oracle.events
    log += [payload for _, payload in changes(store, book)]
    store.settle()
    other_book = CodeBook()
    copy = Pending(HORIZON, EARLY, other_book.model_of_key)
    restore(copy, other_book, log)
    assert digest(copy, other_book) == digest(store, book)


def test_a_sweep_keeps_what_a_timely_label_can_still_join() -> None:
    book = book_of()
    store = Pending(HORIZON, EARLY, book.model_of_key)
    put(store, [("p", i, i, 0, -(2**60), 0.0, 0) for i in range(100)])
    store.settle()
    store.sweep(input_watermark=200, label_watermark=90)
    assert len(store) == 50  # 0 … 49 are more than a horizon before 90
    _, events = put(store, [("l", i, 90, 0, 0, 1.0, 0) for i in range(50, 100)])
    assert sum(events.values()) == 50


def test_a_producer_that_gives_every_prediction_the_same_id_is_counted_and_stays_fast() -> None:
    book = book_of()
    store = Pending(HORIZON, EARLY, book.model_of_key)
    started = time.process_time()
    again, _ = put(store, [("p", 1, 5, 0, 0, 0.0, 0)] * 50_000)
    assert (sum(again), len(store)) == (49_999, 1)
    assert time.process_time() - started < 5


def test_signal_names_beyond_the_bound_do_not_stop_a_takeover() -> None:
    book = book_of()
    store = Pending(HORIZON, EARLY, book.model_of_key)
    put(store, [("p", 1, 5, 0, 0, 0.0, 0)])
    put(store, [("s", 1, 6, 0, 0, 1.0, 0)])
    log = [payload for _, payload in changes(store, book)]
    crowded = CodeBook()
    crowded.signals.array([f"name{i}" for i in range(p.MAX_SIGNALS)])
    copy = Pending(HORIZON, EARLY, crowded.model_of_key)
    restore(copy, crowded, log)
    assert len(copy) == 2
