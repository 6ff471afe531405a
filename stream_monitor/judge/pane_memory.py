"""The memory that the open panes of one partition take, and what the judge does when it is too much."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from stream_monitor.judge.model import ModelJudge
from stream_monitor.judge.panes.open_panes import OpenBytes, OpenPanes, cut, merge
from stream_monitor.judge.partition_state import PartitionState

OPEN_BYTES = 128_000_000
"""Limit in bytes for the open panes that all judges of one process hold.

Deltas of which only some panes are open may take as much again.
"""


class PaneMemory:
    """Counts the bytes of the open panes, and merges their parts when they exceed the limit."""

    def __init__(self, state: PartitionState, models: Mapping[str, ModelJudge]) -> None:
        self._state, self._models = state, models
        self.open_bytes = OpenBytes()
        self.limit = OPEN_BYTES
        """Above this limit (bytes) the judge merges the parts of open panes. If that is not enough, it asks the
        workers to wait."""
        self._merged_bytes = 0
        """The bytes that were left after the last merge."""

    def panes(self) -> Iterator[OpenPanes]:
        """The open panes of every timeline of every model."""
        for judge in self._models.values():
            for timeline in judge.state.timelines.values():
                if timeline.open_panes:
                    yield timeline.open_panes

    def count(self) -> None:
        """Recount the bytes that open panes and pending models hold."""
        pending = (delta for model in self._state.pending_models.values() for delta in model.deltas)
        self.open_bytes.count(self.panes(), pending)

    def cut(self) -> None:
        """Cut deltas down to about their cells in open panes."""
        for judge in self._models.values():
            if cut(timeline.open_panes for timeline in judge.state.timelines.values()):
                judge.changed = True
        self.count()

    def merge(self) -> None:
        """Merge the parts of each open pane into one. A changed model is written again with the next snapshot."""
        for judge in self._models.values():
            if sum([merge(timeline.open_panes) for timeline in judge.state.timelines.values()]):
                judge.changed = True
        self.count()

    def must_wait(self) -> bool:
        """Whether the judge holds too much even after it merged the parts of each pane.

        Once the workers wait, they wait until the judge holds no more than half of the limit.
        """
        if self.open_bytes.nbytes > max(self.limit, 2 * self._merged_bytes):
            self.cut()
            self.merge()
            self._merged_bytes = self.open_bytes.nbytes
        elif self.open_bytes.nbytes < self.limit // 2:
            self._merged_bytes = 0
        return self.open_bytes.nbytes > (self.limit // 2 if self._state.told_wait else self.limit)
