"""Sums of pairs: what two versions of a model answered to the same requests, in counts that add up exactly.

The difference of two distances to a label is counted in `2 * MOST + 1` fixed bins: 0, and sign × powers of two from
2**-30 to 2**29. A difference between two powers goes to one of them. A hash of the id draws which, so that the mean of
the powers is that of the differences, whatever these are. What is larger than the last power counts as that.
"""

from __future__ import annotations

from typing import Literal, get_args

import msgspec
import numpy as np
import numpy.typing as npt

from stream_monitor.types import F64, I64

PairKind = Literal["answers", "errors", "distances", "left_out"]
KINDS: tuple[PairKind, ...] = get_args(PairKind)
"""What the bins of a row mean.

answers: 0 where both answers are the same, else 1. errors: twice the error (0 or 1) of the first version and that of
the second. distances: the second version's distance to the label less the first one's, see `distance_bins`. left_out:
0; pairs of which the labels, or the answers and the label, cannot be compared.
"""
ANSWERS, ERRORS, DISTANCES, LEFT_OUT = range(len(KINDS))
SAME, DIFFER = 0, 1

MOST = 60
"""The largest number of a bin of differences; 0 is no difference."""
_LEAST_POWER = -30


class PairDelta(msgspec.Struct):
    """Counts of pairs of one model: predictions of one id by two versions.

    Row i adds `n[i]` pairs with the bin `bin[i]` of the kind `kind[i]` (0 answers, 1 errors, 2 distances, 3 left out)
    to cell[i]. A cell is about two versions, the `first` of which comes before the `second` in the order of letters.
    """

    model: str
    first: list[str]
    second: list[str]
    segment: list[str]
    """Of the later prediction."""
    window: np.ndarray
    """Start of the grain (epoch ms) of the first version's prediction."""
    other_window: np.ndarray
    """The same of the second version's."""
    known: np.ndarray
    """Start of the grain (epoch ms) in which it became known: the latest time of both predictions and, if it is about
    labels, of the label."""
    cell: np.ndarray
    kind: np.ndarray
    bin: np.ndarray
    n: np.ndarray


def draws_of(hashes: npt.NDArray[np.uint64]) -> F64:
    """Numbers in [0, 1), (n,), that hashes of ids draw."""
    return np.asarray((hashes >> np.uint64(11)) * 2.0**-53)


def distance_bins(differences: F64, draws: F64) -> I64:
    """The bins of differences of distances, (n,); `draws` (n,) in [0, 1) decide between two neighbours.

    >>> distance_bins(np.array([0.0, 1.0, -3.0, -3.0, 1e300, 1e-300]), np.array([0, 0.9, 0.4, 0.6, 0.5, 0.5])).tolist()
    [0, 31, -33, -32, 60, 0]
    """
    size = np.abs(differences)
    part, power = np.frexp(size)
    number = power - _LEAST_POWER  # of the power below
    above = np.where(number < 1, np.ldexp(np.minimum(size, 1.0), -_LEAST_POWER), 2 * part - 1)
    bins = np.clip(np.maximum(number, 0) + (draws < above), 0, MOST)
    return np.asarray(np.sign(differences) * bins).astype(np.int64)


def distances_of(bins: I64) -> F64:
    """The values of bins of differences.

    >>> distances_of(np.array([0, 31, -33])).tolist()
    [0.0, 1.0, -4.0]
    """
    power = np.abs(bins) - 1 + _LEAST_POWER
    return np.asarray(np.where(bins == 0, 0.0, np.sign(bins) * 2.0**power))
