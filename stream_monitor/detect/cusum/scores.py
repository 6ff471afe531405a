"""Scores: the CUSUMs add up scores instead of values, so that neither scale nor heavy tails affect them.

A bin's score is the normal quantile of its mid-rank in the baseline (van der Waerden 1952; for bins, the ridit of Bross
1958), standardised over the baseline to mean 0 and variance 1. An increasing map of the values does not affect the
scores. If the baseline has two values, the scores are these values, standardised. Scores detect a shift of location;
the window tests detect a change of spread or shape alone.

If nearly all values are in one bin (see `rare`), the others are too few to show how they are distributed. Then there
are two scores: one for the values beyond that bin, on the side with more values, and one for all others.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import special

from stream_monitor.types import F64, I64, Bool

RARE = 0.03
"""Below this error rate, sums of the two scores are not nearly normal if the baseline is short."""


class Scores(NamedTuple):
    """`of_bin` (R, B): the score of a value in that bin. `varies` (R,): False for a constant or empty baseline.

    Where `varies` is False all scores are 0, and a detector that gets them never raises an alarm.
    """

    of_bin: F64
    varies: Bool


class PaneSums(NamedTuple):
    """A pane as a CUSUM sees it, (R,) each: number of values, sum of their scores, sum of their squared scores."""

    n: F64
    s: F64
    ss: F64


def scores_of(counts: I64) -> Scores:
    """Scores of baselines given as bin counts (R, B), bins in the order of their values; bins may be empty.

    The rank of an empty bin lies between those of its neighbours; beyond either end it is that of half a value.
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
    """(R,): whether a share of less than `RARE` of a baseline's values, but not 0, lies outside its fullest bin."""
    total, most = counts.sum(axis=1), counts.max(axis=1, initial=0)
    return np.asarray((most < total) & (total - most < RARE * total))


def _two_scores(counts: I64) -> F64:
    total, usual = counts.sum(axis=1, keepdims=True), counts.argmax(axis=1)[:, None]
    bins = np.arange(counts.shape[1])
    above, below = (np.where(beyond, counts, 0).sum(axis=1, keepdims=True) for beyond in (bins > usual, bins < usual))
    high = np.where(above >= below, bins > usual, bins >= usual)
    share = np.where(high, counts, 0).sum(axis=1, keepdims=True) / total
    return np.asarray((high - share) / np.sqrt(share * (1 - share)))


def sums_of_panes(score: F64, row: I64, n: I64, rows: int) -> PaneSums:
    """The sums of `rows` panes from sparse counts: `n[i]` values of score `score[i]` in row `row[i]`."""
    return PaneSums(
        np.bincount(row, n, rows).astype(float),
        np.bincount(row, n * score, rows).astype(float),
        np.bincount(row, n * score * score, rows).astype(float),
    )
