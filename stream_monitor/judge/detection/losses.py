"""Shares of events that are lost: is more lost than usual, beyond the tolerance?

What is usual is learned from the first `baseline.first` events, but never more than a tenth: a share above that is told
however long it has been so. Until the share is learned, a tenth is taken for usual.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np

from stream_monitor.config.detection import DetectionSettings
from stream_monitor.detect.windows.shares import share
from stream_monitor.events.contracts import Finding
from stream_monitor.judge.detection.verdicts import CLEAN
from stream_monitor.judge.detection.window_evaluation import tolerance

MOST_USUAL = 0.1
"""The largest share that counts as usual."""
ASSUMED = 1_000_000
"""Events behind the share that is assumed while none is learned."""


class UsualShare(msgspec.Struct):
    """What is lost of the first events."""

    lost: int = 0
    total: int = 0

    def learn(self, lost: int, total: int, first: int) -> None:
        """Take in a window, until `first` events are known."""
        if self.total < first:
            self.lost, self.total = self.lost + lost, self.total + total

    def known(self, first: int) -> tuple[float, int]:
        """(lost, total) to compare with; at most a tenth of the total is lost."""
        if self.total < first:
            return MOST_USUAL * ASSUMED, ASSUMED
        return min(self.lost, MOST_USUAL * self.total), self.total


class Loss(NamedTuple):
    """What is lost in a window."""

    detector: str
    lost: int
    total: int
    since: int
    """Start of the window, epoch ms."""
    facts: Mapping[str, Any] = {}
    """More for the evidence: the top reason, where it comes from."""


class Judged(NamedTuple):
    """Whether more is lost than usual."""

    finding: Finding | None
    clean: bool
    """It is surely not found; neither a finding nor clean is doubtful."""


def judge_loss(loss: Loss, usual: tuple[float, int], settings: DetectionSettings, level: float) -> Judged:
    """Compare a share with the usual (lost, total), at a level; only a share that grows is a finding."""
    tolerated = tolerance(settings, loss.detector)
    base, now = ((np.array([float(hits)]), np.array([total])) for hits, total in (usual, (loss.lost, loss.total)))
    tested = share(base, now, tolerated)
    score, p_value = float(tested.score[0]), float(tested.p[0])
    found = score > tolerated and p_value <= level
    if not found:
        return Judged(None, score <= tolerated or p_value > CLEAN)
    evidence = {"lost": loss.lost, "of": loss.total, "since": loss.since, **loss.facts}
    if usual[1] != ASSUMED:
        evidence["usual"] = usual[0] / usual[1]
    finding = Finding(
        detector=loss.detector, score=score, threshold=tolerated, p_value=p_value, direction="up", evidence=evidence
    )
    return Judged(finding, False)
