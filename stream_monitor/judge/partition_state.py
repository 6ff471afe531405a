"""What the judge of a partition remembers beside its models."""

from __future__ import annotations

import msgspec

from stream_monitor.baselines.pinned import Pin
from stream_monitor.judge.alerts.lifecycle import AlertLifecycle
from stream_monitor.judge.panes.watermarks import Watermarks
from stream_monitor.profiles.delta import Delta
from stream_monitor.profiles.names import NEVER
from stream_monitor.profiles.records import PerformanceDelta, ResetRecord, SettingsRecord


class PendingModel(msgspec.Struct):
    """A model that is not admitted yet: what came of it waits until its first pane closes."""

    deltas: list[Delta] = []
    performance: list[PerformanceDelta] = []

    def first_pane(self) -> int:
        """Start of its oldest pane of traffic; far in the future when it has none."""
        return min((int(d.pane.min()) for d in self.deltas if d.timeline == "input" and len(d.pane)), default=2**62)

    def events(self, pane: int) -> int:
        """Events in that pane."""
        return sum(int(d.counts[d.pane == pane].sum()) for d in self.deltas if d.timeline == "input")


class PartitionState(msgspec.Struct):
    """Everything the judge of a partition remembers beside its models."""

    settings: SettingsRecord | None = None
    watermarks: Watermarks = msgspec.field(default_factory=Watermarks)
    pending_models: dict[str, PendingModel] = msgspec.field(name="newcomers", default_factory=dict)
    pins: dict[tuple[str, str], Pin] = {}
    """Pinned baselines by (model, version), kept for the day on which the model comes, or comes again."""
    incoming: dict[tuple[str, str], Pin] = {}
    """Those of which not all parts have come."""
    resets: dict[str, list[ResetRecord]] = {}
    """Of models that have not come yet; of one scope the last."""
    alerts: AlertLifecycle = msgspec.field(default_factory=AlertLifecycle)
    has_forgotten_models: bool = msgspec.field(name="forgot", default=False)
    """A model was forgotten: of one that comes, workers may know edges of before."""
    told_progress: int = NEVER
    """The watermark that describe was told last."""
    told_wait: bool = False
    """Describe was told to wait."""
    widths: dict[str, int] = {}
    """Of the embeddings of a name, as they came first."""
    refused: int = 0
    """Records of another structure, which are left out."""
    has_unpublished: bool = msgspec.field(name="fresh", default=False)
    """Something came since open windows were last shown."""
