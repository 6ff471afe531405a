"""The state of a partition's judge, without its models."""

from __future__ import annotations

import msgspec

from stream_monitor.baselines.pinned import Pin
from stream_monitor.judge.alerts.lifecycle import AlertLifecycle
from stream_monitor.judge.panes.watermarks import Watermarks
from stream_monitor.profiles.delta import Delta
from stream_monitor.profiles.names import NEVER
from stream_monitor.profiles.records import PerformanceDelta, ResetRecord, SettingsRecord


class PendingModel(msgspec.Struct):
    """A pending model: it is not admitted yet, and its deltas wait until its first pane closes."""

    deltas: list[Delta] = []
    performance: list[PerformanceDelta] = []

    def first_pane(self) -> int:
        """The start of its oldest input pane; far in the future when it has none."""
        return min((int(d.pane.min()) for d in self.deltas if d.timeline == "input" and len(d.pane)), default=2**62)

    def events(self, pane: int) -> int:
        """The number of input events in a pane."""
        return sum(int(d.counts[d.pane == pane].sum()) for d in self.deltas if d.timeline == "input")


class PartitionState(msgspec.Struct):
    """The whole state of a partition's judge, without its models."""

    settings: SettingsRecord | None = None
    watermarks: Watermarks = msgspec.field(default_factory=Watermarks)
    pending_models: dict[str, PendingModel] = msgspec.field(name="newcomers", default_factory=dict)
    pins: dict[tuple[str, str], Pin] = {}
    """Pinned baselines by (model, version), kept for models that have not come yet or may come back."""
    incoming: dict[tuple[str, str], Pin] = {}
    """Pinned baselines with parts that have not arrived yet."""
    resets: dict[str, list[ResetRecord]] = {}
    """Resets of models that are not admitted yet; of several with the same scope, the last."""
    alerts: AlertLifecycle = msgspec.field(default_factory=AlertLifecycle)
    has_forgotten_models: bool = msgspec.field(name="forgot", default=False)
    """True once a model was forgotten: workers may still hold edges of a model that comes back."""
    told_progress: int = NEVER
    """The watermark of the last published progress record."""
    told_wait: bool = False
    """Whether the last published progress record asks describe to wait."""
    widths: dict[str, int] = {}
    """The length of each embedding, as first received."""
    refused: int = 0
    """The number of refused records: their structure does not fit."""
    has_unpublished: bool = msgspec.field(name="fresh", default=False)
    """Whether deltas came since the last preview of open windows."""
