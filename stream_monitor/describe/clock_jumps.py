"""Jumps of event time: one event whose clock is far ahead must not make all others late.

A time more than `time.jump` above the largest one read is a jump. The event counts, and its time waits as the candidate
of its partition. The clock moves to it when a second event, of another id, comes within `jump` of it. A gap in the
traffic is confirmed in that way by the second event after it. Where events are more than `jump` apart, the next later
event confirms the one before, unless an event that was no jump came between them. Of two candidates the earlier stays.

A record whose time the broker has set has passed `max_skew`: its event moves the clock at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from stream_monitor.profiles.names import NEVER
from stream_monitor.types import I64, Bool

Ids = npt.NDArray[np.uint64]


class Candidate(msgspec.Struct, array_like=True, frozen=True):
    """A time far ahead that one event has."""

    ts: int
    id: int
    """A hash of the event's id."""
    doubtful: bool = False
    """An event that was no jump came since: only one within `jump` confirms the candidate."""


@dataclass(frozen=True, slots=True)
class Arrivals:
    """A batch of events in log order; what only a jump needs is made when there is one."""

    partition: I64
    ts: I64
    ids: Callable[[], Ids]
    stamped: Callable[[], Bool]
    """Which records have a time that the broker has set."""

    def of(self, rows: Bool) -> Arrivals:
        """Those of some rows."""
        return Arrivals(self.partition[rows], self.ts[rows], lambda: self.ids()[rows], lambda: self.stamped()[rows])


class Clock(NamedTuple):
    """How far a partition has come."""

    largest: int
    candidate: Candidate | None


def advance(clock: Clock, arrivals: Arrivals, jump: int) -> tuple[Clock, I64]:
    """The clock after a batch, and for each event the largest *earlier* time (NEVER before the first)."""
    ts, (largest, candidate) = arrivals.ts, clock
    reached = np.maximum.accumulate(np.concatenate([[largest], ts]))
    before = reached[:-1]
    jumps = (before > NEVER) & (ts > before + jump)
    if not jumps.any() and (candidate is None or int(ts.max()) < candidate.ts - jump):
        if candidate is not None:
            candidate = Candidate(candidate.ts, candidate.id, True)
        return Clock(int(reached[-1]), candidate), before
    return _one_by_one(clock, arrivals, jump)


def _one_by_one(clock: Clock, arrivals: Arrivals, jump: int) -> tuple[Clock, I64]:
    before = np.empty_like(arrivals.ts)
    ids, stamped = arrivals.ids().tolist(), arrivals.stamped().tolist()
    for at, (ts, id_, trusted) in enumerate(zip(arrivals.ts.tolist(), ids, stamped, strict=True)):
        before[at] = clock.largest
        clock = _step(clock, (ts, id_, trusted), jump)
    return clock, before


def _step(clock: Clock, event: tuple[int, int, bool], jump: int) -> Clock:
    """The clock after one event: its time, the hash of its id, and whether its time is believed at once."""
    (largest, candidate), (ts, id_, trusted) = clock, event
    if trusted or largest == NEVER or ts <= largest + jump:
        largest = max(largest, ts)
        if candidate is not None:
            passed = candidate.ts <= largest + jump
            candidate = None if passed else Candidate(candidate.ts, candidate.id, True)
        return Clock(largest, candidate)
    if candidate is None or ts < candidate.ts - jump:
        return Clock(largest, Candidate(ts, id_))
    if id_ == candidate.id:
        return clock
    if ts <= candidate.ts + jump:
        return Clock(max(ts, candidate.ts), None)
    return clock if candidate.doubtful else Clock(candidate.ts, Candidate(ts, id_))
