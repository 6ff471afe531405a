"""What the peers do with each event: River's ADWIN and Page-Hinkley on each number, a count on each category."""

from __future__ import annotations

from collections import Counter
from typing import Any

from river.drift import ADWIN, PageHinkley


class RiverMonitor:
    def __init__(self) -> None:
        self.detectors: dict[str, tuple[Any, Any]] = {}
        self.counts: dict[str, Counter[str]] = {}

    def update(self, features: dict[str, Any]) -> None:
        for name, value in features.items():
            if isinstance(value, float):
                pair = self.detectors.get(name)
                if pair is None:
                    pair = self.detectors[name] = (ADWIN(), PageHinkley())
                pair[0].update(value)
                pair[1].update(value)
            else:
                self.counts.setdefault(name, Counter())[value] += 1
