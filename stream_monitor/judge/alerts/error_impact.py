"""Whether a drift of inputs matters: did the model's error move with it?

Labels come on a clock of their own, at most as far as the input's and up to the label horizon behind it; how far they
are when an alert opens depends on how topics were interleaved. So an alert opens with "unknown", and a watch is set.
The label lane, whose windows finish in an order that is the same whatever came when, adds its windows to the watch from
the start of the alert's on (of sliding ones those that lie side by side from there, so that a label counts once), and
the answer is a record of its own: status `outcome`. An alert that opened at a pane is watched in the shortest windows,
from the last one on that begins with the pane or before. In every schedule the input lane has closed what an alert
opened on before the label lane finishes a window with that end or a later one, so none is missed and none comes too
early.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec

from stream_monitor.baselines.baseline import Baselines
from stream_monitor.events.contracts import Alert, Attribution, ErrorChange
from stream_monitor.judge.panes.pane import IdRegistry
from stream_monitor.judge.panes.windows import Window
from stream_monitor.profiles.names import ALL_SEGMENTS

ERRORS = ("error", "absolute_error")
"""Of answers that are classes, and of those that are numbers."""
CLEAR = 3.0
"""Standard errors beyond which the error has moved."""
ENOUGH = 144
"""Labels among which a change of a quarter of a standard deviation would have been seen: fewer are no proof of none."""


class ImpactQuery(msgspec.Struct):
    """An alert that waits for the labels of its time: those that become known in [start, until)."""

    opening: Alert
    size: int
    start: int
    until: int
    measure: str = ""
    n: int = 0
    total: float = 0.0


class ImpactTracker(msgspec.Struct):
    """One for each alert that opened on a drift of inputs, until it is answered or the label horizon has passed."""

    by_id: dict[str, ImpactQuery] = {}

    def add(self, alert: Alert, first: tuple[int, int], horizon: int) -> None:
        """Watch an alert from the `first` window (start, size) on: one that ends when the alert opens, or later."""
        opening = msgspec.structs.replace(alert, findings=[], attribution=None)
        start, size = first
        self.by_id[alert.id] = ImpactQuery(opening, size, start, alert.ts + horizon)

    def finished(self, window: Window, ids: IdRegistry, baselines: Baselines, least: int) -> Iterator[Alert]:
        """Take in a finished window of the label lane; the answers that it makes clear, of at least `least` labels."""
        for watch in sorted(self.by_id.values(), key=lambda watch: watch.opening.id):
            beside = watch.size == window.size and (window.start - watch.start) % watch.size == 0
            if beside and watch.start <= window.start and window.end <= watch.until:
                _add(watch, window, ids)
                change = _change(watch, baselines, least)
                if change is not None and (change.state != "unchanged" or watch.n >= ENOUGH):
                    yield self._answer(watch, change, window.end)

    def expire(self, closed: int, baselines: Baselines, least: int) -> Iterator[Alert]:
        """Let go of what waits no longer, now that all label panes before `closed` have closed."""
        for watch in sorted(self.by_id.values(), key=lambda watch: (watch.until, watch.opening.id)):
            if watch.until <= closed:
                change = _change(watch, baselines, least)
                if change is not None:
                    yield self._answer(watch, change, watch.until)
                else:
                    del self.by_id[watch.opening.id]

    def _answer(self, watch: ImpactQuery, change: ErrorChange, at: int) -> Alert:
        del self.by_id[watch.opening.id]
        alert = msgspec.structs.replace(watch.opening, status="outcome", revision=0, ts=at)
        alert.attribution = Attribution(error=change)
        alert.reason = reason_of(alert, change)
        return alert


def _add(watch: ImpactQuery, window: Window, ids: IdRegistry) -> None:
    group = ids.groups.get((watch.opening.version, watch.opening.segment))
    table = window.numbers
    if group is None or group >= len(table.n):
        return
    for name in ERRORS if not watch.measure else (watch.measure,):
        measure = ids.measures.get(name)
        if measure is not None and measure < table.n.shape[1] and table.n[group, measure]:
            n = int(table.n[group, measure])
            watch.measure, watch.n = name, watch.n + n
            watch.total += n * float(table.mean[group, measure])
            return


def _change(watch: ImpactQuery, baselines: Baselines, least: int) -> ErrorChange | None:
    group = watch.opening.version, watch.opening.segment
    baseline = baselines.active_at(group, watch.measure, watch.start) if watch.n >= least else None
    if baseline is None or not baseline.std:
        return None
    mean = watch.total / watch.n
    sigmas = (mean - baseline.mean) / baseline.std
    clear = CLEAR * math.sqrt(1 / watch.n + 1 / baseline.n)
    return ErrorChange(
        state="unchanged" if abs(sigmas) <= clear else "worse" if sigmas > 0 else "better",
        measure=watch.measure,
        n=watch.n,
        baseline=baseline.mean,
        now=mean,
        sigmas=sigmas,
        margin=clear,
        since=watch.start,
    )


def reason_of(alert: Alert, change: ErrorChange) -> str:
    """One sentence for a person."""
    where = f"{alert.model} {alert.version}" + ("" if alert.segment == ALL_SEGMENTS else f" [{alert.segment}]")
    moved = {
        "worse": f"went up by {change.sigmas:.2g} σ: a drift that matters",
        "better": f"went down by {-(change.sigmas or 0):.2g} σ",
        "unchanged": f"did not move ({change.sigmas:+.2g} σ): a drift that does not matter so far",
        "unknown": "is unknown",
    }[change.state]
    return (
        f"{alert.measure} of {where} changed, and the {change.measure.replace('_', ' ')} of {change.n} labels {moved}"
    )
