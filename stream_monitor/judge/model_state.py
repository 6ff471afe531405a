"""What a judge remembers of a model."""

from __future__ import annotations

import msgspec

from stream_monitor.config.settings import Settings
from stream_monitor.detect.windows.volume import VolumeRange
from stream_monitor.events.contracts import Health
from stream_monitor.judge.alerts.error_impact import ImpactTracker
from stream_monitor.judge.alerts.lifecycle import AlertLifecycle
from stream_monitor.judge.detection.window_evaluation import Kind
from stream_monitor.judge.metrics.performance import Performance, lags_of
from stream_monitor.judge.panes.windows import Window
from stream_monitor.judge.timelines.state import TimelineState
from stream_monitor.profiles.measures import TimelineName as TimelineName
from stream_monitor.profiles.names import NEVER

TIMELINES: tuple[TimelineName, ...] = ("input", "label", "feedback", "observation")

ATTRIBUTED: tuple[TimelineName, ...] = ("input", "label")
"""Lanes whose alerts say where a drift comes from."""

ABNORMAL: tuple[Kind, ...] = ("drift", "quality", "limit")
"""Alerts whose time does not become a recent baseline."""

FROM_BASELINES: tuple[Kind, ...] = ("drift", "quality")
"""Alerts that say how far something is from its baseline."""


class ModelState(msgspec.Struct):
    """Everything a judge remembers of a model."""

    model: str
    timelines: dict[str, TimelineState] = msgspec.field(name="lanes")
    performance: Performance
    alerts: AlertLifecycle = msgspec.field(default_factory=AlertLifecycle)
    volumes: dict[tuple[str, str, int], VolumeRange] = {}
    last_event: int = NEVER
    """Event time of the newest pane with traffic: a model is quiet when this is long ago."""
    lost_labels: int = 0
    watches: ImpactTracker = msgspec.field(default_factory=ImpactTracker)
    health: Health | None = None
    """The record of its health that was published last."""

    @property
    def waiting(self) -> bool:
        """Whether panes or windows wait to be published: time can jump past `model_ttl` while they do."""
        return bool(self.performance.windows) or any(timeline.waiting for timeline in self.timelines.values())


def new_state(model: str, settings: Settings) -> ModelState:
    """A model that was never seen."""
    windows = settings.time.windows
    sizes = sorted({max(spec.size, settings.join.grain) for spec in windows})
    timelines: dict[str, TimelineState] = {
        name: TimelineState(name, [Window(spec.slide) for spec in windows]) for name in TIMELINES
    }
    return ModelState(
        model, timelines, Performance(sizes, lags_of(settings.join.revisions, settings.join.label_horizon))
    )
