"""The other detectors, one value at a time: ours, River's as they come, and two that game every single score."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from stream_monitor.detect.adwin import Adwin
from stream_monitor.detect.e_sr import ESr
from stream_monitor.detect.page_hinkley import PageHinkley
from stream_monitor.detect.river_adapter import rivers
from stream_monitor.settings import DetectionSettings

Update = Callable[[float], bool]

E_SR_ARL0, E_SR_FIRST = 1e5, 2_000
"""As the CUSUMs beside it."""


def _ours(detector: Adwin | PageHinkley) -> Update:
    return lambda value: detector.update(1, value, 0.0, 0) is not None


def _e_sr(arl0: float, first: int) -> Update:
    """Learns from the first values, and is quiet for ever when they are no rates."""
    detector, waiting = ESr(arl0), list[float]()

    def update(value: float) -> bool:
        if detector.learned:
            return detector.update(1, value, 0.0, 0) is not None
        waiting.append(value)
        if len(waiting) == first:
            detector.learn(first, sum(waiting) / first, (min(waiting), max(waiting)))
        return False

    return update


def _river(detector: Any) -> Update:
    def update(value: float) -> bool:
        detector.update(value)
        return bool(detector.drift_detected)

    return update


def _always() -> Update:
    seen = 0

    def update(value: float) -> bool:
        nonlocal seen
        seen += 1
        return seen % 500 == 0

    return update


def contenders() -> dict[str, Callable[[], Update]]:
    """By name, how one is made. River's are left out where River is not installed (extra `river`)."""
    settings = DetectionSettings()
    table: dict[str, Callable[[], Update]] = {
        "adwin": lambda: _ours(Adwin(settings.adwin_delta)),
        "page_hinkley": lambda: _ours(PageHinkley(settings.page_hinkley_threshold, settings.page_hinkley_delta)),
        "e_sr": lambda: _e_sr(E_SR_ARL0, E_SR_FIRST),
    }
    if find_spec("river"):
        table["River ADWIN"] = lambda: _river(rivers("ADWIN"))
        table["River ADWIN .05"] = lambda: _river(rivers("ADWIN", delta=0.05))
        table["River PageHinkley"] = lambda: _river(rivers("PageHinkley"))
    return table


def degenerate() -> dict[str, Callable[[], Update]]:
    """What a score must not reward."""
    return {"never": lambda: lambda value: False, "always (every 500)": _always}
