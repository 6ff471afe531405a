"""The scanner's tables: numbers for the names of fields, features and tags, and codes for texts.

The key table learns names from events that the decoder read. The scanner gives texts their codes. The string table
replaces each text of a hashed field by its token when the text is first seen, so that no later step sees the text.
"""

from __future__ import annotations

import numpy as np

from stream_monitor.events.privacy import Privacy
from stream_monitor.kernels import json_scanner as scan
from stream_monitor.kernels.json_scanner import TOP
from stream_monitor.types import F64

MAX_KEYS = 1 << 14
KEY_BYTES = 1 << 20
MAX_STRINGS = 1 << 15
STRING_BYTES = 1 << 22
"""Room for four times the texts of the largest event."""


class KeyTable:
    """Numbers for the names of fields, features and tags."""

    def __init__(self, privacy: Privacy) -> None:
        self._privacy = privacy
        self.hashed: dict[int, str] = {}
        """The names of hashed features and tags, by number."""
        self.names: list[tuple[int, str]] = []
        self.numbers: dict[tuple[int, str], int] = {}
        self._used = 0
        self.arrays = scan.Keys(
            slots=np.full(4 * MAX_KEYS, -1, np.int32),
            start=np.zeros(MAX_KEYS, np.int32),
            length=np.zeros(MAX_KEYS, np.int32),
            place=np.zeros(MAX_KEYS, np.int8),
            arena=np.zeros(KEY_BYTES + scan.PADDING, np.uint8),
            follower=np.zeros(MAX_KEYS + 1, np.int32),
            seen=np.zeros(MAX_KEYS, np.int64),
        )
        for name in scan.FIELDS:
            self.add(TOP, name)

    def add(self, place: int, name: str) -> None:
        """Learn a name, if there is room."""
        raw = np.frombuffer(name.encode() + bytes(scan.PADDING), np.uint8)[: -scan.PADDING]
        number, used, arrays = len(self.names), self._used, self.arrays
        if (place, name) in self.numbers or number >= MAX_KEYS or used + len(raw) > KEY_BYTES:
            return
        slot = int(scan.hash_bytes(raw, 0, len(raw), place)) % len(arrays.slots)
        while arrays.slots[slot] >= 0:
            slot = (slot + 1) % len(arrays.slots)
        arrays.slots[slot] = number
        arrays.start[number], arrays.length[number], arrays.place[number] = used, len(raw), place
        arrays.arena[used : used + len(raw)] = raw
        self.names.append((place, name))
        self.numbers[place, name] = number
        if place != TOP and name in self._privacy.hashed:
            self.hashed[number] = name
        self._used += len(raw)


class StringTable:
    """Codes for the texts of each key, with their names and numbers of characters."""

    def __init__(self, keys: KeyTable, privacy: Privacy) -> None:
        self._keys, self._privacy = keys, privacy
        self.arrays = scan.Strings(
            slots=np.empty(2 * MAX_STRINGS, np.int32),
            key=np.zeros(MAX_STRINGS, np.int32),
            start=np.zeros(MAX_STRINGS, np.int32),
            length=np.zeros(MAX_STRINGS, np.int32),
            code=np.zeros(MAX_STRINGS, np.int32),
            chars=np.zeros(MAX_STRINGS, np.int32),
            arena=np.zeros(STRING_BYTES + scan.PADDING, np.uint8),
            codes=np.empty(MAX_KEYS, np.int32),
            used=np.zeros(3, np.int64),
        )
        self.forget()

    def forget(self) -> None:
        """Forget all texts."""
        self.arrays.slots[:] = -1
        self.arrays.codes[:] = 0
        self.arrays.used[:2] = 0
        self._named = 0
        self._names: dict[int, list[str]] = {}
        self._chars: dict[int, list[int]] = {}
        self._lengths: dict[int, tuple[F64, int]] = {}

    def learn(self) -> None:
        """Take in the texts that the scanner has added."""
        arrays, first, last = self.arrays, self._named, int(self.arrays.used[0])
        if first == last:
            return
        keys, chars = arrays.key[first:last].tolist(), arrays.chars[first:last].tolist()
        starts, lengths = arrays.start[first:last].tolist(), arrays.length[first:last].tolist()
        raw = arrays.arena[starts[0] : starts[-1] + lengths[-1]].tobytes()
        for key, start, length, count in zip(keys, starts, lengths, chars, strict=True):
            offset = start - starts[0]
            text = raw[offset : offset + length].decode()
            name = self._keys.hashed.get(key)
            self._names.setdefault(key, []).append(text if name is None else self._privacy.token(name, text))
            self._chars.setdefault(key, []).append(count)
            self._lengths.pop(key, None)
        self._named = last

    def names(self, key: int) -> list[str]:
        """The texts of a key in order of code; tokens in their place if the key's field is hashed."""
        return self._names.get(key, [])

    def lengths(self, key: int) -> tuple[F64, int]:
        """Number of characters of each text of a key, with a NaN appended, and the largest of these numbers."""
        known = self._lengths.get(key)
        if known is None:
            chars = self._chars.get(key, [])
            known = self._lengths[key] = np.array([*chars, np.nan]), max(chars, default=0)
        return known
