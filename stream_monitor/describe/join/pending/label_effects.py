"""The effects of labels and signals on the predictions that they join."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from stream_monitor.describe.join.pending.absent_signals import AbsentSignal
from stream_monitor.describe.join.pending.id_groups import Groups, group_rows, rounds
from stream_monitor.describe.join.pending.ring_buffer import CATEGORICAL, HAS_LABEL, JOINED, Ring
from stream_monitor.describe.join.pending.rows import (
    AGREEMENT,
    CORRECTION,
    DISAGREEMENT,
    FIRST,
    NO_LABEL,
    NO_SIGNAL,
    REPEAT,
    SIGNALLED,
    U8,
    Items,
    Joined,
)
from stream_monitor.types import F64, I64, Bool

_MANY = 16
"""Most labels of one prediction in a call that are applied in rounds over all predictions; others one by one."""

CHANGING = ("label", "labeler", "bits", "flags", "fingerprint")
"""Columns of a prediction that change after it was inserted."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The rule by which an item joins: -early_ms <= item ts - prediction ts <= horizon_ms, and its model fits.

    A signal of `absent` joins only before its absence counts.
    """

    horizon_ms: int
    early_ms: int
    model_of_key: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
    absent: Sequence[AbsentSignal] = ()

    def joins(self, ts: I64, key: npt.NDArray[Any], items: Items) -> Bool:
        """Which items join their predictions, given the ts and key of each prediction."""
        gap = items.ts - ts
        keep = (gap >= -self.early_ms) & (gap <= self.horizon_ms)
        for signal in self.absent:
            keep &= ~(signal.concerns(key, items.signal) & (gap > signal.after_ms))
        named = np.flatnonzero(keep & (items.model > 0))
        if len(named):
            models = self.model_of_key(key[named]).astype(np.int64)
            keep[named] = models == items.model[named].astype(np.int64) - 1
        return keep

    def counted_at(self, ts: I64, key: npt.NDArray[Any], items: Items) -> I64:
        """The event times of items; of a signal whose absence is a 0, the moment at which that would be known."""
        counted = items.ts
        for signal in self.absent:
            counted = np.where(signal.concerns(key, items.signal), ts + signal.after_ms, counted)
        return counted


class FirstLabels(NamedTuple):
    """First labels: sequence number of the prediction, event time, value, and whether the value is a code."""

    row: I64
    ts: I64
    value: F64
    categorical: Bool

    def take(self, at: I64) -> FirstLabels:
        """Some of them, by position."""
        return FirstLabels(self.row[at], self.ts[at], self.value[at], self.categorical[at])


class Applied(NamedTuple):
    """The joined events of a call, and the first labels among them."""

    joined: Joined
    first: FirstLabels


class Applier:
    """Applies labels and signals to predictions, and remembers which predictions changed since the last commit."""

    def __init__(self, ring: Ring, rules: Rules) -> None:
        self._ring, self._rules = ring, rules
        self._updated: list[I64] = []
        self._settled = ring.head

    # --- commits ---

    def settle(self) -> None:
        """The commit succeeded: forget the changes."""
        self._updated.clear()
        self._settled = self._ring.head

    def updated(self) -> I64:
        """Rows of earlier commits that have changed since the last one, in order."""
        return np.unique(np.concatenate([np.empty(0, np.int64), *self._updated]))

    def _remember(self, rows: I64) -> None:
        """Note that rows change. It skips rows newer than the last commit, which the change log stores whole."""
        rows = rows[rows < self._settled]
        if len(rows):
            self._updated.append(rows)

    # --- joining ---

    def joins(self, row: I64, items: Items) -> Bool:
        """Which items join the predictions `row`, one for each item."""
        return self._rules.joins(self._ring.take("ts", row), self._ring.take("key", row), items)

    def mark_joined(self, items: I64) -> I64:
        """Note that these pending labels and signals have joined a prediction; return those that had not before."""
        items = np.unique(items)
        flags = self._ring.take("flags", items)
        new = (flags & JOINED) == 0
        items, flags = items[new], flags[new] | np.uint8(JOINED)
        self._remember(items)
        self._ring.columns["flags"].put(items, flags)
        return items

    def apply(self, row: I64, items: Items) -> Applied:
        """Apply items to the predictions `row` that they join; the items of one prediction are in log order.

        Labels and signals may be mixed in any way, because they do not affect each other.
        """
        ts, key = self._ring.take("ts", row), self._ring.take("key", row)
        effects = _Effects.none(len(row))
        signals = np.flatnonzero(items.signal != NO_SIGNAL)
        if len(signals) < len(row):
            self._labels(np.flatnonzero(items.signal == NO_SIGNAL), row, items, effects)
        if len(signals):
            self._signals(signals, row, items, effects)
        take, counted = self._ring.take, self._rules.counted_at(ts, key, items)
        joined = Joined(
            effects.event, ts, key, take("answer", row), take("value", row), take("score", row), effects.old,
            effects.old_categorical, items.value, items.categorical, counted, items.signal,
        )  # fmt: skip
        at = np.flatnonzero(effects.event == FIRST)
        first = FirstLabels(row[at], items.ts[at], items.value[at], items.categorical[at])
        return Applied(joined if effects.counts.all() else joined.take(effects.counts), first)

    def _signals(self, at: I64, row: I64, items: Items, effects: _Effects) -> None:
        """Count each signal once for each prediction."""
        effects.event[at] = SIGNALLED
        effects.counts[at] = False
        for code in np.unique(items.signal[at]).tolist():
            same = at[items.signal[at] == code]
            _, first = np.unique(row[same], return_index=True)
            same = same[first]
            bits, bit = self._ring.take("bits", row[same]), np.uint16(1 << code)
            new = (bits & bit) == 0
            same, bits = same[new], bits[new] | bit
            self._remember(row[same])
            self._ring.columns["bits"].put(row[same], bits)
            effects.counts[same] = True

    def _labels(self, at: I64, row: I64, items: Items, effects: _Effects) -> None:
        """Apply the labels `at`: the first ones of all predictions together, then all second ones, and so on."""
        groups = group_rows(row[at])
        for some in rounds(groups, _MANY):
            self._label_round(at[some], row, items, effects)
        late = np.flatnonzero(groups.rank >= _MANY)
        if len(late):
            for each in _by_group(groups, late):
                self._label_one(at[each], row, items, effects)

    def _label_round(self, at: I64, row: I64, items: Items, effects: _Effects) -> None:
        """Apply one label to each of distinct predictions."""
        row, take = row[at], self._ring.take
        old, flags, known = take("label", row), take("flags", row), take("labeler", row)
        value, categorical, labeler = items.value[at], items.categorical[at], items.labeler[at]
        was_category = (flags & CATEGORICAL) != 0
        equal = _equal(old, value) & (was_category == categorical)
        same = (labeler == 0) | (known == 0) | (labeler == known)
        event = np.where(same, np.where(equal, REPEAT, CORRECTION), np.where(equal, AGREEMENT, DISAGREEMENT))
        event[(flags & HAS_LABEL) == 0] = FIRST
        effects.event[at], effects.old[at], effects.old_categorical[at] = event, old, was_category
        write = event <= CORRECTION
        row = row[write]
        self._remember(row)
        self._put_labels(row, value[write], labeler[write], categorical[write])
        new = row[event[write] == FIRST], items.fingerprint[at[event == FIRST]]
        free = take("fingerprint", new[0]) == NO_LABEL
        self._ring.columns["fingerprint"].put(new[0][free], new[1][free])

    def _put_labels(self, row: I64, value: Any, labeler: Any, categorical: Any) -> None:
        columns = self._ring.columns
        columns["label"].put(row, value)
        columns["labeler"].put(row, labeler)
        columns["flags"].put(row, HAS_LABEL | np.asarray(categorical, np.uint8) * CATEGORICAL)

    def _label_one(self, at: I64, row: I64, items: Items, effects: _Effects) -> None:
        """Apply many labels to one labelled prediction, in plain Python."""
        prediction, take = row[at[:1]], self._ring.take
        label, labeler = float(take("label", prediction)[0]), int(take("labeler", prediction)[0])
        category = bool(take("flags", prediction)[0] & CATEGORICAL)
        events, olds, categories = [], [], []
        columns = (items.value[at], items.categorical[at], items.labeler[at])
        for value, categorical, who in zip(*(column.tolist() for column in columns), strict=True):
            equal = category == categorical and (value == label or (value != value and label != label))
            olds.append(label)
            categories.append(category)
            if who and labeler and who != labeler:
                events.append(AGREEMENT if equal else DISAGREEMENT)
            elif equal:
                events.append(REPEAT)
            else:
                events.append(CORRECTION)
                label, labeler, category = value, who, categorical
        effects.event[at], effects.old[at], effects.old_categorical[at] = events, olds, categories
        self._remember(prediction)
        self._put_labels(prediction, label, labeler, category)


@dataclass(frozen=True, slots=True)
class _Effects:
    """The effect of each pair of prediction and item; `counts` is False for a signal that was counted before."""

    event: U8
    old: F64
    old_categorical: Bool
    counts: Bool

    @classmethod
    def none(cls, count: int) -> _Effects:
        no, yes = np.zeros(count, np.bool_), np.ones(count, np.bool_)
        return cls(np.zeros(count, np.uint8), np.full(count, np.nan), no, yes)


def _equal(a: F64, b: F64) -> Bool:
    return np.asarray((a == b) | (np.isnan(a) & np.isnan(b)))


def _by_group(groups: Groups, at: I64) -> list[I64]:
    """Split positions by group; within a group they keep their order."""
    at = at[np.argsort(groups.of[at], kind="stable")]
    return np.split(at, np.flatnonzero(np.diff(groups.of[at])) + 1)
