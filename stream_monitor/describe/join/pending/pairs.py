"""Pairs: two versions of a model that answered the same request, and what becomes known of them.

Two predictions of an id are a pair if their model is the same, their versions differ, and their times are at most half
of the horizon apart. A prediction that comes so late that a partner may have been dropped is `ALONE`, and makes no
pairs. A prediction makes pairs with at most the `MOST_PARTNERS` predictions of its id just before it.

A pair is known as answered when the second prediction is inserted. It is known as labelled when both have their first
label, if that is one and the same label; the horizon may end between two labels, so that each is the first of one. All
of this depends on the order of each topic by itself: the rows between two rows of a pair wait at least as long as the
first of the two, so the distance of a pair does not depend on what has been dropped.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from stream_monitor.describe.join.pending.label_effects import FirstLabels, Rules
from stream_monitor.describe.join.pending.ring_buffer import HAS_LABEL, Ring
from stream_monitor.describe.join.pending.rows import ALONE, ANSWERED, LABELLED, LEFT_OUT, Pairs
from stream_monitor.types import I64, Bool

MOST_PARTNERS = 8
"""Predictions of an id with which a later one makes pairs."""


class PairFinder:
    """Finds the pairs among rows of a ring."""

    def __init__(self, ring: Ring, rules: Rules) -> None:
        self._ring, self._rules = ring, rules

    @property
    def apart(self) -> int:
        """The most by which the times of a pair differ, ms."""
        return self._rules.horizon_ms // 2

    def alone(self, ts: I64, bound: I64) -> Bool:
        """Which predictions come too late for pairs; a partner waits at least until its ts is below `bound`."""
        return np.asarray(ts < bound + self.apart)

    def answered(self, group: I64, row: I64, first_new: int) -> tuple[Pairs | None, int]:
        """The pairs that predictions from the row `first_new` on make, and how many of these had too many before them.

        `group`: of each prediction `row` of an id with several, both (n,).
        """
        order = np.lexsort((row, group))
        group, row = group[order], row[order]
        older, newer = self._pairs(group, row)
        rank = np.arange(len(row)) - np.searchsorted(group, group)
        fresh = newer >= first_new
        crowded = int(((rank > MOST_PARTNERS) & (row >= first_new)).sum())
        return self._known(older[fresh], newer[fresh], ANSWERED), crowded

    def labelled(self, group: I64, row: I64, first: FirstLabels) -> Pairs | None:
        """The pairs of which both predictions have their first label now, and one of these is new."""
        if not len(first.row):
            return None
        order = np.lexsort((row, group))
        older, newer = self._pairs(group[order], row[order])
        order = np.argsort(first.row)
        new = first.take(order)
        place = np.minimum(np.searchsorted(new.row, (newer, older)), len(new.row) - 1)
        fresh = new.row[place] == (newer, older)
        both = ((self._ring.take("flags", older) & self._ring.take("flags", newer)) & HAS_LABEL) != 0
        chosen = np.flatnonzero(fresh.any(axis=0) & both)
        if not len(chosen):
            return None
        older, newer = older[chosen], newer[chosen]
        item = np.where(fresh[0], place[0], place[1])[chosen]
        prints = self._ring.take("fingerprint", newer)
        same = prints == self._ring.take("fingerprint", older)
        event = np.where(same, LABELLED, LEFT_OUT).astype(np.uint8)
        return self._known(older, newer, event, new.take(item))

    def _pairs(self, group: I64, row: I64) -> tuple[I64, I64]:
        """(older row, newer row) of each pair, given rows in the order of group and row."""
        found = [*self._at_each_distance(group, row)]
        older, newer = (np.concatenate([np.empty(0, np.int64), *parts]) for parts in zip(*found, strict=True))
        take = self._ring.take
        key, other = take("key", older), take("key", newer)
        keep = (key != other) & (np.abs(take("ts", older) - take("ts", newer)) <= self.apart)
        keep &= (take("fingerprint", older) != ALONE) & (take("fingerprint", newer) != ALONE)
        at = np.flatnonzero(keep)
        at = at[self._rules.model_of_key(key[at]) == self._rules.model_of_key(other[at])]
        return older[at], newer[at]

    @staticmethod
    def _at_each_distance(group: I64, row: I64) -> Iterator[tuple[I64, I64]]:
        for distance in range(1, MOST_PARTNERS + 1):
            same = group[distance:] == group[:-distance]
            yield row[:-distance][same], row[distance:][same]

    def _known(self, older: I64, newer: I64, event: int | np.ndarray, label: FirstLabels | None = None) -> Pairs | None:
        if not len(older):
            return None
        take = self._ring.take
        swap = take("ts", older) > take("ts", newer)
        later, earlier = np.where(swap, older, newer), np.where(swap, newer, older)
        ts = take("ts", later)
        events = np.broadcast_to(np.asarray(event, np.uint8), len(older))
        known, value, categorical = ts, np.full(len(older), np.nan), np.zeros(len(older), np.bool_)
        if label is not None:
            one = events == LABELLED
            known = np.where(one, np.maximum(known, label.ts), known)
            value, categorical = np.where(one, label.value, np.nan), label.categorical & one
        return Pairs(
            events, ts, take("key", later), take("answer", later), take("value", later),
            take("ts", earlier), take("key", earlier), take("answer", earlier), take("value", earlier),
            value, categorical, known, take("hash", later),
        )  # fmt: skip
