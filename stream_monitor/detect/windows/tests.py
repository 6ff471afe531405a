"""All tests of a window against its baseline, on bin counts, for all measures of a group at once.

Every p-value answers "is the true effect *above its tolerance*?", not "is there any effect?". With a million events
every difference is significant, and nobody wants to be woken for it. With a tolerance of 0 the tests are the classical
ones.

A test is the function `test` in a module of its name beside this one, and a line in `config.detection.WINDOW_TESTS`.
That line declares its kinds of measures, its tolerance and its largest effect.
"""

from __future__ import annotations

from importlib import import_module

import numpy as np

from stream_monitor.config.detection import WINDOW_TESTS
from stream_monitor.detect.windows.binned import Compared, Test, Tested
from stream_monitor.types import F64

TOLERANCE = {name: test.tolerance for name, test in WINDOW_TESTS.items()}
"""By test, the largest effect that is no drift, in the test's own unit."""

ON_WIDTHS = frozenset(name for name, test in WINDOW_TESTS.items() if test.widths)
"""Tests that need the widths of bins."""


def _quiet(test: Test) -> Test:
    """Wrap a test: p = 1 if either side has fewer than two values, or all values lie in one bin."""

    def tested(data: Compared, tolerance: float) -> Tested:
        result = test(data, tolerance)
        few = np.minimum(data.base.sum(axis=1), data.now.sum(axis=1)) < 2
        same = ((data.base > 0) | (data.now > 0)).sum(axis=1) < 2
        return Tested(np.where(few | same, 0.0, result.score), np.where(few | same, 1.0, result.p))

    return tested


TESTS: dict[str, Test] = {
    name: _quiet(import_module(f"stream_monitor.detect.windows.{name}").test)
    for name, test in WINDOW_TESTS.items()
    if {"numeric", "categorical"} & set(test.kinds)
}
"""By name, the tests of a single measure."""


def discoveries(p: F64, rate: float) -> np.ndarray:
    """Which of these hypotheses to reject to keep the false discovery rate (Benjamini and Hochberg 1995).

    `scipy.stats.false_discovery_control` does the same, but its import takes longer than that of the whole judge.
    """
    order, count = np.argsort(p), len(p)
    passes = np.flatnonzero(np.minimum(p[order], 1.0) * (count / np.arange(1, count + 1)) <= rate)
    rejected = np.zeros(count, np.bool_)
    if len(passes):
        rejected[order[: passes[-1] + 1]] = True
    return rejected
