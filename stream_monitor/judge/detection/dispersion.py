"""How a judged window updates the overdispersion of its measures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stream_monitor.detect.windows.overdispersion import Dispersion, DispersionSample, DispersionUpdate, Key
from stream_monitor.judge.detection.verdicts import Verdict
from stream_monitor.judge.detection.window_evaluation import MeasureComparison
from stream_monitor.profiles.bins import BINS
from stream_monitor.types import F64, I64


def dispersion_update(
    comparisons: Sequence[MeasureComparison], verdicts: Sequence[Verdict], dispersion: Dispersion
) -> DispersionUpdate | None:
    """The update of overdispersion by a judged window: by its values, and by the shares of the quality tests."""
    rejected = {(v.group, v.measure, v.kind) for v in verdicts if v.findings}
    rows: list[tuple[Key, I64 | F64, I64, bool, bool, I64]] = []
    for comparison in comparisons:
        if comparison.evidence is not None:  # sampled rows together: no counts of values
            continue
        key = comparison.group, comparison.measure
        if not comparison.few:
            hit = (*key, "drift") in rejected
            rows.append(((*key, ""), comparison.base, comparison.now, comparison.recent, hit, comparison.order))
        for test, (base_hits, base_n, hits, n) in comparison.shares.items():
            if hits or (*key, test) in dispersion.rows:
                counts = _two(base_hits, base_n), _two(hits, n)
                rows.append(((*key, test), *counts, comparison.recent, (*key, "quality") in rejected, np.arange(BINS)))
    if not rows:
        return None
    keys, base, now, moving, hits_of, order = zip(*rows, strict=True)
    tables = np.stack(base), np.stack(now), np.array(moving), np.array(hits_of), np.stack(order)
    return DispersionUpdate(dispersion, keys, DispersionSample(*tables))


def _two(hits: int, n: int) -> I64:
    counts = np.zeros(BINS, np.int64)
    counts[:2] = hits, n - hits
    return counts
