"""All tests of a window against its baseline, on bin counts, all measures of a group at once.

Every p-value answers "is the true effect *above its tolerance*?", not "is there any effect?": with a million events
everything differs significantly, and nobody wants to be woken for it. With a tolerance of 0 the classical tests remain.

A test is the function `test` of a module of its name beside this one, and a line of
`config.detection.WINDOW_TESTS`: there its kinds of measures, its tolerance and its largest effect are declared.
"""

from __future__ import annotations

from importlib import import_module

import numpy as np
from scipy import stats

from stream_monitor.config.detection import WINDOW_TESTS
from stream_monitor.detect.windows.binned import Compared, Test, Tested
from stream_monitor.types import F64

TOLERANCE = {name: test.tolerance for name, test in WINDOW_TESTS.items()}
"""Effects that are still no drift; each in its test's own unit."""

ON_WIDTHS = frozenset(name for name, test in WINDOW_TESTS.items() if test.widths)
"""Tests that look at the widths of bins."""


def _quiet(test: Test) -> Test:
    """A test that says p = 1 where nothing can be said: fewer than two values on either side, or all the same."""

    def tested(data: Compared, tolerance: float) -> Tested:
        found = test(data, tolerance)
        few = np.minimum(data.base.sum(axis=1), data.now.sum(axis=1)) < 2
        same = ((data.base > 0) | (data.now > 0)).sum(axis=1) < 2
        return Tested(np.where(few | same, 0.0, found.score), np.where(few | same, 1.0, found.p))

    return tested


TESTS: dict[str, Test] = {
    name: _quiet(import_module(f"stream_monitor.detect.windows.{name}").test)
    for name, test in WINDOW_TESTS.items()
    if {"numeric", "categorical"} & set(test.kinds)
}
"""By name, those of one measure."""


def discoveries(p: F64, rate: float) -> np.ndarray:
    """Benjamini and Hochberg (1995): which of these hypotheses to reject so that the false discovery rate is kept."""
    if not len(p):
        return np.zeros(0, np.bool_)
    return np.asarray(stats.false_discovery_control(np.minimum(p, 1.0)) <= rate)
