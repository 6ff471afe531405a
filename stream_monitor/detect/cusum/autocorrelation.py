"""How much more a sum of dependent values varies than one of independent ones: the long-run variance ratio.

For independent values the ratio is 1, for an AR(r) (1 + r) / (1 - r). A CUSUM divides its statistic by it. Blocks of
1, 2, 4, … panes are kept as sums only (batch means on a dyadic ladder); at each length the variance of the block sums
is corrected by their lag-1 correlation r as if they were an AR(1), by (1 + r) / (1 - r), so that blocks much shorter
than the memory of the stream already tell.

The last axis of every array is the row. All sums are folded in a fixed order: a row's numbers do not depend on which
other rows are looked after in the same call.
"""

from __future__ import annotations

import msgspec
import numpy as np

from stream_monitor.types import F64, I64

CHUNK = 32
"""Panes that are taken into the ladder at once."""
INNER = 6
"""Levels within a chunk: blocks of 1, 2, … 32 panes."""
LEVELS = 16
KEPT = 2 + 4 * LEVELS
LEAST_BLOCKS = 20
SIGNIFICANT = 3.0
"""Standard errors by which a length must exceed independence, to be believed."""
LIKELY = 2.0
"""Standard errors by which a longer one must exceed one that is believed, and at least by the factor `BIAS`."""
BIAS = 1.5
"""Blocks of an AR(1) look up to 1.48 times as dependent as it is: their correlation falls off faster than it says."""


class Blocks(msgspec.Struct):
    """The ladder of each row; 1.6 kB a row."""

    waiting: np.ndarray
    """(2 CHUNK, R): centred sums of scores of panes that no chunk has taken yet."""
    filled: np.ndarray
    """(R,) how many panes wait."""
    panes: np.ndarray
    """(R,) panes taken, a multiple of CHUNK."""
    values: np.ndarray
    """(R,) values since the beginning, of waiting panes too."""
    sums: np.ndarray
    """(LEVELS, 2, R): squares of block sums, and products with the block before."""
    last: np.ndarray
    """(LEVELS, R): the latest complete block."""
    half: np.ndarray
    """(LEVELS, R): a block that waits for its other half."""
    kept: np.ndarray = msgspec.field(default_factory=lambda: np.zeros((KEPT, 0)))
    """(KEPT, R): `panes`, `values`, both `sums`, `last` and `half` as they were at the latest `keep`.

    In a row of a former snapshot, where they are not known, what they are now.
    """

    def __post_init__(self) -> None:
        rows = np.arange(len(self.filled))
        if self.kept.shape[1] != len(rows):
            self.kept = np.zeros((KEPT, len(rows)))
            self.keep(rows)

    @classmethod
    def empty(cls, rows: int) -> Blocks:
        """Ladders of nothing."""
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
        """Take in a pane of each of these distinct rows: n values, sum of their scores minus n means."""
        at = self.filled[rows]
        self.waiting[at, rows] = centred
        self.values[rows] += n
        self.filled[rows] = at + 1
        if len(at) and at.max() == 2 * CHUNK - 1:
            self.settle(np.arange(len(self.filled)))

    def begin(self, n: F64, centred: F64) -> None:
        """Take in panes (P, R), oldest first, of all rows, which are empty."""
        rows, whole = np.arange(len(self.filled)), len(n) // CHUNK * CHUNK
        for at in range(0, whole, CHUNK):
            self._take(rows, centred[at : at + CHUNK])
        self.waiting[: len(n) - whole] = centred[whole:]
        self.filled += len(n) - whole
        self.values += n.sum(axis=0)

    def keep(self, rows: I64) -> None:
        """Remember the ladders as they are, without panes that wait."""
        self.settle(rows)
        panes = self.panes[rows]
        self.kept[0, rows] = panes
        self.kept[1, rows] = self.values[rows] * panes / np.maximum(panes + self.filled[rows], 1)
        at = 2
        for table in (self.sums[:, 0], self.sums[:, 1], self.last, self.half):
            self.kept[at : at + LEVELS, rows] = table[:, rows]
            at += LEVELS

    def go_back(self, rows: I64) -> None:
        """Forget what came since `keep`: it may lie behind a change."""
        self.waiting[:, rows] = 0
        self.filled[rows] = 0
        self.panes[rows], self.values[rows] = self.kept[:2, rows]
        at = 2
        for table in (self.sums[:, 0], self.sums[:, 1], self.last, self.half):
            table[:, rows] = self.kept[at : at + LEVELS, rows]
            at += LEVELS

    def settle(self, rows: I64) -> None:
        """Take whole chunks that wait. Who reads or copies rows settles them first: when chunks are taken is chance."""
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
        """Blocks of more than one chunk: two halves make one."""
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

        From the shortest block length up, a longer one is believed when it says significantly more; once one is, less
        is asked of those after it, for who depends at all may well depend on what is longer ago. The result is
        raised by `threshold` se²/2: with a relative error of se in it, exp(-threshold / ratio) is right on average.
        """
        self.settle(rows)
        found, error2 = np.ones(len(rows)), np.zeros(len(rows))
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
            sure = enough & (ratio > found * needed)
            found, error2 = np.where(sure, ratio, found), np.where(sure, se2, error2)
        return np.asarray(found * (1 + threshold * error2 / 2))


def _fold(terms: F64) -> F64:
    """Sum over the first axis, of a power of two, always in the same order."""
    while len(terms) > 1:
        terms = terms[0::2] + terms[1::2]
    return np.asarray(terms[0])
