"""Alerts of silence: a model, a version or a segment from which no events come while others go on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from stream_monitor.config.durations import DAY, format_duration
from stream_monitor.detect.windows.quiet import LEAST, QuietRun
from stream_monitor.events.contracts import Finding
from stream_monitor.judge.alerts.lifecycle import AlertKey, EvidenceSpan
from stream_monitor.judge.consumers.contract import ClosedWindow, ModelContext, RaisedAlert, WindowConsumer
from stream_monitor.judge.timelines.timeline import Timeline, WindowEmpty
from stream_monitor.profiles.measures import VOLUME
from stream_monitor.profiles.names import ALL_SEGMENTS, OTHER

Group = tuple[str, str]
"""(version, segment); (`all`, `all`) is the whole model."""
WHOLE: Group = (ALL_SEGMENTS, ALL_SEGMENTS)
RETIRED = DAY
"""A version or segment from which nothing came for so long is not expected any more."""


class AbsenceState(msgspec.Struct):
    """What is known of the traffic."""

    model: dict[int, QuietRun] = {}
    """Of the whole model, by window size."""
    groups: dict[Group, QuietRun] = {}
    """Of its versions and segments, in the shortest windows."""


class AbsenceAlerts(WindowConsumer[AbsenceState]):
    """Tells a model, a version or a segment that went quiet, from its first day on."""

    name, State = "absence", AbsenceState

    def __init__(self, context: ModelContext, state: AbsenceState) -> None:
        super().__init__(context, state)
        self._rules = context.settings.detection.model_copy(update={"persistence": 1, "recovery": 1, "cooldown": 0})

    def on_window(self, closed: ClosedWindow) -> Iterator[RaisedAlert]:
        """Take in the counts of a window of predictions."""
        if closed.timeline.state.name == "input":
            counts = dict(zip(closed.timeline.state.ids.groups, closed.window.counts[:, 0].tolist(), strict=False))
            yield from self._take(closed.timeline, counts, closed.span)

    def on_empty_window(self, empty: WindowEmpty) -> Iterator[RaisedAlert]:
        """Take in a window without predictions."""
        if empty.timeline.state.name == "input":
            yield from self._take(empty.timeline, {}, EvidenceSpan(empty.start, empty.start + empty.size, empty.size))

    def _take(self, timeline: Timeline, counts: Mapping[Group, int], span: EvidenceSpan) -> Iterator[RaisedAlert]:
        total = sum(count for (_, segment), count in counts.items() if segment == ALL_SEGMENTS)
        overlap = timeline.slide_of[span.size] / span.size
        run = self.state.model.setdefault(span.size, QuietRun())
        yield from self._raise(timeline, WHOLE, run, run.observe(total, total, span.start, overlap), span)
        if span.size == self.context.shortest_window and total:
            yield from self._take_groups(timeline, counts, total, span)

    def _take_groups(
        self, timeline: Timeline, counts: Mapping[Group, int], total: int, span: EvidenceSpan
    ) -> Iterator[RaisedAlert]:
        overlap = timeline.slide_of[span.size] / span.size
        for group in timeline.state.ids.groups:
            if OTHER in group:
                continue
            run = self.state.groups.setdefault(group, QuietRun())
            silent = run.observe(counts.get(group, 0), total, span.start, overlap)
            version = self.state.groups.get((group[0], ALL_SEGMENTS), run)
            if silent and version.replaced:
                yield from self._end(timeline, group, span, "other versions get its events")
            elif silent and span.end - run.since >= RETIRED:
                yield from self._end(
                    timeline, group, span, f"no event for {format_duration(RETIRED)}: it counts as retired"
                )
                del self.state.groups[group]
            else:
                yield from self._raise(timeline, group, run, silent, span)

    def _end(self, timeline: Timeline, group: Group, span: EvidenceSpan, reason: str) -> Iterator[RaisedAlert]:
        """Resolve the alert of a group, if one is open."""
        cause = AlertKey(self.context.model, *group, VOLUME, "silence")
        if (alert := self.context.alerts.end(cause, span.end, reason)) is not None:
            yield RaisedAlert(alert, timeline, span)

    def _raise(
        self, timeline: Timeline, group: Group, run: QuietRun, silent: bool, span: EvidenceSpan
    ) -> Iterator[RaisedAlert]:
        cause = AlertKey(self.context.model, *group, VOLUME, "silence")
        if run.empty and not silent:  # too early to tell
            return
        evidence = {"expected": round(run.expected, 1), "silent_ms": span.end - run.since}
        finding = Finding(
            detector="silence", score=run.expected, threshold=LEAST, direction="down", change_ts=run.since,
            evidence=evidence,
        )  # fmt: skip
        alert = self.context.alerts.observe(cause, "input", span, [finding] if silent else [], self._rules)
        if alert is not None:
            yield RaisedAlert(alert, timeline, span)
