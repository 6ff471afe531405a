"""The code book: small integers for the names in columns of pending rows; change logs hold the names themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from stream_monitor.types import I64, Bool


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


_STRUCTS: dict[str, type[msgspec.Struct]] = {"key": Key, "answer": Answer}


class CodeBook:
    """The code tables of one worker. It implements `pending.rows.CodeBook`, by which change logs store names."""

    def __init__(self) -> None:
        self.keys, self.answers = Interner(), Interner()
        self.categories, self.labelers, self.signals = Interner(), Interner(), Interner()
        self.models = Interner()
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

    def model_of_key(self, keys: npt.NDArray[Any]) -> I64:
        """The model codes of key codes."""
        table = np.array([self.models.of(key.model) for key in self.keys.values], np.int64)
        models: I64 = table[keys]
        return models
