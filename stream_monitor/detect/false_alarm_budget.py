"""How many false alarms a model may give, divided among its detectors. Event time, milliseconds.

Half of `detection.false_alarms` is for sequential detectors: an equal part for every setting (`input`, `outcome`) that
names `cusum`, divided among the rows there are (see `judge.detection.sequential`). The other half is for window tests:
an equal part for every window size and timeline. A window takes of it what falls to the time until the next window
(`window_level`).
"""

from __future__ import annotations

from stream_monitor.config.detection import DetectionSettings
from stream_monitor.config.durations import per_ms

SEQUENTIAL = 0.5
WINDOWS = 0.5
TIMELINES = 4
"""Clocks of a model whose windows are judged: input, label, feedback, observation."""
MOST = 0.05
"""No window is judged at a higher level, however rare windows are."""


def sequential_ms(settings: DetectionSettings) -> float:
    """Milliseconds in which the CUSUMs of one setting may together ring falsely once."""
    users = ("cusum" in settings.input) + ("cusum" in settings.outcome)
    return max(users, 1) / (SEQUENTIAL * per_ms(settings.false_alarms))


def window_level(settings: DetectionSettings, slide: int, sizes: int) -> float:
    """The level of Benjamini-Hochberg for a window of which one ends every `slide` ms, one of so many window sizes.

    When nothing changed at all, that is the chance that anything in the window is rejected (Benjamini and Hochberg
    1995), and levels add up over windows to the share of the budget. That sum bounds the false alarms of sliding
    windows too, which have most values in common (Boole's inequality asks for no independence); what it costs is that
    each is judged as strictly as a tumbling one that is as short as the slide. `false_discovery_rate`, where set, is
    used as it is.
    """
    if settings.false_discovery_rate is not None:
        return settings.false_discovery_rate
    return min(WINDOWS * per_ms(settings.false_alarms) * slide / (sizes * TIMELINES), MOST)
