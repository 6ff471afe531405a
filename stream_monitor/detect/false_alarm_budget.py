"""The false alarms that a model may raise, divided among its detectors. Event time, milliseconds.

`PARTS` is the table: its parts add up to 1. The part `sequential` has equal shares for the `users` of CUSUMs; each
share is divided among the rows of its user (see `judge.detection.sequential` and `judge.detection.share_cusums`). The
parts `windows` and `losses`, and the share of `quality`, are divided equally among window sizes and timelines. A window
gets the share for the time until the next window (`window_level`, `loss_level`, `quality_level`). `shares_of` shows the
division in force.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from types import MappingProxyType
from typing import get_args

from stream_monitor.config.detection import WINDOW_TESTS, DetectionSettings
from stream_monitor.config.durations import WindowSpec, format_duration, per_ms
from stream_monitor.profiles.measures import TimelineName

PARTS = MappingProxyType({"sequential": 0.5, "windows": 0.45, "losses": 0.05})
"""The parts of `detection.false_alarms`."""
QUALITY = "quality"
"""The CUSUMs of missing values, new categories and type changes."""
TIMELINES: tuple[TimelineName, ...] = get_args(TimelineName)
MOST = 0.05
"""No window is judged at a higher level, however rare windows are."""


def users(settings: DetectionSettings) -> tuple[str, ...]:
    """The users of the part `sequential`: the settings that name `cusum`, and `quality` unless it is switched off."""
    by_name = {"input": settings.input, "outcome": settings.outcome, "feedback": settings.feedback}
    named = [name for name, detectors in by_name.items() if "cusum" in detectors]
    quality = {name: test for name, test in WINDOW_TESTS.items() if "quality" in test.kinds}
    followed = any(settings.tolerance.get(name, 0.0) < test.largest for name, test in quality.items())
    return (*named, QUALITY) if followed else tuple(named)


def sequential_ms(settings: DetectionSettings) -> float:
    """Milliseconds of event time in which the CUSUMs of one user may together raise one false alarm."""
    return max(len(users(settings)), 1) / (PARTS["sequential"] * per_ms(settings.false_alarms))


def window_level(settings: DetectionSettings, slide: int, sizes: int) -> float:
    """The level of Benjamini-Hochberg for a window, if one ends every `slide` ms and there are `sizes` window sizes.

    If nothing changed at all, the level is the probability that anything in the window is rejected (Benjamini and
    Hochberg 1995). The levels of all windows add up to their share of the budget. Sliding windows have most values in
    common, but the sum bounds their false alarms too: Boole's inequality needs no independence. The cost is that each
    sliding window is judged as strictly as a tumbling one that is as short as the slide. If `false_discovery_rate` is
    set, it is used as it is.
    """
    return settings.false_discovery_rate or _level(settings, PARTS["windows"], slide, sizes)


def loss_level(settings: DetectionSettings, slide: int, sizes: int) -> float:
    """The level of all losses of a timeline in a window together; arguments as for `window_level`.

    If `false_discovery_rate` is set, the level is the same part of it that losses have beside window tests.
    """
    if settings.false_discovery_rate is not None:
        return settings.false_discovery_rate * PARTS["losses"] / PARTS["windows"]
    return _level(settings, PARTS["losses"], slide, sizes)


def quality_level(settings: DetectionSettings, size: int, sizes: int) -> float:
    """The level of all share CUSUMs of a timeline at the end of a window, if there are `sizes` window sizes."""
    return min(size / (sequential_ms(settings) * sizes * len(TIMELINES)), MOST)


def _level(settings: DetectionSettings, part: float, slide: int, sizes: int) -> float:
    return min(part * per_ms(settings.false_alarms) * slide / (sizes * len(TIMELINES)), MOST)


def shares_of(settings: DetectionSettings, windows: Sequence[WindowSpec]) -> dict[str, float]:
    """The whole budget as named shares, which add up to 1; a share may lie idle, and is not passed on."""
    sequential, sizes = users(settings), [format_duration(window.size) for window in windows]
    shares = {f"sequential {user}": PARTS["sequential"] / len(sequential) for user in sequential if user != QUALITY}
    if not sequential:
        shares["sequential"] = PARTS["sequential"]
    parts = {name: PARTS[name] for name in ("windows", "losses")}
    if QUALITY in sequential:
        parts[QUALITY] = PARTS["sequential"] / len(sequential)
    for (part, share), timeline, size in product(parts.items(), TIMELINES, sizes):
        shares[f"{part} {timeline} {size}"] = share / (len(TIMELINES) * len(sizes))
    return shares
