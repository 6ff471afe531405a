"""How many false alarms a model may give, divided among its detectors. Event time, milliseconds.

Half of `detection.false_alarms` is for sequential detectors: an equal part for every setting (`input`, `outcome`) that
names `cusum`, divided among the rows there are (see `judge.sequential`). The other half is for window tests: an equal
part for every window size and lane, of which a window takes its length's worth (`window_level`).
"""

from __future__ import annotations

from stream_monitor.durations import per_ms
from stream_monitor.settings import DetectionSettings

SEQUENTIAL = 0.5
WINDOWS = 0.5
LANES = 4
"""Clocks of a model whose windows are judged: input, label, feedback, observation."""
MOST = 0.05
"""No window is judged at a higher level, however rare windows are."""


def sequential_ms(settings: DetectionSettings) -> float:
    """Milliseconds in which the CUSUMs of one setting may together ring falsely once."""
    users = ("cusum" in settings.input) + ("cusum" in settings.outcome)
    return max(users, 1) / (SEQUENTIAL * per_ms(settings.false_alarms))


def window_level(settings: DetectionSettings, size: int, sizes: int) -> float:
    """The level of Benjamini-Hochberg for a window of `size` ms, one of so many window sizes.

    When nothing changed at all, that is the chance that anything in the window is rejected (Benjamini and Hochberg
    1995), and levels add up over windows to the share of the budget. `false_discovery_rate`,
    where set, is used as it is.
    """
    if settings.false_discovery_rate is not None:
        return settings.false_discovery_rate
    return min(WINDOWS * per_ms(settings.false_alarms) * size / (sizes * LANES), MOST)
