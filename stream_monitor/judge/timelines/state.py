"""What a lane remembers, and what it needs of the settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from stream_monitor.baselines.baseline import BaselineBuilder, Baselines
from stream_monitor.baselines.recent import SlicePlan
from stream_monitor.config.durations import WindowSpec
from stream_monitor.config.settings import CapSettings
from stream_monitor.detect.windows.overdispersion import Dispersion
from stream_monitor.judge.baselines.centroids import Centroid
from stream_monitor.judge.baselines.recent import RecentState
from stream_monitor.judge.detection.multivariate import RowsState
from stream_monitor.judge.detection.sequential import SequentialRules, SequentialState
from stream_monitor.judge.panes.pane import IdRegistry, PanePart
from stream_monitor.judge.panes.windows import Window
from stream_monitor.profiles.bin_catalog import CatalogRecord
from stream_monitor.profiles.bins import BinEdges
from stream_monitor.profiles.measures import TimelineName as TimelineName
from stream_monitor.profiles.names import NEVER
from stream_monitor.profiles.records import ResetRecord


class BaselineBuilders(msgspec.Struct):
    """All baselines in the making of a lane, by (segment, measure), and the events of their segments so far."""

    by_key: dict[tuple[str, str], BaselineBuilder] = {}
    events: dict[str, int] = {}


class TimelineState(msgspec.Struct):
    """Everything a lane remembers, after `Lane.catch_up`; a snapshot writes just this."""

    name: TimelineName
    windows: list[Window]
    """The parts, one a window size, that are being filled: see `windows.Slides`."""
    closed_until: int = msgspec.field(name="closed", default=NEVER)
    """All panes that start before this have closed."""
    last_window_end: dict[int, int] = msgspec.field(name="lively", default_factory=dict)
    """By window size: the end of the last window, as long as the one after it may be the first empty one."""
    ids: IdRegistry = msgspec.field(default_factory=lambda: IdRegistry({}, {}))
    open_panes: dict[int, list[PanePart]] = msgspec.field(name="open", default_factory=dict)
    builders: BaselineBuilders = msgspec.field(default_factory=BaselineBuilders, name="filler")
    baselines: Baselines = msgspec.field(default_factory=Baselines)
    edges: dict[str, BinEdges] = {}
    sequential: SequentialState = msgspec.field(default_factory=SequentialState)
    recent: RecentState = msgspec.field(default_factory=RecentState)
    dispersion: dict[int, Dispersion] = {}
    """How much windows scatter, by their size."""
    closed_parts: dict[int, list[Window]] = msgspec.field(name="earlier", default_factory=dict)
    """By window size: the parts before those of `windows`, oldest first; none of tumbling windows."""
    resets: list[ResetRecord] = []
    """Those whose pane has not come yet; of one scope the last."""
    edges_to_rebuild: set[str] = msgspec.field(name="renewing", default_factory=set)
    """Measures whose edges are made anew by their next baseline; until then windows count on those there are."""
    former_edges: dict[str, dict[int, np.ndarray]] = msgspec.field(name="others", default_factory=dict)
    """By measure and version: borders of edges that are not in force."""
    edges_may_be_foreign: bool = msgspec.field(name="again", default=False)
    """Parts may lie on edges of which nothing is known: of the same model before it was forgotten, or of a time that
    the log no longer holds."""
    after_idle: int = 0
    """Events that came for panes which had closed; of labels and feedback none, for they count in the next pane."""
    joint: RowsState = msgspec.field(default_factory=RowsState)
    centroids: dict[str, Centroid] = {}
    """By the measure of an embedding."""
    pinned_centroids: dict[str, np.ndarray] = {}
    """By the measure of an embedding, in place of those that were made."""
    last_tumbling: Window | None = msgspec.field(name="finished", default=None)
    """The shortest window that finished last, its numbers only; kept where windows tumble and a change that sequential
    detectors find may have begun in it."""

    @property
    def waiting(self) -> bool:
        """Whether panes or windows wait to be published."""
        return bool(self.open_panes or self.closed_parts) or not all(window.empty for window in self.windows)


@dataclass(frozen=True, slots=True)
class CatalogUpdate:
    """Edges or categories that describe should know of, or a baseline that came into force."""

    timeline: TimelineName
    record: CatalogRecord


@dataclass(frozen=True, slots=True)
class TimelineRules:
    """What a lane needs of the settings."""

    model: str
    pane_ms: int
    windows: Sequence[WindowSpec]
    first: int
    caps: CapSettings
    limits: Mapping[str, tuple[float, ...]]
    sequential: SequentialRules
    recent: SlicePlan | None = None
