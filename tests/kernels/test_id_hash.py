"""Hashes of ids: the same from bytes and text, and spread like random words."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.kernels.id_hash import hash_all, hash_ids
from stream_monitor.kernels.json_scanner import PADDING
from tests.effort import examples


@examples(67)
@given(st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=20), st.binary(max_size=9))
def test_what_stands_around_an_id_does_not_matter(ids: list[str], around: bytes) -> None:
    raw = [name.encode("utf-8", "replace") for name in ids]
    texts = [name.decode() for name in raw]
    lengths = np.array([len(around) + len(name) for name in raw])
    ends = np.cumsum(lengths)
    buffer = np.frombuffer(b"".join(around + name for name in raw) + around + bytes(PADDING), np.uint8)
    found = np.empty((len(raw), 2), np.uint64)
    hash_all(buffer, ends - np.array([len(name) for name in raw]), ends, found)
    assert (found == hash_ids(texts)).all()


def test_neither_word_of_two_ids_is_equal() -> None:
    ids = [f"{i}" for i in range(300_000)] + [f"req-{i:016x}-eu" for i in range(300_000)]
    ids += ["\0" * i for i in range(1, 64)]  # only their length differs
    hashes = hash_ids(ids)
    for word in range(2):
        assert len(np.unique(hashes[:, word])) == len(ids)
    # 600,000 words of 32 bits: 42 pairs are expected to meet by chance, 100 are nine standard deviations away.
    assert len(ids) - len(np.unique(hashes[:, 1].astype(np.uint32))) < 100


def test_each_bit_of_an_id_changes_half_of_the_bits_of_its_hash() -> None:
    rng = np.random.default_rng(1)
    for size in (1, 7, 8, 9, 16, 36):
        raw = rng.integers(1, 127, size).astype(np.uint8)
        changed = [raw.copy() for _ in range(7 * size)]
        for i, one in enumerate(changed):
            one[i // 7] ^= 1 << (i % 7)
        hashes = hash_ids([raw.tobytes().decode(), *(one.tobytes().decode() for one in changed)])
        flipped = np.unpackbits((hashes[1:] ^ hashes[:1]).view(np.uint8), axis=1).mean()
        assert abs(flipped - 0.5) < 6 * 0.5 / np.sqrt(128 * len(changed))
