"""The input and output of the store, as columns of equal length.

Codes are small integers that the caller assigns. A `CodeBook` turns them into names for a change log, and back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

from stream_monitor.types import F64, I64, Bool

U8 = npt.NDArray[np.uint8]
U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]

PREDICTION, LABEL, SIGNAL = 0, 1, 2
"""Kinds of row."""

FIRST, CORRECTION, REPEAT, DISAGREEMENT, AGREEMENT, SIGNALLED = range(6)
"""Kinds of joined events.

FIRST: the first label. CORRECTION, REPEAT: a label of the same labeler, or of none, with another or the same value.
DISAGREEMENT, AGREEMENT: a label of another labeler, with another or the same value. SIGNALLED: a signal that was not
counted before.
"""

NO_SIGNAL = 255
"""The signal code of an event that has no signal."""

NO_LABEL, ALONE = 0, 1
"""Fingerprints that are no label's. ALONE: a prediction that came so late that it makes no pairs."""

ANSWERED, LABELLED, LEFT_OUT = range(3)
"""Kinds of what becomes known of a pair of predictions. LEFT_OUT: their first labels are not one label."""

MAX_SIGNALS = 16
"""Signal codes are below this: a prediction has one bit for each."""


class CodeBook(Protocol):
    """The names of codes, which count from 0. Tables: `key`, `model`, `answer`, `labeler`, `signal`, `category`."""

    def export(self, kind: str, codes: Sequence[int]) -> list[Any]:
        """The names of codes, as values that msgpack can hold; called with distinct codes."""
        ...

    def import_(self, kind: str, values: Sequence[Any]) -> U32:
        """The codes of names; new names get new codes."""
        ...


class _Columns:
    """Same-length columns; subclasses are frozen dataclasses of arrays."""

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))  # type: ignore[arg-type]

    def take(self, at: I64 | Bool) -> Self:
        """Some of the rows, by position or by mask."""
        names = [field.name for field in fields(self)]  # type: ignore[arg-type]
        return type(self)(*(getattr(self, name)[at] for name in names))


@dataclass(frozen=True, slots=True)
class PredictionRows(_Columns):
    """n predictions in log order.

    `hash` and `check` are two independent hashes of the id, `ts` epoch milliseconds, `key` the code of
    (model, version), `answer` the code of (segments, predicted category),
    `value` the predicted number or NaN.
    """

    hash: U64
    check: U32
    ts: I64
    key: U32
    answer: U32
    value: F64
    score: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LabelRows(_Columns):
    """n labels in log order.

    `model` is a model code + 1, or 0 for every model of the id. `value` is a category code where `categorical` is True,
    else a number. `labeler` is a labeler code + 1, or 0 for none. `fingerprint` tells labels apart, in any process; it
    is above `ALONE`.
    """

    hash: U64
    check: U32
    ts: I64
    model: U32
    value: F64
    categorical: Bool
    labeler: U32
    fingerprint: U32


@dataclass(frozen=True, slots=True)
class SignalRows(_Columns):
    """n feedback signals in log order; `model` as for labels, `signal` below MAX_SIGNALS."""

    hash: U64
    check: U32
    ts: I64
    model: U32
    signal: U8
    value: F64


@dataclass(frozen=True, slots=True)
class Joined(_Columns):
    """Joined events, one entry for each: the prediction, the item, and the result.

    Entries are in the order of the call's rows, and for one row in the order of the items that it joined. So two calls
    return the same as one call with both batches.

    `ts`, `key`, `answer`, `value` and `score` belong to the prediction, `item_ts` to the label or signal. `old` is the
    label that was active before (NaN: none, or the event is a signal), `new` the value of the label or signal. Each is
    a category code where its `_categorical` flag is True.
    """

    event: U8
    ts: I64
    key: U32
    answer: U32
    value: F64
    score: npt.NDArray[np.float32]
    old: F64
    old_categorical: Bool
    new: F64
    new_categorical: Bool
    item_ts: I64
    signal: U8


@dataclass(frozen=True, slots=True)
class Pairs(_Columns):
    """What became known of pairs of predictions: of one id and model, and of two versions.

    `ts`, `key`, `answer` and `value` belong to the later prediction, those with `other_` to the earlier one. Of
    LABELLED pairs `label` is the first label of both, a category code where `categorical` is True, and `known` the
    latest of the three event times; of others it is that of the later prediction.
    """

    event: U8
    ts: I64
    key: U32
    answer: U32
    value: F64
    other_ts: I64
    other_key: U32
    other_answer: U32
    other_value: F64
    label: F64
    categorical: Bool
    known: I64
    hash: U64
    """Of the id."""


@dataclass(frozen=True, slots=True)
class Items(_Columns):
    """Labels or signals to apply, aligned with the predictions that they join."""

    ts: I64
    model: U32
    value: F64
    categorical: Bool
    labeler: U32
    signal: U8
    fingerprint: U32

    @classmethod
    def of_labels(cls, rows: LabelRows) -> Items:
        """The items of labels."""
        signal = np.full(len(rows), NO_SIGNAL, np.uint8)
        return cls(rows.ts, rows.model, rows.value, rows.categorical, rows.labeler, signal, rows.fingerprint)

    @classmethod
    def of_signals(cls, rows: SignalRows) -> Items:
        """The items of signals."""
        none = np.zeros(len(rows), np.uint32)
        return cls(rows.ts, rows.model, rows.value, none.astype(np.bool_), none, rows.signal.astype(np.uint8), none)


_ColumnsT = TypeVar("_ColumnsT", bound=_Columns)


def gather(parts: Sequence[_ColumnsT]) -> _ColumnsT:
    """Concatenate one or more results."""
    if len(parts) == 1:
        return parts[0]
    names = [field.name for field in fields(parts[0])]  # type: ignore[arg-type]
    return type(parts[0])(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
