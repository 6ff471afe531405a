"""Alerts of volume: a version's event count in a window lies outside the range of a day."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from stream_monitor.detect.windows.volume import VolumeRange
from stream_monitor.judge.alerts.lifecycle import EvidenceSpan
from stream_monitor.judge.consumers.contract import ClosedWindow, RaisedAlert, WindowConsumer
from stream_monitor.judge.detection.verdicts import Verdict
from stream_monitor.judge.timelines.timeline import BaselinesReset, Timeline, WindowEmpty
from stream_monitor.profiles.measures import VOLUME
from stream_monitor.profiles.names import ALL_SEGMENTS


class VolumeState(msgspec.Struct):
    """The learned ranges by (version, segment, window size)."""

    ranges: dict[tuple[str, str, int], VolumeRange] = {}


class VolumeAlerts(WindowConsumer[VolumeState]):
    """Learns the range of event counts of a day, then tests each window's count against it."""

    name, State = "volume", VolumeState

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
            count = counts.get(group, 0)
            volume_range = self.state.ranges.setdefault((version, segment, span.size), VolumeRange())
            finding = volume_range.check(count, slide, tolerance)
            if finding is None and not volume_range.learned(slide):
                volume_range.train(count, partial=span.size // slide - 1)
                continue
            verdict = Verdict(group, VOLUME, "drift", [finding] if finding else [])
            yield from self.context.raise_alert(timeline, verdict, span)

    def on_reset(self, reset: BaselinesReset) -> tuple[str, ...]:
        """Forget the ranges that a reset covers. A range is never pinned, so a reset of one version leaves it."""
        record = reset.reset
        if reset.timeline.state.name != "input" or not (record.version is None or record.measure == VOLUME):
            return ()
        for key in [key for key in self.state.ranges if record.covers(key[0], key[1], VOLUME)]:
            del self.state.ranges[key]
        return (VOLUME,)
