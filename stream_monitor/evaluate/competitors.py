"""The other detectors, one value at a time: ours, River's as they come, and two that game every single score."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

from stream_monitor.config.detection import DetectionSettings
from stream_monitor.detect.sequential.adwin import Adwin
from stream_monitor.detect.sequential.e_sr import ESr
from stream_monitor.detect.sequential.page_hinkley import PageHinkley
from stream_monitor.detect.sequential.river_adapter import rivers

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


class Competitor(NamedTuple):
    """How one is made; whether it takes zeros and ones only, and whether it is too slow for more than a few runs.

    `learns`: of so many first values it makes its baseline, in which it finds nothing.
    """

    make: Callable[[], Update]
    rates: bool = False
    slow: bool = False
    learns: int = 0


def _river(detector: Any) -> Update:
    def update(value: float) -> bool:
        detector.update(value)
        return bool(detector.drift_detected)

    return update


def _fhddm() -> Update:
    """As in its paper: fed with right answers, of which it finds a fall."""
    update = _river(rivers("FHDDM"))
    return lambda value: update(1 - value)


def _always() -> Update:
    seen = 0

    def update(value: float) -> bool:
        nonlocal seen
        seen += 1
        return seen % 500 == 0

    return update


def competitors() -> dict[str, Competitor]:
    """By name, how one is made. River's, by its defaults, are left out where it is not installed (extra `river`)."""
    settings = DetectionSettings()
    hinkley = settings.page_hinkley_threshold, settings.page_hinkley_delta
    table = {
        "adwin": Competitor(lambda: _ours(Adwin(settings.adwin_delta))),
        "page_hinkley": Competitor(lambda: _ours(PageHinkley(*hinkley))),
        "e_sr": Competitor(lambda: _e_sr(E_SR_ARL0, E_SR_FIRST), learns=E_SR_FIRST),
    }
    if find_spec("river"):
        table["River ADWIN"] = Competitor(lambda: _river(rivers("ADWIN")))
        table["River ADWIN .05"] = Competitor(lambda: _river(rivers("ADWIN", delta=0.05)))
        table["River PageHinkley"] = Competitor(lambda: _river(rivers("PageHinkley")))
        table["River HDDM_A"] = Competitor(lambda: _river(rivers("HDDMA")), rates=True)
        table["River HDDM_A two-sided"] = Competitor(lambda: _river(rivers("HDDMA", two_sided_test=True)), rates=True)
        table["River HDDM_W"] = Competitor(lambda: _river(rivers("HDDMW")), rates=True)
        table["River DDM"] = Competitor(lambda: _river(rivers("DDM")), rates=True)
        table["River EDDM"] = Competitor(lambda: _river(rivers("EDDM")), rates=True)
        table["River FHDDM"] = Competitor(_fhddm, rates=True)
        table["River KSWIN"] = Competitor(lambda: _river(rivers("KSWIN", seed=1)), slow=True)
    return table


def degenerate() -> dict[str, Competitor]:
    """What a score must not reward."""
    return {"never": Competitor(lambda: lambda value: False), "always (every 500)": Competitor(_always)}
