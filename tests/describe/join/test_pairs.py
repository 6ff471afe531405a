"""Requests that two versions answered: what describe publishes of them, against plain Python and in any order."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.config.settings import Settings
from stream_monitor.describe.join.pending.pairs import MOST_PARTNERS
from stream_monitor.describe.stage import Describe
from stream_monitor.file_replay import Driver
from stream_monitor.profiles.bin_catalog import BinCatalog
from stream_monitor.profiles.pairs import KINDS
from stream_monitor.profiles.records import MAX_RECORD_BYTES
from stream_monitor.verify.expected import Expected
from stream_monitor.verify.pairs import PairCounts
from stream_monitor.verify.published import Published
from tests.effort import examples
from tests.schedules import run_cluster
from tests.streams import T0, Event, mirrored, quick_settings, shop

RULES = quick_settings(segments=[["country"]])
PATIENT = quick_settings(time={"pane": "1s", "windows": ["10s"], "allowed_lateness": "10m", "max_skew": "1s"})
"""Rules by which nothing is dropped before its partners can have come."""
HORIZON = RULES.join.label_horizon


def described(batches: Sequence[Sequence[tuple[str, bytes]]], rules: Settings = RULES) -> PairCounts:
    """What describe publishes, a commit a batch."""
    driver, told = Driver(rules, BinCatalog()), Published()
    for batch in batches:
        driver.feed(batch)
        for output in driver.commit(()):
            if output.role == "profiles":
                told.feed("profiles", output.value)
    return plain(told.pairs)


def demanded(events: Sequence[tuple[str, bytes]], rules: Settings = RULES) -> PairCounts:
    """What plain Python says: all predictions first, then labels."""
    truth = Expected(rules)
    for role in ("predictions", "labels"):
        for offset, raw in enumerate(raw for its, raw in events if its == role):
            truth.feed(role, 0, offset, 2**52, raw)
    return plain(truth.pairs.counts)


def plain(counts: PairCounts) -> PairCounts:
    return {key: {at: n for at, n in bins.items() if n} for key, bins in counts.items() if any(bins.values())}


def total(counts: PairCounts, kind: str) -> int:
    return sum(sum(bins.values()) for key, bins in counts.items() if key[-1] == kind and key[3] == "all")


def prediction(id_: str, version: str, ts: int, answer: Any, model: str = "m") -> tuple[str, bytes]:
    event = {"id": id_, "model": model, "version": version, "ts": ts, "prediction": answer}
    return "predictions", json.dumps(event).encode()


def label(id_: str, ts: int, value: Any) -> tuple[str, bytes]:
    return "labels", json.dumps({"id": id_, "ts": ts, "label": value}).encode()


def in_any_order(events: Sequence[tuple[str, bytes]], rng: random.Random) -> Iterator[list[tuple[str, bytes]]]:
    """Each topic in its own order, in batches of any size."""
    topics = [[event for event in events if event[0] == role] for role in ("predictions", "labels")]
    while topics := [topic for topic in topics if topic]:
        topic, size = rng.choice(topics), rng.choice([1, 2, 3, 10])
        yield topic[:size]
        del topic[:size]


# Times before, at and beyond the borders: of the horizon, of half of it, and of grains.
OFFSETS = sorted(
    {0, 1, 9_999, 10_000, *(HORIZON // 2 + d for d in (-1, 0, 1)), *(HORIZON + d for d in (-1, 0, 1)), -5_000}
)
answers = st.sampled_from([True, False, "1", "a", None, 0, 1, 2.5, 4.0, 1e300])
requests = st.builds(
    prediction, st.sampled_from("xy"), st.sampled_from(["1", "2", "10"]), st.sampled_from([T0 + d for d in OFFSETS]),
    answers, st.sampled_from(["m", "n"]),
)  # fmt: skip
truths = st.builds(
    label, st.sampled_from("xy"), st.sampled_from([T0 + d for d in [*OFFSETS, 2 * HORIZON]]),
    st.sampled_from([True, "a", 1, 4.0, -1e300]),
)  # fmt: skip


@examples(150)
@given(st.lists(requests, max_size=12), st.lists(truths, max_size=8), st.randoms(use_true_random=False))
def test_pairs_are_those_of_plain_python_however_topics_and_batches_lie(
    predictions: list[tuple[str, bytes]], labels: list[tuple[str, bytes]], rng: random.Random
) -> None:
    events = [*predictions, *labels]
    wanted = demanded(events, PATIENT)
    assert described(list(in_any_order(events, rng)), PATIENT) == wanted
    assert described([events], PATIENT) == wanted


@pytest.mark.parametrize("seed", range(3))
def test_the_pairs_of_a_stream_are_those_that_the_input_demands(seed: int) -> None:
    events = [(event.role, event.raw) for event in mirrored(shop(seed))]
    rng = random.Random(seed)
    found = described([events[at : at + 37] for at in range(0, len(events), 37)])
    assert found == demanded(events) == described(list(in_any_order(events, rng)))
    assert min(total(found, kind) for kind in ("answers", "errors", "distances")) > 100


@pytest.mark.parametrize(("seed", "crashes"), [(1, 0.0), (2, 0.03), (3, 0.03)])
def test_no_crash_and_no_rebalance_shows_in_the_sums(seed: int, crashes: float) -> None:
    events = mirrored(shop(3))
    cluster, told = run_cluster(events, RULES, (3, 2), seed, crashes), Published()
    for _, value in cluster.broker.values("profiles"):
        told.feed("profiles", value)
    assert plain(told.pairs) == demanded([(event.role, event.raw) for event in events])


def test_the_first_labels_of_a_pair_must_be_one_label() -> None:
    """The horizon of the first prediction ends between two labels; the later prediction comes first, or last."""
    one, two = prediction("x", "1", T0, True), prediction("x", "2", T0 + 20_000, False)
    late = label("x", T0 + HORIZON + 5_000, True)
    early = label("x", T0 - 9_000, True)
    for labels, kind in (
        ([early, late], "left_out"),
        ([late, early], "left_out"),
        ([label("x", T0 + 21_000, True)], "errors"),
    ):
        for events in ([one, two, *labels], [*labels, two, one], [one, *labels, two]):
            found = described([[event] for event in events], PATIENT)
            assert (total(found, "errors"), total(found, "left_out")) == ((1, 0) if kind == "errors" else (0, 1))
            assert total(found, "answers") == 1


def test_a_correction_changes_nothing_that_was_known() -> None:
    events = [prediction("x", "1", T0, True), label("x", T0 + 1, True), label("x", T0 + 2, False)]
    found = described([[event] for event in [*events, prediction("x", "2", T0 + 3, False)]])
    (cells,) = (bins for key, bins in found.items() if key[-1] == "errors")
    assert cells == {1: 1}, "the first version is right by the first label, the second wrong"


def test_cells_are_about_the_versions_whatever_came_first() -> None:
    found = described(
        [[prediction("x", "9", T0, 5.0), prediction("x", "10", T0 + 11_000, 1.0)], [label("x", T0 + 2_000, 1.0)]]
    )
    (key,) = (key for key in found if key[-1] == "distances")
    start = T0 - T0 % 10_000
    assert key == ("m", "10", "9", "all", start + 10_000, start, start + 10_000, "distances")
    assert found[key] == {33: 1}, "version 9 is 4 farther from the label than version 10: 2**2 has the number 33"


def test_a_prediction_makes_pairs_with_the_last_of_its_id_and_the_others_are_counted() -> None:
    driver, told = Driver(RULES, BinCatalog()), Published()
    driver.feed([prediction("x", f"v{at}", T0, True) for at in range(MOST_PARTNERS + 4)])
    for output in driver.commit(()):
        told.feed("profiles", output.value) if output.role == "profiles" else None
    each = sum(min(at, MOST_PARTNERS) for at in range(MOST_PARTNERS + 4))
    assert total(plain(told.pairs), "answers") == each
    assert driver.describe.stats().unpaired == 3


def test_a_prediction_that_comes_too_late_for_its_partner_makes_no_pair() -> None:
    rules = quick_settings()
    before = [prediction("x", "1", T0, True), prediction("clock", "1", T0 + HORIZON // 2 + 6_000, True)]
    events = [*before, prediction("x", "2", T0, True)]
    assert total(described([events], rules), "answers") == total(demanded(events, rules), "answers") == 0
    in_time = [before[0], prediction("clock", "1", T0 + HORIZON // 2 + 4_000, True), events[-1]]
    assert total(described([in_time], rules), "answers") == total(demanded(in_time, rules), "answers") == 1


def test_traffic_without_shared_ids_publishes_nothing_of_pairs() -> None:
    events: list[Event] = shop(1)
    assert described([[(event.role, event.raw) for event in events]]) == {}


def test_what_a_worker_goes_on_from_knows_first_labels() -> None:
    """The rows of a change log tell the second half of a pair which label was the first of the other one."""
    driver = Driver(RULES, BinCatalog())
    driver.feed([prediction("x", "1", T0, "a"), label("x", T0 + 1, "b"), label("x", T0 + 2, "a")])
    log = [output.value for output in driver.commit(()) if output.role == "pending"]
    stage: Describe = Driver(RULES, BinCatalog()).describe
    stage.joiner.revoke(0)
    stage.joiner.book.categories.array(["z", "y"])  # codes are others than those of the first worker
    stage.joiner.assign(0, list(enumerate(log)))
    ring = stage.joiner.stores[0]._ring
    prints = ring.take("fingerprint", np.arange(ring.tail, ring.head)).tolist()
    assert len(set(prints)) == 2 and min(prints) > 1


def test_kinds_are_told_by_their_number() -> None:
    assert KINDS == ("answers", "errors", "distances", "left_out")


def test_sums_of_one_commit_are_split_where_they_would_be_larger_than_a_record() -> None:
    """Long names, and a grain for each of the requests: of pairs, and of performance."""
    rules = quick_settings(
        join={"grain": "1s"}, time={"pane": "1s", "windows": ["10s"], "allowed_lateness": "2h", "jump": "3h"}
    )
    names = [f"{version}-" + "\U0001f600" * 100 for version in ("a", "b")]
    requests = [(f"r{i}", T0 + 1_000 * i) for i in range(1_500)]
    events = [prediction(id_, name, ts, True) for id_, ts in requests for name in names]
    events += [label(id_, ts, i % 3 > 0) for i, (id_, ts) in enumerate(requests)]
    driver, told, largest = Driver(rules, BinCatalog()), Published(), 0
    driver.feed(events)
    for output in driver.commit(()):
        if output.role == "profiles":
            largest = max(largest, len(output.value))
            told.feed("profiles", output.value)
    assert MAX_RECORD_BYTES / 3 < largest < 1.05 * MAX_RECORD_BYTES
    assert plain(told.pairs) == demanded(events, rules) and total(plain(told.pairs), "errors") == len(requests)
