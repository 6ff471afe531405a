"""Which predictions of a batch count: the first of each key, unless the id has too many pending predictions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stream_monitor.describe.join.pending.id_groups import Groups
from stream_monitor.describe.join.pending.rows import U32
from stream_monitor.types import I64, Bool

_MANY = 8
"""Most predictions of one id in a batch that are compared in pairs; ids with more are decided row by row."""


@dataclass(frozen=True, slots=True)
class Arrivals:
    """The n predictions of a batch; an earlier prediction with a ts below `bound` does not make one a duplicate."""

    groups: Groups
    key: U32
    ts: I64
    bound: I64


@dataclass(frozen=True, slots=True)
class Held:
    """Predictions that are pending already, each with the group of the batch that has its id."""

    group: I64
    key: U32
    ts: I64


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision on each prediction (n): a duplicate, no room (`overflow`), or accepted."""

    duplicate: Bool
    overflow: Bool

    @property
    def accepted(self) -> Bool:
        """The predictions that are neither."""
        return ~(self.duplicate | self.overflow)


def decide(arrivals: Arrivals, held: Held, cap: int) -> Decision:
    """Decide a batch in log order; at most `cap` predictions of an id are pending."""
    groups = arrivals.groups
    decision = Decision(np.zeros(len(arrivals.ts), np.bool_), np.zeros(len(arrivals.ts), np.bool_))
    _compare_held(arrivals, held, decision.duplicate)
    sizes = groups.sizes()
    crowded = (sizes > _MANY) | (np.bincount(held.group, minlength=len(sizes)) + sizes > cap)
    if not groups.unique:
        _compare_each_other(arrivals, ~crowded, decision.duplicate)
    if crowded.any():
        _one_by_one(arrivals, held, cap, crowded, decision)
    return decision


def _compare_held(arrivals: Arrivals, held: Held, duplicate: Bool) -> None:
    earlier, row = np.arange(len(held.group)), held.group
    if not arrivals.groups.unique:
        row, earlier = arrivals.groups.expand(held.group, earlier)
    same = (held.key[earlier] == arrivals.key[row]) & (held.ts[earlier] >= arrivals.bound[row])
    duplicate[row[same]] = True


def _compare_each_other(arrivals: Arrivals, chosen: Bool, duplicate: Bool) -> None:
    """Compare each row with the earlier accepted rows of its id, for one pair of ranks at a time."""
    groups = arrivals.groups
    several = np.flatnonzero(chosen[groups.of] & (groups.sizes() > 1)[groups.of])
    by_rank = [several[groups.rank[several] == rank] for rank in range(_MANY)]
    position = np.empty(len(groups.first), np.int64)
    for later in range(1, _MANY):
        rows = by_rank[later]
        for earlier in range(later if len(rows) else 0):
            position[groups.of[by_rank[earlier]]] = by_rank[earlier]
            other = position[groups.of[rows]]
            same = ~duplicate[other] & (arrivals.key[other] == arrivals.key[rows])
            duplicate[rows[same & (arrivals.ts[other] >= arrivals.bound[rows])]] = True


def _one_by_one(arrivals: Arrivals, held: Held, cap: int, crowded: Bool, decision: Decision) -> None:
    """Decide the rows of crowded ids in plain Python, at about a microsecond a row."""
    groups = arrivals.groups
    newest: dict[tuple[int, int], int] = {}
    counts: dict[int, int] = {}
    known = np.flatnonzero(crowded[held.group])
    for group, key, ts in zip(
        held.group[known].tolist(), held.key[known].tolist(), held.ts[known].tolist(), strict=True
    ):
        newest[group, key] = max(ts, newest.get((group, key), ts))
        counts[group] = counts.get(group, 0) + 1
    rows = np.flatnonzero(crowded[groups.of])
    columns = (groups.of[rows], arrivals.key[rows], arrivals.ts[rows], arrivals.bound[rows])
    fates = []
    for group, key, ts, bound in zip(*(column.tolist() for column in columns), strict=True):
        before, count = newest.get((group, key)), counts.get(group, 0)
        if before is not None and before >= bound:
            fates.append(1)
        elif count >= cap:
            fates.append(2)
        else:
            fates.append(0)
            newest[group, key] = ts if before is None else max(ts, before)
            counts[group] = count + 1
    decision.duplicate[rows] = np.array(fates) == 1
    decision.overflow[rows] = np.array(fates) == 2
