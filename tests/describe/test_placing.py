from __future__ import annotations

import random

import pytest

from stream_monitor.describe.placing import PARTITIONERS, Placed, murmur2, problem
from stream_monitor.kafka.memory import Record


def record(key: bytes | None, number: int) -> Record:
    return Record(b"", number, 0, 0, key, None)


def placed_by(name: str, count: int = 8, keys: int = 1_600, astray: float = 0.0) -> Placed:
    rng, found = random.Random(1), Placed()
    for i in range(keys):
        key = f"id-{i}".encode()
        number = rng.randrange(count) if rng.random() < astray else PARTITIONERS[name](key, count)
        found.look([record(key, number)], count)
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
    assert placed_by(name).partitioner == name
    assert placed_by(name).misplaced(name) == 0


def test_all_is_well_when_all_topics_are_keyed_alike() -> None:
    assert problem({"predictions": placed_by("crc32"), "labels": placed_by("crc32")}, "murmur2", False) is None


def test_different_partitioners_are_told() -> None:
    told = problem({"predictions": placed_by("murmur2"), "labels": placed_by("crc32")}, "murmur2", False)
    assert told is not None and "predictions by murmur2, labels by crc32" in told


def test_keys_that_are_no_ids_are_told_unless_a_rekey_stage_sees_to_them() -> None:
    seen = {"predictions": placed_by("murmur2"), "labels": placed_by("murmur2", astray=0.5)}
    told = problem(seen, "murmur2", False)
    assert told is not None and "keys of labels" in told
    assert problem(seen, "murmur2", True) is None


def test_a_record_without_a_key_is_misplaced() -> None:
    found = Placed()
    found.look([record(None, 3)], 8)
    assert found.misplaced("murmur2") == 1


def test_little_is_no_reason_to_speak() -> None:
    assert problem({"labels": placed_by("murmur2", keys=900, astray=1.0)}, "murmur2", False) is None


def test_predictions_placed_otherwise_than_the_settings_say_are_told_where_labels_are_rekeyed() -> None:
    told = problem({"predictions": placed_by("crc32")}, "murmur2", True)
    assert told is not None and "topics.partitioner" in told
