"""Scores: what the CUSUMs add up in place of values, so that neither scale nor heavy tails matter.

A bin's score is the normal quantile of its mid-rank in the baseline (van der Waerden 1952; for bins, the ridit of Bross
1958), standardised over the baseline: mean 0 and variance 1 there. Any increasing map of the values gives the same
scores. When the baseline has two values they are those two, standardised, because an affine map of two points is all
there is. Scores see a shift of location; a change of spread or shape alone is for the window tests.

Where nearly all values are in one bin (see `rare`) the few others are too few to tell how they lie: scores are two, one
for what is beyond that bin, on the side where more are, and one for all else.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import special

from stream_monitor.types import F64, I64, Bool

RARE = 0.03
"""Of the two values of an error rate below this sums are no longer near normal where the baseline is short."""


class Scores(NamedTuple):
    """`of_bin` (R, B): the score of a value in that bin. `varies` (R,): False for a constant or empty baseline.

    Where `varies` is False all scores are 0, and a detector that is fed with them stays quiet for ever.
    """

    of_bin: F64
    varies: Bool


class PaneSums(NamedTuple):
    """What a pane is to a CUSUM, (R,) each: number of values, sum of their scores, sum of their squared scores."""

    n: F64
    s: F64
    ss: F64


def scores_of(counts: I64) -> Scores:
    """Scores of baselines given as bin counts (R, B), bins in the order of their values, any number of them empty.

    A bin that the baseline left empty lies between its neighbours, and one beyond either end at half a value's rank.
    """
    total = counts.sum(axis=1, keepdims=True)
    middle = np.cumsum(counts, axis=1) - counts / 2
    rank = np.clip(middle, 0.5, np.maximum(total - 0.5, 0.5)) / np.maximum(total, 1)
    quantile = special.ndtri(rank)
    varies = (counts > 0).sum(axis=1) > 1
    share = counts / np.maximum(total, 1)
    mean = (share * quantile).sum(axis=1, keepdims=True)
    variance = (share * (quantile - mean) ** 2).sum(axis=1, keepdims=True)
    scale = np.sqrt(np.where(varies[:, None], variance, 1.0))
    of_bin = np.where(varies[:, None], (quantile - mean) / scale, 0.0)
    few = np.flatnonzero(rare(counts))
    of_bin[few] = _two_scores(counts[few])
    return Scores(of_bin, varies)


def rare(counts: I64) -> Bool:
    """(R,): whether all but `RARE` of a baseline's values, and not all of them, are in one bin."""
    total, most = counts.sum(axis=1), counts.max(axis=1, initial=0)
    return np.asarray((most < total) & (total - most < RARE * total))


def _two_scores(counts: I64) -> F64:
    total, usual = counts.sum(axis=1, keepdims=True), counts.argmax(axis=1)[:, None]
    at = np.arange(counts.shape[1])
    above, below = (np.where(beyond, counts, 0).sum(axis=1, keepdims=True) for beyond in (at > usual, at < usual))
    high = np.where(above >= below, at > usual, at >= usual)
    share = np.where(high, counts, 0).sum(axis=1, keepdims=True) / total
    return np.asarray((high - share) / np.sqrt(share * (1 - share)))


def sums_of_panes(score: F64, row: I64, n: I64, rows: int) -> PaneSums:
    """Sums of sparse panes of so many rows: `n[i]` values of score `score[i]` in row `row[i]`."""
    return PaneSums(
        np.bincount(row, n, rows).astype(float),
        np.bincount(row, n * score, rows).astype(float),
        np.bincount(row, n * score * score, rows).astype(float),
    )
