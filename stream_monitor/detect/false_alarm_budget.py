"""The false alarms that a model may raise, divided among its detectors. Event time, milliseconds.

Half of `detection.false_alarms` is for sequential detectors: an equal part for every setting (`input`, `outcome`) that
names `cusum`, divided among the rows (see `judge.detection.sequential`). The other half is for window tests: an equal
part for every window size and timeline. A window gets the part for the time until the next window (`window_level`).
"""

from __future__ import annotations

from stream_monitor.config.detection import DetectionSettings
from stream_monitor.config.durations import per_ms

SEQUENTIAL = 0.5
WINDOWS = 0.5
TIMELINES = 4
"""Timelines of a model: input, label, feedback, observation."""
MOST = 0.05
"""No window is judged at a higher level, however rare windows are."""


def sequential_ms(settings: DetectionSettings) -> float:
    """Milliseconds of event time in which the CUSUMs of one setting may together raise one false alarm."""
    users = ("cusum" in settings.input) + ("cusum" in settings.outcome)
    return max(users, 1) / (SEQUENTIAL * per_ms(settings.false_alarms))


def window_level(settings: DetectionSettings, slide: int, sizes: int) -> float:
    """The level of Benjamini-Hochberg for a window, if one ends every `slide` ms and there are `sizes` window sizes.

    If nothing changed at all, the level is the probability that anything in the window is rejected (Benjamini and
    Hochberg 1995). The levels of all windows add up to their share of the budget. Sliding windows have most values in
    common, but the sum bounds their false alarms too: Boole's inequality needs no independence. The cost is that each
    sliding window is judged as strictly as a tumbling one that is as short as the slide. If `false_discovery_rate` is
    set, it is used as it is.
    """
    if settings.false_discovery_rate is not None:
        return settings.false_discovery_rate
    return min(WINDOWS * per_ms(settings.false_alarms) * slide / (sizes * TIMELINES), MOST)
