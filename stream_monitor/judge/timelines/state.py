"""The state of a timeline, and the settings that it needs."""

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
from stream_monitor.judge.detection.share_cusums import ShareCusums
from stream_monitor.judge.panes.pane import IdRegistry, PanePart
from stream_monitor.judge.panes.windows import Window
from stream_monitor.profiles.bin_catalog import CatalogRecord
from stream_monitor.profiles.bins import BinEdges
from stream_monitor.profiles.measures import TimelineName as TimelineName
from stream_monitor.profiles.names import NEVER
from stream_monitor.profiles.records import ResetRecord


class BaselineBuilders(msgspec.Struct):
    """All baselines of a timeline that are being built, by (segment, measure), and the events so far by segment."""

    by_key: dict[tuple[str, str], BaselineBuilder] = {}
    events: dict[str, int] = {}


class TimelineState(msgspec.Struct):
    """The whole state of a timeline, once `Timeline.flush_merges` has run. A snapshot writes exactly this."""

    name: TimelineName
    windows: list[Window]
    """The parts that are being filled, one for each window size: see `windows.WindowAssembler`."""
    closed_until: int = msgspec.field(name="closed", default=NEVER)
    """All panes that start before this have closed."""
    last_window_end: dict[int, int] = msgspec.field(name="lively", default_factory=dict)
    empty_windows: dict[int, int] = {}
    """By window size: the end of the last window, while the next window may be the first empty one."""
    ids: IdRegistry = msgspec.field(default_factory=lambda: IdRegistry({}, {}))
    open_panes: dict[int, list[PanePart]] = msgspec.field(name="open", default_factory=dict)
    builders: BaselineBuilders = msgspec.field(default_factory=BaselineBuilders, name="filler")
    baselines: Baselines = msgspec.field(default_factory=Baselines)
    edges: dict[str, BinEdges] = {}
    sequential: SequentialState = msgspec.field(default_factory=SequentialState)
    recent: RecentState = msgspec.field(default_factory=RecentState)
    dispersion: dict[int, Dispersion] = {}
    """Overdispersion by window size."""
    share_cusums: dict[int, ShareCusums] = {}
    """By window size: quality tests whose evidence adds up over windows."""
    closed_parts: dict[int, list[Window]] = msgspec.field(name="earlier", default_factory=dict)
    """By window size: the parts before those in `windows`, oldest first. Tumbling windows have none."""
    resets: list[ResetRecord] = []
    """Resets whose pane has not closed yet; of several with the same scope, the last."""
    edges_to_rebuild: set[str] = msgspec.field(name="renewing", default_factory=set)
    """Measures whose next baseline builds new edges. Until then windows count on the old ones."""
    former_edges: dict[str, dict[int, np.ndarray]] = msgspec.field(name="others", default_factory=dict)
    """By measure and version: edges that are no longer active."""
    told_again: set[str] = set()
    """Measures whose edges describe was told again, because counts came on edges that are not known here."""
    after_idle: int = 0
    """The number of events after idle. Only inputs have them: labels, feedback and observations count in the next
    pane."""
    joint: RowsState = msgspec.field(default_factory=RowsState)
    centroids: dict[str, Centroid] = {}
    """By the measure of an embedding: its centroid, complete or being built."""
    pinned_centroids: dict[str, np.ndarray] = {}
    """By the measure of an embedding: pinned centroids, used in place of built ones."""
    last_tumbling: Window | None = msgspec.field(name="finished", default=None)
    """The last finished window of the shortest size, without values, categories and sampled rows. The timeline keeps it
    if these windows tumble and sequential detectors run: a change may have begun in it."""

    @property
    def waiting(self) -> bool:
        """Whether panes or windows are open."""
        return bool(self.open_panes or self.closed_parts) or not all(window.empty for window in self.windows)


@dataclass(frozen=True, slots=True)
class CatalogUpdate:
    """A change of the catalog: new edges or categories for describe, or a new active baseline."""

    timeline: TimelineName
    record: CatalogRecord


@dataclass(frozen=True, slots=True)
class TimelineRules:
    """The settings that a timeline needs."""

    model: str
    pane_ms: int
    windows: Sequence[WindowSpec]
    first: int
    first_within: int | None
    """ms after which a baseline with `LEAST_FIRST` values is complete; None: never."""
    caps: CapSettings
    limits: Mapping[str, tuple[float, ...]]
    sequential: SequentialRules
    recent: SlicePlan | None = None
