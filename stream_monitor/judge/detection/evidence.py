"""The evidence of an alert, as numbers that a person can read and a page can draw: baseline against now."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from stream_monitor.baselines.baseline import Baseline, moved_of
from stream_monitor.detect.windows.binned import shift
from stream_monitor.profiles.bins import point_bins
from stream_monitor.profiles.integers import are_whole, whole
from stream_monitor.profiles.quantiles import Extent, quantiles
from stream_monitor.profiles.tails import NO_TAIL
from stream_monitor.types import F64, I64

PICTURE_BINS = 12
CLEAR_SHIFT = 0.05
MEAN_DIGITS = 6
"""Digits of a window's mean: the last digits of a sum depend on the order in which deltas were merged."""


def direction_of(base: I64, now: I64) -> Literal["up", "down", "changed"]:
    """The direction in which most values moved; `changed` when about as many went up as down."""
    moved = float(shift(base[None], now[None])[0])
    return "up" if moved > CLEAR_SHIFT else "down" if moved < -CLEAR_SHIFT else "changed"


def numeric_evidence(baseline: Baseline, base: I64, now: I64, borders: F64, extent: Extent) -> dict[str, Any]:
    """Medians, counts and a small histogram. Each of its bins holds about the same share of both samples together.

    An atom with such a share has a bin of its own, and so have the values between two of them. `extent` is that of now.
    """
    both = base / max(int(base.sum()), 1) + now / max(int(now.sum()), 1)
    cumulative = np.cumsum(both[: len(borders)]) / 2
    cuts = np.searchsorted(cumulative, np.arange(1, PICTURE_BINS) / PICTURE_BINS)
    atoms = np.flatnonzero(point_bins(borders)[: len(borders)] & (both[: len(borders)] / 2 >= 1 / PICTURE_BINS))
    cuts = np.unique(np.concatenate([cuts, atoms, atoms - 1]))
    cuts = cuts[cuts < len(borders)]
    baseline_figures = {
        "n": int(base.sum()),
        "mean": baseline.mean,
        "p50": _median(base, borders, Extent(baseline.low, baseline.high)),
        "p99": quantiles(base, borders, (0.99,), Extent(baseline.low, baseline.high))[0],
    }
    now_figures = {"n": int(now.sum()), "p50": _median(now, borders, extent)}
    now_figures["p99"] = quantiles(now, borders, (0.99,), extent)[0]
    if not np.isnan(extent.mean):
        now_figures["mean"] = float(f"{extent.mean:.{MEAN_DIGITS}g}")
    return {
        "baseline": baseline_figures | _ends((baseline.low, baseline.high)) | moved_of(baseline),
        "now": now_figures | _ends((extent.low, extent.high)),
        "bins": {
            "to": [float(borders[i]) for i in cuts],
            "baseline": _shares(base, cuts),
            "now": _shares(now, cuts),
        },
    }


def _ends(ends: tuple[float, float]) -> dict[str, float]:
    """The least and the largest value, where there are values."""
    return {"min": ends[0], "max": ends[1]} if ends[0] <= ends[1] else {}


def _median(counts: I64, borders: F64, extent: Extent) -> float:
    median = min(max(quantiles(counts, borders, (0.5,), extent)[0], extent.low), extent.high)
    if not are_whole(borders, (extent.low, extent.high)):
        return median
    return whole(median, NO_TAIL if extent.tail is None else extent.tail.start)


def _shares(counts: I64, cuts: I64) -> list[float]:
    cumulative = np.append(np.cumsum(counts)[cuts], counts.sum())
    return [round(float(x), 6) for x in np.diff(cumulative, prepend=0) / max(int(counts.sum()), 1)]


def categorical_evidence(baseline: Baseline, counts: dict[str, int], n: int) -> dict[str, Any]:
    """The categories whose shares moved most."""
    base = baseline.categories or {}
    moved = {
        name: counts.get(name, 0) / max(n, 1) - base.get(name, 0) / max(baseline.n, 1) for name in {*base, *counts}
    }
    names = sorted(moved, key=lambda name: (-abs(moved[name]), name))[:PICTURE_BINS]
    return {
        "baseline": {"n": baseline.n},
        "now": {"n": n},
        "categories": {
            "name": names,
            "baseline": [round(base.get(name, 0) / max(baseline.n, 1), 6) for name in names],
            "now": [round(counts.get(name, 0) / max(n, 1), 6) for name in names],
        },
    }


PANE, LASTING = 0, -1
"""Used in place of a window's size. PANE: the detector raises an alarm for a single pane. LASTING: it also reports when
the change is over."""
