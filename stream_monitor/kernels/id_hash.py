"""128-bit hashes of prediction ids: the same for the bytes of a scanned event and the text of a decoded one.

Two lanes of multiply-and-fold over words of eight bytes, as wyhash does (Wang Yi, 2019): fast for short ids, and
spread evenly enough that two of 10^9 ids share all 96 bits that a row keeps with a probability of 10^-11. Not
cryptographic: who can send predictions could make two of his own ids meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from stream_monitor.kernels.json_scanner import PADDING, high_and_low, tail
from stream_monitor.kernels.numba_backend import compiled, inlined, load8

_A, _B = np.uint64(0xA0761D6478BD642F), np.uint64(0xE7037ED1A0B428DB)
_C, _D = np.uint64(0x8EBC6AF09C88C6E3), np.uint64(0x589965CC75374CC3)


@inlined
def fold(a: Any, b: Any) -> Any:
    """The two halves of a 128-bit product, one upon the other."""
    high, low = high_and_low(a, b)
    return high ^ low


@compiled
def hash_id(buffer: Any, start: int, end: int) -> Any:
    """The two words of the hash of some bytes; `PADDING` bytes must follow."""
    size = np.uint64(end - start)
    first, second = _A ^ size, _B + size
    while start < end:
        word = load8(buffer, start)
        if end - start < 8:
            word = tail(word, end - start)
        first, second = fold(first ^ word, _C), fold(second ^ word, _D)
        start += 8
    return fold(first ^ _D, second ^ _A), fold(second ^ _C, first ^ _B)


@compiled
def hash_all(buffer: Any, starts: Any, ends: Any, hashes: Any) -> None:
    """Hash the bytes starts[i] to ends[i] of a buffer into hashes[i]."""
    for i in range(len(starts)):
        hashes[i, 0], hashes[i, 1] = hash_id(buffer, starts[i], ends[i])


def hash_ids(ids: Sequence[str]) -> npt.NDArray[np.uint64]:
    """Hashes of prediction ids, (n, 2)."""
    raw = [name.encode() for name in ids]
    ends = np.cumsum(np.fromiter(map(len, raw), np.int64, len(raw)))
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int64) if len(raw) else ends
    hashes = np.empty((len(raw), 2), np.uint64)
    hash_all(np.frombuffer(b"".join([*raw, bytes(PADDING)]), np.uint8), starts, ends, hashes)
    return hashes
