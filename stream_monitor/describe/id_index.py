"""An open-addressing table from id hashes to the newest row of each id, probed a batch at a time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stream_monitor.types import I64

U64 = npt.NDArray[np.uint64]
EMPTY = -1
MAX_LOAD = 0.6


class IdIndex:
    """Slots hold (hash, row); linear probing. A slot is never freed: `rebuild` makes a new table from what lives."""

    def __init__(self, capacity: int = 1 << 12) -> None:
        self._allocate(capacity)

    def _allocate(self, capacity: int) -> None:
        self.rows: I64 = np.full(capacity, EMPTY, np.int64)
        self.hashes: U64 = np.zeros(capacity, np.uint64)
        self.used = 0

    def full(self, more: int) -> bool:
        """Whether `more` new ids would fill the table beyond its load."""
        return self.used + more > MAX_LOAD * len(self.rows)

    def find(self, hashes: U64) -> I64:
        """The newest row of each id hash, EMPTY for one that was never seen."""
        slots = self._probe(hashes)
        return self.rows[slots]

    def put(self, hashes: U64, rows: I64) -> None:
        """Make `rows` the newest of these hashes; the hashes of one call are distinct."""
        slots = self._probe(hashes)
        known = self.rows[slots] != EMPTY
        self.rows[slots[known]] = rows[known]
        self._claim(hashes[~known], rows[~known])

    def rebuild(self, hashes: U64, rows: I64, room: int) -> None:
        """A new table of distinct hashes with room for `room` more ids at half the load."""
        capacity = 1 << 12
        while (len(hashes) + room) > 0.5 * MAX_LOAD * capacity:
            capacity *= 2
        self._allocate(capacity)
        self._claim(hashes, rows)

    def _probe(self, hashes: U64) -> I64:
        """The slot of each hash: the one that holds it, or the empty one that ends its run."""
        mask = np.uint64(len(self.rows) - 1)
        slots = (hashes & mask).astype(np.int64)
        pending = np.flatnonzero((self.rows[slots] != EMPTY) & (self.hashes[slots] != hashes))
        while len(pending):
            slots[pending] = (slots[pending] + 1) & int(mask)
            at = slots[pending]
            pending = pending[(self.rows[at] != EMPTY) & (self.hashes[at] != hashes[pending])]
        return slots

    def _claim(self, hashes: U64, rows: I64) -> None:
        """Put new hashes into empty slots; of those that want the same slot one wins and the others probe on."""
        mask = len(self.rows) - 1
        slots = (hashes & np.uint64(mask)).astype(np.int64)
        pending = np.arange(len(hashes))
        while len(pending):
            at = slots[pending]
            free = self.rows[at] == EMPTY
            self.rows[at[free]] = rows[pending[free]]
            won = free & (self.rows[at] == rows[pending])
            self.hashes[at[won]] = hashes[pending[won]]
            pending = pending[~won]
            slots[pending] = (slots[pending] + 1) & mask
        self.used += len(hashes)
