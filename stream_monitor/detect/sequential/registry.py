"""The table of sequential detectors: their names in the settings, and the functions that make them."""

from __future__ import annotations

import math
from collections.abc import Callable
from zlib import crc32

import numpy as np
from scipy import special

from stream_monitor.baselines.baseline import Baseline, as_evidence
from stream_monitor.config.detection import DetectionSettings
from stream_monitor.detect.cusum.bank import CusumSignal
from stream_monitor.detect.cusum.scores import rare, scores_of
from stream_monitor.detect.sequential.adwin import Adwin, Change
from stream_monitor.detect.sequential.e_sr import ESr
from stream_monitor.detect.sequential.kswin import Kswin
from stream_monitor.detect.sequential.page_hinkley import PageHinkley
from stream_monitor.detect.sequential.pane_values import Bins, representative_values
from stream_monitor.detect.sequential.river_rates import Ddm, Eddm, Fhddm, HddmA, HddmW, Rate
from stream_monitor.events.contracts import Finding
from stream_monitor.profiles.quantiles import Extent, quantile, quantiles
from stream_monitor.types import F64, I64

SHARES = 400
"""Equal shares of a baseline from which the shift of its mean is computed."""
Sequential = Adwin | PageHinkley | ESr | Ddm | Eddm | HddmA | HddmW | Fhddm | Kswin

SEQUENTIAL_DETECTORS: dict[str, Callable[[DetectionSettings], Sequential]] = {
    "adwin": lambda settings: Adwin(settings.adwin_delta),
    "page_hinkley": lambda settings: PageHinkley(settings.page_hinkley_threshold, settings.page_hinkley_delta),
    "e_sr": lambda settings: ESr(settings.e_sr_arl0),
    "ddm": lambda settings: Ddm(),
    "eddm": lambda settings: Eddm(),
    "hddm_a": lambda settings: HddmA(),
    "hddm_w": lambda settings: HddmW(),
    "fhddm": lambda settings: Fhddm(),
    "kswin": lambda settings: Kswin(),
}
"""A new detector is one file with `update(n, mean, m2, ts)`, one line here, one page in docs/detection."""

RATES = frozenset({"e_sr", "ddm", "eddm", "hddm_a", "hddm_w", "fhddm"})
"""Detectors of rates. They get values as they are, know no season, and ignore measures that are no rates."""
KSWIN_CAP = 100
"""Most values of a pane that `kswin` is fed: the size of its window, about 25 ms."""

CUSUM = "cusum"
"""The name of the CUSUM detector, which has no object of its own but rows of a `detect.cusum.bank.CusumBank`."""


def create(name: str, settings: DetectionSettings, key: tuple[str, ...]) -> Sequential:
    """A new detector of the measure that `key` names; its randomness follows from the key alone."""
    detector = SEQUENTIAL_DETECTORS[name](settings)
    if isinstance(detector, Kswin):
        detector.seed = crc32("\x1f".join(key).encode())
    return detector


def advance(
    detector: Sequential, baseline: Baseline, row: tuple[int, float, float], start: int, bins: Bins | None = None
) -> Change | None:
    """Feed a pane (n, mean, m2) to a detector, standardised by the baseline so that scale does not matter.

    `e_sr` and River's detectors of errors get rates as they are. `e_sr` learns the baseline once; a detector of errors
    is skipped if the baseline is no rate. `kswin` gets single values, those of a larger pane from its `bins`.
    """
    n, mean, m2 = row
    if isinstance(detector, ESr):
        if not detector.learned:
            detector.learn(baseline.n, baseline.mean, (baseline.low, baseline.high))
        return detector.update(n, mean, m2, start)
    if isinstance(detector, Rate):
        fits = detector.accepts((baseline.low, baseline.high), (baseline.n, baseline.mean, baseline.m2))
        return detector.update(n, mean, m2, start) if fits else None
    scale = baseline.std or 1.0
    if isinstance(detector, Kswin) and n > 1 and bins is not None:
        return detector.take(((representative_values(bins, KSWIN_CAP) - baseline.mean) / scale).tolist(), start)
    return detector.update(n, (mean - baseline.mean) / scale, m2 / scale / scale, start)


def finding_of(name: str, change: Change, baseline: Baseline) -> Finding:
    """The finding of a detector's alarm, in the measure's own unit."""
    mean, scale = (0.0, 1.0) if name in RATES else (baseline.mean, baseline.std or 1.0)
    return Finding(
        detector=name,
        score=change.score,
        threshold=change.threshold,
        direction="up" if change.score > 0 else "down",
        change_ts=change.since,
        evidence={
            "before": {"mean": mean + scale * change.before},
            "after": {"mean": mean + scale * change.after},
            "baseline": as_evidence(baseline),
        },
    )


def turn_finding(turn: CusumSignal, baseline: Baseline, borders: F64) -> Finding:
    """The finding of a CUSUM's alarm; it gives the shift in baseline standard deviations and in the measure's unit."""
    return Finding(
        detector=CUSUM,
        score=turn.statistic,
        threshold=turn.threshold,
        direction="up" if turn.up else "down",
        change_ts=turn.began,
        evidence={
            "shift": {"sigmas": turn.effect, "value": shift_of(turn.effect, baseline, borders), "n": turn.values},
            "baseline": as_evidence(baseline),
        },
    )


def shift_of(sigmas: float, baseline: Baseline, borders: F64) -> float:
    """Convert a shift of the scores to a shift of the values: the shift of their median.

    If the baseline has two values, or nearly all its values are in one bin, or the median stays, it is the shift of the
    mean.
    """
    counts = baseline.counts
    if counts is None or (counts > 0).sum() <= 2:
        return sigmas * baseline.std
    if rare(counts[None])[0]:
        return sigmas * _spread_of_two(counts, borders, baseline.high)
    ends = baseline.low, baseline.high
    moved, median = (quantile(counts, borders, float(special.ndtr(x)), *ends) for x in (sigmas, 0.0))
    return moved - median or _shift_of_mean(sigmas, counts, borders, ends)


def _shift_of_mean(sigmas: float, counts: I64, borders: F64, ends: tuple[float, float]) -> float:
    """The shift of the mean that a shift of the scores causes, computed over equal shares of the baseline."""
    scores = special.ndtri((np.arange(SHARES) + 0.5) / SHARES)
    before, after = (
        quantiles(counts, borders, special.ndtr(scores + x).tolist(), Extent(*ends)) for x in (0.0, sigmas)
    )
    return float(np.mean(after) - np.mean(before))


def _spread_of_two(counts: I64, borders: F64, most: float) -> float:
    """Standard deviation of the values if each is replaced by one of two means, as the scores of rare values are.

    A value is represented by the upper edge of its bin, in the last bin by `most`.
    """
    value = np.append(borders, most)
    n, few = counts[: len(value)], scores_of(counts[None]).of_bin[0, : len(value)] > 0
    share = float(n[few].sum() / n.sum())
    apart = np.average(value[few], weights=n[few]) - np.average(value[~few], weights=n[~few])
    return float(apart * math.sqrt(share * (1 - share)))
