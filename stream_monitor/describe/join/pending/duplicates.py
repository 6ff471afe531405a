"""Which predictions of a batch count: the first of its key, unless the id has too many already."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stream_monitor.describe.join.pending.id_groups import Groups
from stream_monitor.describe.join.pending.rows import U32
from stream_monitor.types import I64, Bool

_MANY = 8
"""Predictions of one id in one batch that are compared pair by pair; ids with more are decided one by one."""


@dataclass(frozen=True, slots=True)
class Arrivals:
    """The n predictions of a batch; an earlier one whose ts is below `bound` makes no duplicate."""

    groups: Groups
    key: U32
    ts: I64
    bound: I64


@dataclass(frozen=True, slots=True)
class Held:
    """Predictions that already wait, each with the group of the batch whose id it has."""

    group: I64
    key: U32
    ts: I64


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of each prediction (n): it is a duplicate, or there is no room, or it is accepted."""

    duplicate: Bool
    overflow: Bool

    @property
    def accepted(self) -> Bool:
        """The others."""
        return ~(self.duplicate | self.overflow)


def decide(arrivals: Arrivals, held: Held, cap: int) -> Decision:
    """Decide a batch in log order; at most `cap` predictions of an id are held."""
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
    pair, at = np.arange(len(held.group)), held.group
    if not arrivals.groups.unique:
        at, pair = arrivals.groups.expand(held.group, pair)
    same = (held.key[pair] == arrivals.key[at]) & (held.ts[pair] >= arrivals.bound[at])
    duplicate[at[same]] = True


def _compare_each_other(arrivals: Arrivals, chosen: Bool, duplicate: Bool) -> None:
    """Compare every row with each earlier accepted row of its id, a pair of ranks at a time."""
    groups = arrivals.groups
    several = np.flatnonzero(chosen[groups.of] & (groups.sizes() > 1)[groups.of])
    by_rank = [several[groups.rank[several] == rank] for rank in range(_MANY)]
    position = np.empty(len(groups.first), np.int64)
    for later in range(1, _MANY):
        at = by_rank[later]
        for earlier in range(later if len(at) else 0):
            position[groups.of[by_rank[earlier]]] = by_rank[earlier]
            other = position[groups.of[at]]
            same = ~duplicate[other] & (arrivals.key[other] == arrivals.key[at])
            duplicate[at[same & (arrivals.ts[other] >= arrivals.bound[at])]] = True


def _one_by_one(arrivals: Arrivals, held: Held, cap: int, crowded: Bool, decision: Decision) -> None:
    """Decide the rows of crowded ids in plain Python: a flood of one id costs about a microsecond a row."""
    groups = arrivals.groups
    newest: dict[tuple[int, int], int] = {}
    counts: dict[int, int] = {}
    known = np.flatnonzero(crowded[held.group])
    for group, key, ts in zip(
        held.group[known].tolist(), held.key[known].tolist(), held.ts[known].tolist(), strict=True
    ):
        newest[group, key] = max(ts, newest.get((group, key), ts))
        counts[group] = counts.get(group, 0) + 1
    at = np.flatnonzero(crowded[groups.of])
    columns = (groups.of[at], arrivals.key[at], arrivals.ts[at], arrivals.bound[at])
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
    decision.duplicate[at] = np.array(fates) == 1
    decision.overflow[at] = np.array(fates) == 2
