"""The long-run variance ratio: by how much more a sum of dependent values varies than one of independent values.

The ratio is 1 for independent values and (1 + r) / (1 - r) for an AR(1) with correlation r. A CUSUM divides its
statistic by it. We keep sums over blocks of 1, 2, 4, … panes (batch means on a dyadic ladder). At each length we
multiply the variance of the block sums by (1 + r) / (1 - r), where r is their lag-1 correlation, as if the block sums
were an AR(1). So blocks that are much shorter than the memory of the stream already give an estimate.

The last axis of every array is the row. All sums are folded in a fixed order, so the other rows of a call do not affect
a row's numbers.
"""

from __future__ import annotations

import msgspec
import numpy as np

from stream_monitor.types import F64, I64

CHUNK = 32
"""Panes that enter the ladder together."""
INNER = 6
"""Levels within a chunk: blocks of 1, 2, … 32 panes."""
LEVELS = 16
KEPT = 2 + 4 * LEVELS
LEAST_BLOCKS = 20
SIGNIFICANT = 3.0
"""Standard errors by which the ratio of a block length must exceed 1 before we believe it."""
LIKELY = 2.0
"""Standard errors by which the ratio of a longer length must exceed the one we believe; `BIAS` at least."""
BIAS = 1.5
"""Factor by which a longer length must exceed it. The estimate from blocks of an AR(1) is up to 1.48 times too high,
because the correlation of blocks decays faster than r says."""


class Blocks(msgspec.Struct):
    """The ladder of each row; 1.6 kB a row."""

    waiting: np.ndarray
    """(2 CHUNK, R): centred sums of scores of the panes that are not in the ladder yet."""
    filled: np.ndarray
    """(R,) number of these panes."""
    panes: np.ndarray
    """(R,) panes in the ladder, a multiple of CHUNK."""
    values: np.ndarray
    """(R,) values since the beginning, those of waiting panes included."""
    sums: np.ndarray
    """(LEVELS, 2, R): sums of squared block sums, and of products with the previous block."""
    last: np.ndarray
    """(LEVELS, R): the latest complete block."""
    half: np.ndarray
    """(LEVELS, R): the first half of an incomplete block."""
    kept: np.ndarray = msgspec.field(default_factory=lambda: np.zeros((KEPT, 0)))
    """(KEPT, R): `panes`, `values`, both `sums`, `last` and `half` as they were at the latest `keep`.

    A snapshot of a former version lacks them; its rows then get the present values.
    """

    def __post_init__(self) -> None:
        rows = np.arange(len(self.filled))
        if self.kept.shape[1] != len(rows):
            self.kept = np.zeros((KEPT, len(rows)))
            self.keep(rows)

    @classmethod
    def empty(cls, rows: int) -> Blocks:
        """Empty ladders."""
        return cls(
            np.zeros((2 * CHUNK, rows)),
            np.zeros(rows, np.int64),
            np.zeros(rows, np.int64),
            np.zeros(rows),
            np.zeros((LEVELS, 2, rows)),
            np.zeros((LEVELS, rows)),
            np.zeros((LEVELS, rows)),
            np.zeros((KEPT, rows)),
        )

    def add(self, rows: I64, n: F64, centred: F64) -> None:
        """Take in a pane of each of these distinct rows: n values, and the sum of their scores minus n means."""
        filled = self.filled[rows]
        self.waiting[filled, rows] = centred
        self.values[rows] += n
        self.filled[rows] = filled + 1
        if len(filled) and filled.max() == 2 * CHUNK - 1:
            self.settle(np.arange(len(self.filled)))

    def begin(self, n: F64, centred: F64) -> None:
        """Take in panes (P, R), oldest first, of all rows; the ladders must be empty."""
        rows, whole = np.arange(len(self.filled)), len(n) // CHUNK * CHUNK
        for first in range(0, whole, CHUNK):
            self._take(rows, centred[first : first + CHUNK])
        self.waiting[: len(n) - whole] = centred[whole:]
        self.filled += len(n) - whole
        self.values += n.sum(axis=0)

    def keep(self, rows: I64) -> None:
        """Save the ladders as they are, without the waiting panes, for `go_back`."""
        self.settle(rows)
        panes = self.panes[rows]
        self.kept[0, rows] = panes
        self.kept[1, rows] = self.values[rows] * panes / np.maximum(panes + self.filled[rows], 1)
        offset = 2
        for table in (self.sums[:, 0], self.sums[:, 1], self.last, self.half):
            self.kept[offset : offset + LEVELS, rows] = table[:, rows]
            offset += LEVELS

    def go_back(self, rows: I64) -> None:
        """Forget all panes since `keep`: they may lie after a change."""
        self.waiting[:, rows] = 0
        self.filled[rows] = 0
        self.panes[rows], self.values[rows] = self.kept[:2, rows]
        offset = 2
        for table in (self.sums[:, 0], self.sums[:, 1], self.last, self.half):
            table[:, rows] = self.kept[offset : offset + LEVELS, rows]
            offset += LEVELS

    def settle(self, rows: I64) -> None:
        """Move whole chunks of waiting panes into the ladder.

        A caller that reads or copies rows settles them first, because the other rows affect when chunks move.
        """
        while len(rows := rows[self.filled[rows] >= CHUNK]):
            block = self.waiting[:CHUNK, rows]
            self.waiting[:CHUNK, rows] = self.waiting[CHUNK:, rows]
            self.waiting[CHUNK:, rows] = 0
            self.filled[rows] -= CHUNK
            self._take(rows, block)

    def _take(self, rows: I64, block: F64) -> None:
        self.panes[rows] += CHUNK
        for level in range(INNER):
            self._count(level, rows, block)
            block = block[0::2] + block[1::2] if len(block) > 1 else block
        self._climb(rows, block[0])

    def _climb(self, rows: I64, block: F64) -> None:
        """Count blocks of more than one chunk; two halves make one block."""
        for level in range(INNER, LEVELS):
            whole = self.panes[rows] % 2**level == 0
            self.half[level, rows[~whole]] = block[~whole]
            rows = rows[whole]
            if not len(rows):
                return
            block = self.half[level, rows] + block[whole]
            self._count(level, rows, block[None])

    def _count(self, level: int, rows: I64, block: F64) -> None:
        """Add blocks (m, R), m a power of two, oldest first, to the sums of their level."""
        product = np.empty_like(block)
        np.multiply(block[0], self.last[level, rows], out=product[0])
        np.multiply(block[1:], block[:-1], out=product[1:])
        self.sums[level, 0, rows] += _fold(block * block)
        self.sums[level, 1, rows] += _fold(product)
        self.last[level, rows] = block[-1]

    def ratio(self, rows: I64, variance: F64, threshold: F64) -> F64:
        """The long-run variance ratio of these rows (R,), at least 1; `variance` is that of single scores.

        We go from the shortest block length up and believe a longer one if its ratio is significantly higher. After the
        first one that we believe, longer ones need less evidence: values that depend on each other at all may well
        depend on older ones too. We multiply the result by 1 + `threshold` se²/2, where se is its relative error, so
        that exp(-threshold / ratio) is right on average.
        """
        self.settle(rows)
        believed, error2 = np.ones(len(rows)), np.zeros(len(rows))
        panes = self.panes[rows]
        each = self.values[rows] / np.maximum(panes + self.filled[rows], 1)
        for level in range(LEVELS):
            blocks = panes >> level
            enough = (blocks >= LEAST_BLOCKS) & (variance > 0)
            if not enough.any():
                break
            square, product = self.sums[level][:, rows]
            r = np.clip(product / np.maximum(square, 1e-300), -0.98, 0.98)
            expected = np.where(enough, each * (blocks << level) * variance, 1.0)
            ratio = square / expected * (1 + r) / (1 - r)
            se2 = 6 / ((1 - r * r) * np.maximum(blocks, 1))
            se = np.sqrt(se2)
            needed = np.where(error2 > 0, np.maximum(np.exp(LIKELY * se), BIAS), np.exp(SIGNIFICANT * se))
            sure = enough & (ratio > believed * needed)
            believed, error2 = np.where(sure, ratio, believed), np.where(sure, se2, error2)
        return np.asarray(believed * (1 + threshold * error2 / 2))


def _fold(terms: F64) -> F64:
    """Sum over the first axis, whose length is a power of two, always in the same order."""
    while len(terms) > 1:
        terms = terms[0::2] + terms[1::2]
    return np.asarray(terms[0])
