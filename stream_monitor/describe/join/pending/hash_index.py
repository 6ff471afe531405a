"""The hash index of the store: from id hashes to rows, by buckets of chains through the rows, newest first.

Why chains and not open addressing: the store drops rows oldest first. So a chain ends where it reaches the tail, and
dropping a row costs nothing: no tombstone, no rebuild. The table grows by linear hashing (Litwin 1980): each call
splits some buckets, so no call stops to rehash the whole table. A bucket takes 4 bytes and has at most one row on
average; the table does not shrink.
"""

from __future__ import annotations

import secrets

import numpy as np

from stream_monitor.describe.join.pending.ring_buffer import Ring
from stream_monitor.describe.join.pending.rows import U32, U64
from stream_monitor.types import I64

_SALT = np.uint64(secrets.randbits(64) | 1)
"""Makes the ids that share a bucket differ between processes, so nobody can construct such ids. It does not affect
any result."""

_BLOCK = 65_536
"""Buckets split, or rows linked, at once; few enough for the processor's cache."""

_LOW = 0xFFFF_FFFF
_REFRESH = 2**31
"""Rows after which dead buckets are renewed. Buckets hold the low 32 bits of sequence numbers, which repeat."""


class IdIndex:
    """Finds rows of a ring by hash. Buckets below `_split` and their twins belong to the next, doubled level."""

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._size, self._split = 1024, 0
        self._newest = self._dead(2 * self._size)
        self._fresh = ring.head

    @property
    def nbytes(self) -> int:
        """Bytes that the buckets reserve."""
        return self._newest.nbytes

    def _dead(self, count: int) -> U32:
        """Empty buckets; they point to the row before the oldest one."""
        return np.full(count, (self._ring.tail - 1) & _LOW, np.uint32)

    def _buckets(self, hashes: U64) -> I64:
        mixed = ((hashes * _SALT) >> np.uint64(32)).astype(np.int64)
        low = mixed & (self._size - 1)
        return np.where(low < self._split, mixed & (2 * self._size - 1), low)

    def _rows(self, low: U32) -> I64:
        """Sequence numbers from their low bits: the latest ones before the head with these bits."""
        head = self._ring.head
        return head - ((head - low.astype(np.int64)) & _LOW)

    def walk(self, hashes: U64, checks: U32) -> tuple[I64, I64]:
        """All rows of the given ids, as (position in `hashes`, row); the newest row of an id comes first."""
        ring = self._ring
        ops, rows = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        row = self._rows(self._newest[self._buckets(hashes)])
        op = np.flatnonzero(row >= ring.tail)
        row = row[op]
        while len(op):
            same = np.flatnonzero(ring.take("hash", row) == hashes[op])
            same = same[ring.take("check", row[same]) == checks[op[same]]]
            ops.append(op[same])
            rows.append(row[same])
            op, row = self._follow(op, row, ring.tail)
        return np.concatenate(ops), np.concatenate(rows)

    def _follow(self, op: I64, row: I64, oldest: int) -> tuple[I64, I64]:
        """The next row of each chain that continues to a row at or after `oldest`."""
        distance = self._ring.take("distance", row).astype(np.int64)
        row = row - distance
        on = np.flatnonzero((distance > 0) & (row >= oldest))
        return op[on], row[on]

    def link(self, first: int, stop: int) -> None:
        """Put the rows [first, stop), the newest ones of the ring, into their chains."""
        self._grow(stop - self._ring.tail)
        for start in range(first, stop, _BLOCK):
            self._link_block(start, min(start + _BLOCK, stop))

    def _link_block(self, first: int, stop: int) -> None:
        rows = np.arange(first, stop)
        buckets = self._buckets(self._ring.columns["hash"].span(first, stop))
        before = self._rows(self._newest[buckets])
        self._newest[buckets] = (rows & _LOW).astype(np.uint32)
        # The last of the rows that share a bucket is now its newest row; chain each of them to the one before it.
        winners = self._rows(self._newest[buckets])
        lost = winners != rows
        if lost.any():
            lost[winners[lost] - first] = True
            crowded = np.flatnonzero(lost)
            crowded = crowded[np.argsort(buckets[crowded], kind="stable")]
            again = np.flatnonzero(buckets[crowded[1:]] == buckets[crowded[:-1]])
            before[crowded[again + 1]] = rows[crowded[again]]
        distance = np.where(before >= self._ring.tail, rows - before, 0)
        self._ring.columns["distance"].put(rows, distance.astype(np.uint32))

    def _grow(self, rows: int) -> None:
        if self._ring.head - self._fresh > _REFRESH:
            used = self._newest[: self._size + self._split]
            used[self._rows(used) < self._ring.tail] = (self._ring.tail - 1) & _LOW
            self._fresh = self._ring.head
        while (missing := rows - self._size - self._split) > 0:
            self._split_buckets(min(missing, self._size - self._split, _BLOCK))
            if self._split == self._size:
                self._size, self._split = 2 * self._size, 0
                grown = np.empty(2 * self._size, np.uint32)  # a split writes the upper half before it is read
                grown[: self._size] = self._newest
                self._newest = grown

    def _split_buckets(self, count: int) -> None:
        """Split the chains of the next `count` buckets between them and their twins; the order stays."""
        ring, low = self._ring, np.arange(self._split, self._split + count)
        heads = np.stack([self._dead(count), self._dead(count)])
        last = np.full((2, count), -1)
        row = self._rows(self._newest[low])
        op = np.flatnonzero(row >= ring.tail)
        row = row[op]
        bit = np.uint64(self._size) << np.uint64(32)
        while len(op):
            side = ((ring.take("hash", row) * _SALT & bit) != 0).astype(np.int64)
            before = last[side, op]
            new, old = np.flatnonzero(before < 0), np.flatnonzero(before >= 0)
            heads[side[new], op[new]] = (row[new] & _LOW).astype(np.uint32)
            last[side, op] = row
            following = self._follow(op, row, ring.tail)
            ring.columns["distance"].put(before[old], (before[old] - row[old]).astype(np.uint32))
            op, row = following
        ring.columns["distance"].put(last[last >= 0], 0)
        self._newest[low], self._newest[low + self._size] = heads
        self._split += count
