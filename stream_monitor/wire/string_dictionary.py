"""Texts of many packed lists, numbered: equal ones have one number, and are decoded once.

Deltas name the same few categories again and again; a string for each of them would be most of what reading costs.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from stream_monitor.errors import FormatError
from stream_monitor.kernels.id_hash import hash_id
from stream_monitor.kernels.json_scanner import PADDING
from stream_monitor.kernels.numba_backend import compiled, inlined
from stream_monitor.types import I64

_SPREAD = np.uint64(secrets.randbits(64) | 1)
"""Texts whose hashes are alike by intent do not all go to one place; where they go does not show."""


class Numbered(NamedTuple):
    """The texts of all lists, end to end."""

    number: I64
    """(texts,) of each text its place in `texts`."""
    first: I64
    """(lists + 1,): list i has the texts first[i] to first[i + 1]."""
    texts: list[str]
    """Distinct, in order of first sight."""


def number(lists: Sequence[bytes]) -> Numbered:
    """Number the texts of MessagePack arrays of strings. FormatError when one is none."""
    sizes = np.array([*map(len, lists)], np.int64)
    ends = np.cumsum(sizes)
    packed = np.frombuffer(b"".join([*lists, bytes(PADDING)]), np.uint8)
    counts = np.zeros(len(lists), np.int64)
    total = _count(packed, ends - sizes, ends, counts)
    if total < 0:
        raise FormatError("a packed list has no head")
    numbers, starts, stops = (np.empty(total, np.int64) for _ in range(3))
    slots = np.full(1 << max(2 * total, 1).bit_length(), -1, np.int64)
    distinct = _number(packed, (ends - sizes, ends, counts), (numbers, starts, stops), slots, _SPREAD)
    if distinct < 0:
        raise FormatError("a packed list holds something else than texts")
    cuts = zip(starts[:distinct].tolist(), stops[:distinct].tolist(), strict=True)
    try:
        texts = [packed[start:stop].tobytes().decode() for start, stop in cuts]
    except UnicodeDecodeError as error:
        raise FormatError(f"a packed list holds something else than texts: {error}") from error
    return Numbered(numbers, np.append(0, np.cumsum(counts)), texts)


@inlined
def _size(packed: Any, at: Any, width: Any) -> Any:
    size = np.int64(0)
    for byte in range(width):  # big-endian, as all of MessagePack
        size = size * 256 + np.int64(packed[at + byte])
    return size


@inlined
def _list_head(packed: Any, at: int) -> Any:
    """(texts of a list, bytes of its head); no bytes where there is none."""
    kind = packed[at]
    if 0x90 <= kind <= 0x9F:
        return np.int64(kind & 15), 1
    if kind == 0xDC:
        return _size(packed, at + 1, 2), 3
    if kind == 0xDD:
        return _size(packed, at + 1, 4), 5
    return 0, 0


@inlined
def _text_head(packed: Any, at: int) -> Any:
    """(bytes of a text, bytes of its head); no bytes where there is none."""
    kind = packed[at]
    if 0xA0 <= kind <= 0xBF:
        return np.int64(kind & 31), 1
    if 0xD9 <= kind <= 0xDB:
        width = 1 << np.int64(kind - 0xD9)
        return _size(packed, at + 1, width), 1 + width
    return 0, 0


@compiled
def _count(packed: Any, firsts: Any, ends: Any, counts: Any) -> int:
    """Read how many texts each list has; all of them, or -1 where one is no list or says more than it can hold."""
    total = 0
    for i in range(len(firsts)):
        count, head = _list_head(packed, firsts[i])
        if head == 0 or count > ends[i] - firsts[i] - head:
            return -1
        counts[i] = count
        total += count
    return total


@compiled
def _number(packed: Any, lists: Any, into: Any, slots: Any, spread: Any) -> int:
    """Number the texts; how many are distinct, or -1. `starts` and `stops` say where each of these was seen first."""
    firsts, ends, counts = lists
    numbers, starts, stops = into
    mask, high = np.uint64(len(slots) - 1), np.uint64(32)
    distinct = used = 0
    for i in range(len(firsts)):
        at = firsts[i] + _list_head(packed, firsts[i])[1]
        for _ in range(counts[i]):
            size, head = _text_head(packed, at)
            start, stop = at + head, at + head + size
            if head == 0 or at >= ends[i] or stop > ends[i]:
                return -1
            slot = ((hash_id(packed, start, stop)[0] * spread) >> high) & mask
            while True:
                known = slots[slot]
                if known < 0:
                    slots[slot] = known = distinct
                    starts[known], stops[known] = start, stop
                    distinct += 1
                    break
                if stops[known] - starts[known] == size:
                    same = 0
                    while same < size and packed[starts[known] + same] == packed[start + same]:
                        same += 1
                    if same == size:
                        break
                slot = (slot + np.uint64(1)) & mask
            numbers[used] = known
            used += 1
            at = stop
        if at != ends[i]:
            return -1
    return distinct
