"""Alerts of losses in event time: late, duplicate and after-idle predictions, labels that no answer compares with.

One alert of the kind `quality` on `volume` has a finding for each way in which predictions are lost.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from stream_monitor.detect.false_alarm_budget import loss_level
from stream_monitor.judge.consumers.contract import ClosedWindow, RaisedAlert, WindowConsumer
from stream_monitor.judge.detection.losses import Judged, Loss, UsualShare, judge_loss
from stream_monitor.judge.detection.verdicts import Verdict
from stream_monitor.judge.panes.windows import AFTER_IDLE, DUPLICATES, LATE
from stream_monitor.judge.timelines.timeline import BaselinesReset
from stream_monitor.profiles.measures import INCOMPARABLE, VOLUME
from stream_monitor.profiles.names import ALL_SEGMENTS

OF_PREDICTIONS = {"late": LATE, "duplicate": DUPLICATES, "after_idle": AFTER_IDLE}
"""By detector, the column of a window's counts."""
MOST_SOURCES = 3
"""Segments that an alert names."""
MUCH = 0.5
"""A segment of which at least this share is lost is named."""


class LossState(msgspec.Struct):
    """What is usually lost, by (version, detector)."""

    usual: dict[tuple[str, str], UsualShare] = {}


class LossAlerts(WindowConsumer[LossState]):
    """Compares the shares of lost events in each window with what is usual."""

    name, State = "losses", LossState

    def on_window(self, closed: ClosedWindow) -> Iterator[RaisedAlert]:
        """Judge the losses of each version."""
        name = closed.timeline.state.name
        if name not in ("input", "label"):
            return
        judged: list[tuple[int, str, list[Loss]]] = []
        for group, (version, segment) in enumerate(closed.timeline.state.ids.groups):
            if segment == ALL_SEGMENTS and group < len(closed.window.counts):
                losses = list(losses_of(closed, group))
                if losses[0].total >= self.context.settings.detection.min_count:
                    judged.append((group, version, losses))
        slide, sizes = closed.timeline.slide_of[closed.window.size], len(closed.timeline.slide_of)
        level = loss_level(self.context.settings.detection, slide, sizes)
        for group, version, losses in judged:
            yield from self._judge(closed, (group, version), losses, level / (len(judged) * len(losses)))

    def _judge(
        self, closed: ClosedWindow, key: tuple[int, str], losses: list[Loss], level: float
    ) -> Iterator[RaisedAlert]:
        """Judge each loss of a (group, version) at this level."""
        (group, version), settings, window = key, self.context.settings, closed.window
        judged: list[Judged] = []
        for loss in losses:
            usual = self.state.usual.get((version, loss.detector), UsualShare())
            judged.append(judge_loss(loss, usual.known(settings.baseline.first), settings.detection, level))
            if window.size == self.context.shortest_window and window.start % window.size == 0:
                usual.learn(loss.lost, loss.total, settings.baseline.first)
                self.state.usual[version, loss.detector] = usual
        findings = [one.finding for one in judged if one.finding is not None]
        doubtful = not findings and not all(one.clean for one in judged)
        measure = VOLUME if closed.timeline.state.name == "input" else INCOMPARABLE
        yield from self.context.raise_alert(
            closed.timeline, Verdict(group, measure, "quality", findings, doubtful), closed.span
        )

    def on_reset(self, reset: BaselinesReset) -> tuple[str, ...]:
        """Learn again what is usual, after a reset of all measures or of one of these."""
        record, name = reset.reset, reset.timeline.state.name
        measure = {"input": VOLUME, "label": INCOMPARABLE}.get(name)
        if measure is None or record.measure not in (None, measure) or not record.covers(None, ALL_SEGMENTS, measure):
            return ()
        for key in [key for key in self.state.usual if (key[1] in OF_PREDICTIONS) == (name == "input")]:
            del self.state.usual[key]
        return (measure,)


def losses_of(closed: ClosedWindow, group: int) -> Iterator[Loss]:
    """What is lost in a window of a group, on the timelines of predictions and labels."""
    return _of_predictions(closed, group) if closed.timeline.state.name == "input" else _of_labels(closed, group)


def _of_predictions(closed: ClosedWindow, group: int) -> Iterator[Loss]:
    counts, total = closed.window.counts[group], int(closed.window.counts[group].sum())
    for detector, column in OF_PREDICTIONS.items():
        sources = _sources(closed, group, column) if counts[column] else []
        yield Loss(detector, int(counts[column]), total, closed.window.start, {"from": sources} if sources else {})


def _of_labels(closed: ClosedWindow, group: int) -> Iterator[Loss]:
    measure, numbers = closed.timeline.state.ids.measures.get(INCOMPARABLE), closed.window.numbers.n
    present = measure is not None and group < numbers.shape[0] and measure < numbers.shape[1]
    lost = int(numbers[group, measure]) if present else 0
    yield Loss(INCOMPARABLE, lost, max(int(closed.window.counts[group, 0]), lost), closed.window.start)


def _sources(closed: ClosedWindow, group: int, column: int) -> list[str]:
    """The segments of the version of which most is lost; none if that holds for all."""
    groups, counts = list(closed.timeline.state.ids.groups), closed.window.counts
    version, found, others = groups[group][0], list[tuple[int, str]](), 0
    for other, (name, segment) in enumerate(groups[: len(counts)]):
        total = int(counts[other].sum())
        if name == version and segment != ALL_SEGMENTS and total:
            if counts[other, column] >= MUCH * total:
                found.append((-int(counts[other, column]), segment))
            else:
                others += 1
    return [segment for _, segment in sorted(found)[:MOST_SOURCES]] if others else []
