"""Alerts of volume: a version's event count in a window lies outside the range of the first day, or of recent ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from stream_monitor.detect.windows.volume import VolumeRange
from stream_monitor.detect.windows.volume_history import VolumeHistory, volume_plan
from stream_monitor.judge.alerts.lifecycle import AlertKey, EvidenceSpan
from stream_monitor.judge.consumers.contract import ClosedWindow, ModelContext, RaisedAlert, WindowConsumer
from stream_monitor.judge.detection.verdicts import Verdict
from stream_monitor.judge.timelines.timeline import BaselinesReset, Timeline, WindowEmpty
from stream_monitor.profiles.measures import VOLUME
from stream_monitor.profiles.names import ALL_SEGMENTS


class VolumeState(msgspec.Struct):
    """The learned ranges by (version, segment, window size)."""

    ranges: dict[tuple[str, str, int], VolumeRange] = {}
    histories: dict[tuple[str, str, int], VolumeHistory] = {}
    """Recent ranges, where `baseline.kind` asks for them."""


class VolumeAlerts(WindowConsumer[VolumeState]):
    """Learns the range of event counts of a day, then tests each window's count against it."""

    name, State = "volume", VolumeState

    def __init__(self, context: ModelContext, state: VolumeState) -> None:
        super().__init__(context, state)
        self._plan = volume_plan(context.settings.baseline)
        if self._plan is None:
            state.histories = {}

    def on_window(self, closed: ClosedWindow) -> Iterator[RaisedAlert]:
        """Test the counts of a window of predictions."""
        if closed.timeline.state.name == "input":
            counts = dict(enumerate(closed.window.counts[:, 0].tolist()))
            yield from self._check(closed.timeline, counts, closed.span)

    def on_empty_window(self, empty: WindowEmpty) -> Iterator[RaisedAlert]:
        """Test the count 0."""
        if empty.timeline.state.name == "input":
            yield from self._check(empty.timeline, {}, EvidenceSpan(empty.start, empty.start + empty.size, empty.size))

    def _check(self, timeline: Timeline, counts: Mapping[int, int], span: EvidenceSpan) -> Iterator[RaisedAlert]:
        """Test each version's count in a window. `counts` is by group; a missing group is 0."""
        tolerance = self.context.settings.detection.tolerance.get("volume", 2.0)
        slide = timeline.slide_of[span.size]
        for group, (version, segment) in enumerate(timeline.state.ids.groups):
            if segment != ALL_SEGMENTS:
                continue
            count, key = counts.get(group, 0), (version, segment, span.size)
            volume_range = self.state.ranges.setdefault(key, VolumeRange())
            recent = self._plan is not None and self._recent(key).known(self._plan, span.start)
            if self._plan is not None and recent:
                finding = self._recent(key).check(self._plan, span.start, count, tolerance)
            else:
                finding = volume_range.check(count, slide, tolerance)
            if volume_range.learned(slide) or recent:
                verdict = Verdict(group, VOLUME, "drift", [finding] if finding else [])
                yield from self.context.raise_alert(timeline, verdict, span)
            else:
                volume_range.train(count, partial=span.size // slide - 1)
            self._learn(key, span, count)

    def _recent(self, key: tuple[str, str, int]) -> VolumeHistory:
        return self.state.histories.setdefault(key, VolumeHistory())

    def _learn(self, key: tuple[str, str, int], span: EvidenceSpan, count: int) -> None:
        """Add a window to the recent range, unless an alert covers it while the range is known."""
        if self._plan is None:
            return
        cause, history = AlertKey(self.context.model, key[0], key[1], VOLUME, "drift"), self._recent(key)
        accept_after = self.context.settings.baseline.accept_after
        alarmed = self.context.alerts.alarmed(cause, (span.start, span.end), accept_after)
        if not alarmed or not history.known(self._plan, span.start):
            history.learn(self._plan, span.start, count)

    def on_reset(self, reset: BaselinesReset) -> tuple[str, ...]:
        """Forget the ranges that a reset covers. A range is never pinned, so a reset of one version leaves it."""
        record = reset.reset
        if reset.timeline.state.name != "input" or not (record.version is None or record.measure == VOLUME):
            return ()
        for key in [key for key in self.state.ranges if record.covers(key[0], key[1], VOLUME)]:
            del self.state.ranges[key]
            self.state.histories.pop(key, None)
        return (VOLUME,)
