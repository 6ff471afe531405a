"""The other detectors, one value at a time: ours, River's as they come, and two that game every single score."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from stream_monitor.detect.adwin import Adwin
from stream_monitor.detect.page_hinkley import PageHinkley
from stream_monitor.settings import DetectionSettings

Update = Callable[[float], bool]


def _ours(detector: Adwin | PageHinkley) -> Update:
    return lambda value: detector.update(1, value, 0.0, 0) is not None


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
    """By name, how one is made. River's are left out where River is not installed (extra `demo`)."""
    settings = DetectionSettings()
    table: dict[str, Callable[[], Update]] = {
        "adwin": lambda: _ours(Adwin(settings.adwin_delta)),
        "page_hinkley": lambda: _ours(PageHinkley(settings.page_hinkley_threshold, settings.page_hinkley_delta)),
    }
    if find_spec("river"):
        drift: Any = import_module("river.drift")

        table["River ADWIN"] = lambda: _river(drift.ADWIN())
        table["River ADWIN .05"] = lambda: _river(drift.ADWIN(delta=0.05))
        table["River PageHinkley"] = lambda: _river(drift.PageHinkley())
    return table


def degenerate() -> dict[str, Callable[[], Update]]:
    """What a score must not reward."""
    return {"never": lambda: lambda value: False, "always (every 500)": _always}
