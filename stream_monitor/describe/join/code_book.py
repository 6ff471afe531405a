"""The code book: small integers for the names in columns of pending rows; change logs hold the names themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any
from zlib import crc32

import msgspec
import numpy as np
import numpy.typing as npt

from stream_monitor.describe.join.pending.rows import ALONE, U32
from stream_monitor.types import F64, I64, Bool


class Interner:
    """Gives hashable values codes, in order of first occurrence."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._codes: dict[Any, int] = {}

    def of(self, value: Any) -> int:
        """The code of a value; a new value gets the next code."""
        code = self._codes.get(value)
        if code is None:
            code = self._codes[value] = len(self.values)
            self.values.append(value)
        return code

    def find(self, value: Any) -> int | None:
        """The code of a value, None if it has none."""
        return self._codes.get(value)

    def array(self, values: Iterable[Any]) -> I64:
        """The codes of values; new values get the next codes."""
        return np.array([self.of(value) for value in values], np.int64)


class Key(msgspec.Struct, frozen=True, array_like=True):
    """The model and version that a prediction belongs to."""

    model: str
    version: str


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """A prediction's segments ("country=DE", …; None where a field is absent), and its class, if it has one."""

    segments: tuple[str | None, ...]
    category: str | None


_MIX = np.uint64(0x9E37_79B9_7F4A_7C15), np.uint64(0xD6E8_FEB8_6659_FD93)
_CATEGORY = 0xA5 << 40
"""Tells the hash of a name from the bits of a number."""

_STRUCTS: dict[str, type[msgspec.Struct]] = {"key": Key, "answer": Answer}


class CodeBook:
    """The code tables of one worker. It implements `pending.rows.CodeBook`, by which change logs store names."""

    def __init__(self) -> None:
        self.keys, self.answers = Interner(), Interner()
        self.categories, self.labelers, self.signals = Interner(), Interner(), Interner()
        self.models = Interner()
        self._hashes: list[int] = []
        """Of the names of categories, by code."""
        self._like: dict[str, list[bool]] = {}
        """By pattern of names of models: whether the model of each key matches."""
        self._tables = {
            "key": self.keys, "model": self.models, "answer": self.answers,
            "labeler": self.labelers, "signal": self.signals, "category": self.categories,
        }  # fmt: skip

    def export(self, kind: str, codes: Sequence[int]) -> list[Any]:
        """The names of codes."""
        values = self._tables[kind].values
        return [values[code] for code in codes]

    def import_(self, kind: str, values: Sequence[Any]) -> npt.NDArray[np.uint32]:
        """The codes of exported names."""
        if kind in _STRUCTS:
            values = msgspec.convert(values, list[_STRUCTS[kind]])  # type: ignore[valid-type]
        return self._tables[kind].array(values).astype(np.uint32)

    def keys_like(self, pattern: str, keys: npt.NDArray[Any]) -> Bool:
        """Which key codes are of models whose names match a pattern."""
        known = self._like.setdefault(pattern, [])
        known.extend(fnmatchcase(key.model, pattern) for key in self.keys.values[len(known) :])
        return np.array(known, np.bool_)[keys] if len(keys) else np.zeros(0, np.bool_)

    def fingerprints(self, ts: I64, value: F64, categorical: Bool) -> U32:
        """Fingerprints of n labels, the same in any process: hashes of event time, value and kind, above `ALONE`."""
        names = self.categories.values[len(self._hashes) :]
        self._hashes.extend(crc32(name.encode(errors="surrogatepass")) for name in names)
        bits = np.where(categorical, 0.0, value + 0.0).view(np.uint64).copy()
        codes = value[categorical].astype(np.int64).tolist()
        bits[categorical] = np.array([self._hashes[code] for code in codes], np.uint64) + np.uint64(_CATEGORY)
        mixed = (ts.astype(np.uint64) * _MIX[0] ^ bits) * _MIX[1]
        mixed = (mixed ^ (mixed >> np.uint64(29))) * _MIX[0]
        return np.maximum((mixed >> np.uint64(32)).astype(np.uint32), np.uint32(ALONE + 1))

    def model_of_key(self, keys: npt.NDArray[Any]) -> I64:
        """The model codes of key codes."""
        table = np.array([self.models.of(key.model) for key in self.keys.values], np.int64)
        models: I64 = table[keys]
        return models
