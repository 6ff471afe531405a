from __future__ import annotations

import random

import numpy as np
import pytest
from scipy.special import betainc

from stream_monitor.describe.key_placement import (
    LEVEL,
    PARTITIONERS,
    TOLERATED,
    KeyPlacement,
    murmur2,
    placement_problem,
)
from stream_monitor.kafka.in_memory import MemoryRecord


def record(key: bytes | None, number: int) -> MemoryRecord:
    return MemoryRecord(b"", number, 0, 0, key, None)


def placed_by(name: str, count: int = 8, keys: int = 1_600, astray: float = 0.0) -> KeyPlacement:
    rng, found = random.Random(1), KeyPlacement()
    for i in range(keys):
        key = f"id-{i}".encode()
        number = rng.randrange(count) if rng.random() < astray else PARTITIONERS[name](key, count)
        found.observe([record(key, number)], count)
    return found


@pytest.mark.parametrize(
    ("key", "hashed"),
    [(b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536),
     (b"a-little-bit-longer-string", -1486304829), (b"abc", 479470107)],
)  # fmt: skip
def test_murmur2_is_that_of_the_java_client(key: bytes, hashed: int) -> None:
    """Pairs that Kafka's own tests pin (UtilsTest.testMurmur2)."""
    assert murmur2(key) == hashed & 0xFFFFFFFF


@pytest.mark.parametrize("name", list(PARTITIONERS))
def test_the_partitioner_that_fits_is_named(name: str) -> None:
    assert placed_by(name).partitioners == {name}
    assert placed_by(name).misplaced(name) == 0


def test_all_is_well_when_all_topics_are_keyed_alike() -> None:
    assert (
        placement_problem({"predictions": placed_by("crc32"), "labels": placed_by("crc32")}, "murmur2", False) is None
    )


def test_different_partitioners_are_told() -> None:
    told = placement_problem({"predictions": placed_by("murmur2"), "labels": placed_by("crc32")}, "murmur2", False)
    assert told is not None and "predictions by murmur2, labels by crc32" in told


def test_keys_that_are_no_ids_are_told_unless_a_rekey_stage_sees_to_them() -> None:
    seen = {"predictions": placed_by("murmur2"), "labels": placed_by("murmur2", astray=0.5)}
    told = placement_problem(seen, "murmur2", False)
    assert told is not None and "keys of labels" in told
    assert placement_problem(seen, "murmur2", True) is None


def test_a_record_without_a_key_is_misplaced() -> None:
    found = KeyPlacement()
    found.observe([record(None, 3)], 8)
    assert found.misplaced("murmur2") == 1


def test_little_is_no_reason_to_speak() -> None:
    assert placement_problem({"labels": placed_by("murmur2", keys=190, astray=1.0)}, "murmur2", False) is None


def test_predictions_placed_otherwise_than_the_settings_say_are_told_where_labels_are_rekeyed() -> None:
    told = placement_problem({"predictions": placed_by("crc32")}, "murmur2", True)
    assert told is not None and "topics.partitioner" in told


@pytest.mark.parametrize("count", [2, 8, 64])
def test_mixed_partitioners_are_told_from_200_keys_on(count: int) -> None:
    seen = {"predictions": placed_by("murmur2", count, 200), "labels": placed_by("crc32", count, 200)}
    told = placement_problem(seen, "murmur2", False)
    assert told is not None and "predictions by murmur2, labels by crc32" in told
    assert placement_problem({role: placed_by("murmur2", count, 199) for role in seen}, "murmur2", False) is None


def test_few_misplaced_keys_are_not_worth_a_word_whenever_one_looks() -> None:
    """2,000 streams with half the tolerated share of misplaced keys, looked at every 16 keys from 200 to 2,000."""
    rng = np.random.default_rng(1)
    misplaced = np.cumsum(rng.random((2_000, 2_000)) < TOLERATED / 2, axis=1)
    keys = np.arange(200, 2_000, 16)
    told = betainc(np.maximum(misplaced[:, keys - 1], 1), keys - misplaced[:, keys - 1] + 1, TOLERATED) < LEVEL
    assert not told.any()
    seen = placed_by("murmur2", keys=200)
    for wrong, enough in ((12, False), (13, True)):
        seen.fits["murmur2"] = 200 - wrong
        assert (placement_problem({"labels": seen}, "murmur2", False) is not None) is enough


def test_keys_that_do_not_tell_partitioners_apart_raise_no_alarm() -> None:
    """A few ids again and again may lie where both partitioners put them."""
    key = next(
        key for key in (b"k%d" % i for i in range(1_000)) if len({p(key, 4) for p in PARTITIONERS.values()}) == 1
    )
    few = KeyPlacement()
    for _ in range(300):
        few.observe([record(key, PARTITIONERS["crc32"](key, 4))], 4)
    assert few.partitioners == set(PARTITIONERS)
    assert placement_problem({"predictions": few, "labels": placed_by("crc32", 4)}, "crc32", False) is None
