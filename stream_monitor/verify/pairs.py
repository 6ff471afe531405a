"""Pairs that the input demands: two versions of a model that answered one id, in plain Python."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from stream_monitor.kernels.id_hash import hash_ids

PairKey = tuple[str, str, str, str, int, int, int, str]
"""Model, first and second version, segment, grains of both predictions and of what became known, kind."""
PairCounts = dict[PairKey, dict[int, int]]
"""By bin."""
MOST_PARTNERS = 8


@dataclass(slots=True)
class Answer:
    """A prediction that may be one of a pair."""

    model: str
    version: str
    ts: int
    value: Any
    name: Any
    """The class in one spelling, or the number."""
    segments: list[str]
    alone: bool
    id: str
    first: tuple[int, Any] | None = None
    """Time and value of the first label."""
    error: float | None = None
    distance: float | None = None
    """Of the answer to the first label."""
    others: list[Answer] = field(default_factory=list)
    """Those that it makes pairs with."""


class ExpectedPairs:
    """Takes answers and first labels in log order."""

    def __init__(self, horizon_ms: int, grain_ms: int) -> None:
        self._apart, self._grain = horizon_ms // 2, grain_ms
        self.counts: PairCounts = defaultdict(lambda: defaultdict(int))

    def answer(self, answer: Answer, before: Sequence[Answer]) -> None:
        """An answer was accepted; `before` are all of its id that were accepted before it."""
        for other in before[-MOST_PARTNERS:]:
            same = other.model == answer.model and other.version != answer.version
            if same and abs(other.ts - answer.ts) <= self._apart and not (other.alone or answer.alone):
                answer.others.append(other)
                other.others.append(answer)
                self._add((other, answer), "answers", int(other.name != answer.name), 0)

    def first_label(self, answer: Answer) -> None:
        """An answer has its first label."""
        for other in answer.others:
            if other.first is None or answer.first is None:
                continue
            pair = other, answer
            one, two = sorted(pair, key=lambda one: one.version)
            known = answer.first[0]
            told = False
            if other.first == answer.first:
                if one.error is not None and two.error is not None:
                    self._add(pair, "errors", int(2 * one.error + two.error), known)
                    told = True
                if one.distance is not None and two.distance is not None:
                    self._add(pair, "distances", _bin(two.distance - one.distance, answer.id), known)
                    told = True
            if not told:
                both = other.first == answer.first
                self._add(pair, "left_out", 0, known if both else 0)

    def _add(self, pair: tuple[Answer, Answer], kind: str, at: int, known: int) -> None:
        one, two = sorted(pair, key=lambda one: one.version)
        later = max(pair, key=lambda answer: answer.ts) if pair[0].ts != pair[1].ts else pair[1]
        times = (self._start(ts) for ts in (one.ts, two.ts, max(later.ts, known)))
        first, second, last = times
        for segment in later.segments:
            self.counts[later.model, one.version, two.version, segment, first, second, last, kind][at] += 1

    def _start(self, ts: int) -> int:
        return ts - ts % self._grain


def _bin(difference: float, id: str) -> int:
    """Sign × the number of a power of two, from 2**-30 (1) to 2**29 (60); the id draws one of two neighbours."""
    size, draw = abs(difference), int(hash_ids([id])[0, 0]) // 2**11 / 2**53
    powers = [0.0, *(2.0**power for power in range(-30, 30))]
    below = bisect_right(powers, size) - 1
    if below == len(powers) - 1:
        return int(math.copysign(below, difference))
    above = draw < (size - powers[below]) / (powers[below + 1] - powers[below])
    return int(math.copysign(below + above, difference)) if difference else 0


def differences(wanted: PairCounts, found: PairCounts) -> Iterator[str]:
    """A line for each cell that differs."""
    for key in sorted(wanted.keys() | found.keys()):
        one, other = ({at: n for at, n in side.get(key, {}).items() if n} for side in (wanted, found))
        if one != other:
            yield f"pairs of {' '.join(map(str, key))}: {other or 'none'}, expected {one or 'none'}"
