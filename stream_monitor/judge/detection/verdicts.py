"""What a window's tests say: which measures get findings, by the false-discovery control, and with which evidence."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stream_monitor.config.detection import DetectionSettings
from stream_monitor.detect.windows.tests import discoveries
from stream_monitor.events.contracts import Finding
from stream_monitor.judge.detection.evidence import categorical_evidence, direction_of, numeric_evidence
from stream_monitor.judge.detection.window_evaluation import QUALITY_TESTS, Kind, MeasureComparison, tolerance

CLEAN = 0.05
"""A window is clean only if its p-value is above this; a smaller one is evidence that the effect exceeds its
tolerance."""


@dataclass(slots=True)
class Verdict:
    """The result of a window for one measure of one group: findings on rejection, none when clean or doubtful."""

    group: int
    measure: str
    kind: Kind
    findings: list[Finding]
    doubtful: bool = False
    """Inconclusive: neither rejected at the level of the window nor clean. It neither opens nor resolves an alert."""


def control_false_discoveries(
    comparisons: Sequence[MeasureComparison], settings: DetectionSettings, level: float
) -> list[Verdict]:
    """Benjamini-Hochberg over a window's measures. A measure's p is the smallest of its tests times their number."""
    families: dict[Kind, list[tuple[MeasureComparison, list[str]]]] = defaultdict(list)
    for comparison in comparisons:
        for kind, names in _by_kind(comparison).items():
            families[kind].append((comparison, names))
    everything = [(kind, comparison, names) for kind, family in families.items() for comparison, names in family]
    p = np.array([min(s.p[name] for name in names) * len(names) for _, s, names in everything])
    rejected = discoveries(p, level)
    return [
        Verdict(
            s.group, s.measure, kind, _findings(s, names, settings, level) if hit else [], not hit and p_value <= CLEAN
        )
        for (kind, s, names), hit, p_value in zip(everything, rejected.tolist(), p.tolist(), strict=True)
        if hit or s.is_whole  # else too few values to call the measure clean: nobody tested its categories
    ]


def _by_kind(comparison: MeasureComparison) -> dict[Kind, list[str]]:
    kinds: dict[Kind, list[str]] = {}
    for name in comparison.p:
        kinds.setdefault("quality" if name in QUALITY_TESTS else "drift", []).append(name)
    return kinds


def evidence_of(comparison: MeasureComparison) -> dict[str, Any]:
    """The evidence of a finding on a measure: baseline against window."""
    if comparison.evidence is not None:
        return comparison.evidence
    if comparison.few:
        return {"baseline": {"n": comparison.baseline.n}, "now": {"n": int(comparison.now.sum())}}
    if comparison.borders is not None:
        return numeric_evidence(
            comparison.baseline, comparison.base_counts, comparison.now, comparison.borders, comparison.extent
        )
    return categorical_evidence(comparison.baseline, comparison.categories or {}, int(comparison.now.sum()))


def _share_evidence(comparison: MeasureComparison, test: str) -> dict[str, Any]:
    """The shares that a quality test compares: of the baseline, and of the `n` events or values of the window."""
    if test not in comparison.shares:
        return {}
    hits_before, of_before, hits, of = comparison.shares[test]
    return {"shares": {"baseline": hits_before / max(of_before, 1), "now": hits / max(of, 1), "n": of}}


def _findings(
    comparison: MeasureComparison, names: Sequence[str], settings: DetectionSettings, level: float
) -> list[Finding]:
    """Findings of the tests of a rejected measure that are significant by themselves, smallest p first."""
    ranked = sorted((comparison.p[name], name) for name in names)
    limit = max(level, ranked[0][0])
    evidence = evidence_of(comparison)
    numeric = comparison.borders is not None and not comparison.few
    direction = direction_of(comparison.base_counts, comparison.now) if numeric else "changed"
    findings: list[Finding] = []
    for p, name in ranked:
        if p <= limit:
            way = direction
            if name == "tail" or name in QUALITY_TESTS:
                way = "up" if comparison.scores[name] > 0 else "down"
            findings.append(
                Finding(
                    detector=name,
                    score=comparison.scores[name],
                    threshold=tolerance(settings, name),
                    p_value=p,
                    direction=way,
                    evidence=(evidence if not findings else {}) | _share_evidence(comparison, name),
                )
            )
    return findings
