"""The state of one model in the judge."""

from __future__ import annotations

from typing import Any

import msgspec

from stream_monitor.config.settings import Settings
from stream_monitor.judge.alerts.lifecycle import AlertLifecycle
from stream_monitor.judge.detection.window_evaluation import Kind
from stream_monitor.judge.metrics.performance import Performance, lags_of
from stream_monitor.judge.panes.windows import Window
from stream_monitor.judge.timelines.state import TimelineState
from stream_monitor.profiles.measures import TimelineName as TimelineName
from stream_monitor.profiles.names import NEVER

TIMELINES: tuple[TimelineName, ...] = ("input", "label", "feedback", "observation")

ABNORMAL: tuple[Kind, ...] = ("drift", "quality", "limit")
"""Kinds of alerts whose time span is kept out of recent baselines."""

FROM_BASELINES: tuple[Kind, ...] = ("drift", "quality")
"""Kinds of alerts that compare with a baseline."""


class ModelState(msgspec.Struct):
    """The whole state of a model in the judge."""

    model: str
    timelines: dict[str, TimelineState] = msgspec.field(name="lanes")
    performance: Performance
    alerts: AlertLifecycle = msgspec.field(default_factory=AlertLifecycle)
    last_event: int = NEVER
    """Event time of the newest pane with predictions. The judge forgets the model `model_ttl` after it."""
    lost_labels: int = 0
    consumers: dict[str, Any] = {}
    """The state of each consumer of closed windows by its name, see `consumers.registry`. Just after it was read from a
    snapshot it is what MessagePack made of it; the consumer turns it into its struct."""

    @property
    def waiting(self) -> bool:
        """Whether panes or windows are open. The watermark can jump past `model_ttl` while they are."""
        return bool(self.performance.windows) or any(timeline.waiting for timeline in self.timelines.values())


def new_state(model: str, settings: Settings) -> ModelState:
    """The state of a model that was never seen."""
    windows = settings.time.windows
    sizes = sorted({max(spec.size, settings.join.grain) for spec in windows})
    timelines: dict[str, TimelineState] = {
        name: TimelineState(name, [Window(spec.slide) for spec in windows]) for name in TIMELINES
    }
    return ModelState(
        model, timelines, Performance(sizes, lags_of(settings.join.revisions, settings.join.label_horizon))
    )
