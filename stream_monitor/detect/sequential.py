"""The table of sequential detectors: name in the settings, and how one is made."""

from __future__ import annotations

from collections.abc import Callable

from stream_monitor.detect.adwin import Adwin, Change
from stream_monitor.detect.baselines import Baseline
from stream_monitor.detect.page_hinkley import PageHinkley
from stream_monitor.events.contracts import Finding
from stream_monitor.settings import DetectionSettings

Sequential = Adwin | PageHinkley

DETECTORS: dict[str, Callable[[DetectionSettings], Sequential]] = {
    "adwin": lambda settings: Adwin(settings.adwin_delta),
    "page_hinkley": lambda settings: PageHinkley(settings.page_hinkley_threshold, settings.page_hinkley_delta),
}
"""A new detector is one file with `update(n, mean, m2, ts)`, one line here, one row in docs/detection.md."""


def advance(detector: Sequential, baseline: Baseline, row: tuple[int, float, float], start: int) -> Change | None:
    """Feed a pane (n, mean, m2), standardised by the baseline so that a detector does not depend on scale."""
    n, mean, m2 = row
    scale = baseline.std or 1.0
    return detector.update(n, (mean - baseline.mean) / scale, m2 / scale**2, start)


def finding_of(name: str, change: Change, baseline: Baseline) -> Finding:
    """A change in the measure's own unit."""
    scale = baseline.std or 1.0
    return Finding(
        detector=name,
        score=change.score,
        threshold=change.threshold,
        direction="up" if change.score > 0 else "down",
        change_ts=change.since,
        evidence={
            "before": {"mean": baseline.mean + scale * change.before},
            "after": {"mean": baseline.mean + scale * change.after},
            "baseline": {"n": baseline.n, "mean": baseline.mean, "std": baseline.std},
        },
    )
