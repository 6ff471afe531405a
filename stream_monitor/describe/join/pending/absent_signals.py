"""Signals that never came and count as 0: a user who does not click sends nothing.

Such a signal may come until `after_ms` after its prediction, and a later one does not count. When the watermark of
feedback has passed that moment, the signal is counted as 0, once: the prediction's row then holds the signal's bit, as
if it had come. So neither batches nor restarts affect what is counted. Signals that came have the event time of that
moment, too: otherwise all that is known of the newest predictions would be those with a signal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stream_monitor.describe.join.pending.ring_buffer import Ring
from stream_monitor.describe.join.pending.rows import PREDICTION, Items
from stream_monitor.types import I64, Bool

CHUNK = 65_536
"""Rows that are looked at in one pass."""


@dataclass(frozen=True, slots=True)
class AbsentSignal:
    """A signal whose absence is a 0."""

    code: int
    after_ms: int
    applies: Callable[[npt.NDArray[Any]], Bool]
    """Which of n key codes are of models whose predictions get the signal."""

    def concerns(self, key: npt.NDArray[Any], signal: npt.NDArray[Any]) -> Bool:
        """Which pairs of a key code and a signal code are of this signal."""
        found: Bool = signal == self.code
        if found.any():
            found[found] = self.applies(key[found])
        return found


class AbsentSignals:
    """Finds the predictions of a store that wait for a signal no more."""

    def __init__(self, ring: Ring, signals: Sequence[AbsentSignal]) -> None:
        self._ring, self._signals = ring, signals
        self._begin = [0] * len(signals)
        """By signal: no row before it waits. It is only a start for the search, so a restart begins at the tail."""

    def due(self, watermark: int) -> Iterator[tuple[I64, Items]]:
        """Predictions, and the 0 of each, at a watermark of feedback (epoch ms). The caller applies them at once."""
        for number, signal in enumerate(self._signals):
            rows = [*self._due(number, signal, watermark)]
            if rows and (found := np.concatenate(rows)).size:
                ts, none = self._ring.take("ts", found) + signal.after_ms, np.zeros(len(found), np.uint32)
                code = np.full(len(found), signal.code, np.uint8)
                yield found, Items(ts, none, np.zeros(len(found)), none.astype(np.bool_), none, code, none)

    def _due(self, number: int, signal: AbsentSignal, watermark: int) -> Iterator[I64]:
        ring = self._ring
        begin = max(self._begin[number], ring.tail)
        waits = False
        for start in range(begin, ring.head, CHUNK):
            stop = min(start + CHUNK, ring.head)
            kind, ts, bits = (ring.columns[name].span(start, stop) for name in ("kind", "ts", "bits"))
            predicted = kind == PREDICTION
            over = predicted & (ts + signal.after_ms < watermark)
            if not waits:
                late = np.flatnonzero(predicted & ~over)
                waits = len(late) > 0
                self._begin[number] = start + int(late[0]) if waits else stop
            rows = np.flatnonzero(over & ((bits & np.uint16(1 << signal.code)) == 0)) + start
            yield rows[signal.applies(ring.take("key", rows))]
