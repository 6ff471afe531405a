"""Error impact: whether the model's error moved with a drift of inputs.

A watch begins when an alert opens on a drift of inputs. It follows the predictions that were made since the change, and
as their labels become known it publishes records of the alert with the status `outcome`. The record of the highest
revision holds.

The label timeline has its own watermark. It is never ahead of the input watermark and at most the label horizon behind
it; where it is when an alert opens depends on how topics were interleaved. So a watch looks at fixed times only: at
ends of grains, further and further apart. It looks at the errors whose labels had become known by then, see
`label_history`. The input timeline is worked on before the label timeline, so each alert that opened or ended up to the
time of a look is known at the look.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec

from stream_monitor.detect.error_rise import CLEAR, Rise, Verdict, rise_of
from stream_monitor.events.contracts import Alert, Attribution, ErrorChange
from stream_monitor.judge.alerts.reason import matters, outcome_of
from stream_monitor.judge.consumers.contract import ModelContext, RaisedAlert, WindowConsumer
from stream_monitor.judge.metrics.error_level import Level, level_of, level_of_baseline, strata_of
from stream_monitor.judge.metrics.label_history import MEASURES, ErrorHistory, ErrorKey, WaitingErrors
from stream_monitor.judge.panes.pane import Pane
from stream_monitor.judge.timelines.timeline import BaselinesReset, Timeline
from stream_monitor.profiles.measures import ERRORS
from stream_monitor.profiles.names import ALL_SEGMENTS, NEVER
from stream_monitor.profiles.records import PerformanceDelta, ResetRecord

PACE = 1.4
"""The next look comes when the watch has lasted this many times as long, so that a watch has few looks."""


REMEMBERED = 4
"""From so many times `baseline.first` errors on, older errors count less as the reference."""


class ImpactQuery(msgspec.Struct):
    """The watch of one alert: predictions of [start, until) and what became known of them until `until`."""

    opening: Alert
    start: int
    until: int
    look: int = NEVER
    """The time of the next look."""
    looked: int = NEVER
    """The time of the last look."""
    revision: int = 0
    """The number of the next record."""
    state: str = ""
    """The state in the last record; empty: no record yet."""
    ended: tuple[int, int] | None = None
    """(end of the predictions that count, event time at which the alert was resolved); None: the alert is open."""
    reset: int | None = None
    """The event time at which the baseline of the error was reset."""
    baselines: dict[str, tuple[float, float, int]] | None = None
    """By measure: mean, standard deviation and number of values of the baseline when the change began."""
    levels: dict[str, Level] = {}
    """By measure, from the first look on."""


class ImpactTracker(msgspec.Struct):
    """The watches of a model, and what is known of its errors."""

    by_id: dict[str, ImpactQuery] = {}
    waiting: WaitingErrors = msgspec.field(default_factory=WaitingErrors)
    histories: dict[ErrorKey, ErrorHistory] = {}
    harm: dict[tuple[str, str], list[int]] = {}
    """By version and segment: when alerts on a risen error opened."""
    resets: list[tuple[ResetRecord, int]] = []
    """Resets of error measures, and since when; until labels of that time are taken."""


class ErrorImpact(WindowConsumer[ImpactTracker]):
    """Follows each drift of inputs in the labels, and publishes whether the error moved."""

    name, State = "error_impact", ImpactTracker

    def __init__(self, context: ModelContext, state: ImpactTracker) -> None:
        super().__init__(context, state)
        for query in state.by_id.values():
            if query.look == NEVER:  # of a snapshot of a former version
                query.start = self._next_grain(query.start)
                query.look = self._next_grain(max(query.opening.ts, query.start + self._grain))

    @property
    def _grain(self) -> int:
        return self.context.settings.join.grain

    @property
    def _lookback(self) -> int:
        """How far before the opening of an alert a change may have begun, for predictions to count."""
        return max(spec.size for spec in self.context.settings.time.windows)

    def on_performance(self, delta: PerformanceDelta) -> None:
        """Keep errors until the label watermark has passed the grain in which they became known."""
        closed = max(self.context.timelines["label"].state.closed_until, 0)
        self.state.waiting.feed(delta, closed - closed % self._grain)

    def on_alert(self, raised: RaisedAlert) -> None:
        """Begin a watch when a drift of inputs opens, and note its end; note the openings of alerts on risen errors."""
        alert, timeline = raised.alert, raised.timeline.state.name
        if timeline == "label":
            if alert.status == "open" and alert.measure in ERRORS and alert.findings[0].direction == "up":
                self._note_harm(alert)
        elif timeline == "input" and alert.status == "resolved" and alert.id in self.state.by_id:
            query, clean = (
                self.state.by_id[alert.id],
                self.context.settings.detection.recovery * max(raised.span.size, 0),
            )
            query.ended = max(alert.ts - clean, query.opening.ts), alert.ts
        elif timeline == "input" and (alert.status, alert.kind) == ("open", "drift") and alert.attribution is not None:
            alert.attribution.error = ErrorChange(state="unknown")
            self._begin(alert)

    def _begin(self, alert: Alert) -> None:
        began = alert.findings[0].change_ts
        start = max(alert.opened_ts if began is None else began, alert.ts - self._lookback)
        opening = msgspec.structs.replace(alert, findings=[], attribution=None)
        first = self._next_grain(start)
        query = ImpactQuery(opening, first, alert.ts + self.context.settings.join.label_horizon)
        query.look = self._next_grain(max(alert.ts, first + self._grain))
        self.state.by_id[alert.id] = query
        self._hasten(query)
        if self.context.timelines["label"].state.closed_until > first:
            self._capture(query)

    def _note_harm(self, alert: Alert) -> None:
        """Note that an alert on a risen error opened; it corrects watches that say otherwise."""
        kept = alert.ts - self._lookback - self.context.settings.join.label_horizon
        openings = self.state.harm.get((alert.version, alert.segment), [])
        self.state.harm[alert.version, alert.segment] = [*(ts for ts in openings if ts >= kept), alert.ts]
        for query in self.state.by_id.values():
            self._hasten(query, query.looked)

    def _hasten(self, query: ImpactQuery, after: int = NEVER) -> None:
        """Look at a watch as soon as an alert on a risen error opens, if that is later than `after`."""
        earliest = self._next_grain(query.opening.ts)
        looks = [max(self._next_grain(ts), earliest) for ts in self._harm_of(query)]
        query.look = min([query.look, *(look for look in looks if look > after)])

    def _harm_of(self, query: ImpactQuery) -> list[int]:
        """When alerts on a risen error opened since the change."""
        version, segment, harm = query.opening.version, query.opening.segment, self.state.harm
        openings = [ts for name in sorted({segment, ALL_SEGMENTS}) for ts in harm.get((version, name), [])]
        return [ts for ts in openings if ts >= query.start]

    def _next_grain(self, ts: int) -> int:
        return -(-ts // self._grain) * self._grain

    def on_pane(self, timeline: Timeline, pane: Pane) -> None:
        """Capture the baselines of a watch before later panes of labels can replace them."""
        if timeline.state.name == "label":
            for query in self.state.by_id.values():
                if query.baselines is None and pane.start >= query.start:
                    self._capture(query)

    def _capture(self, query: ImpactQuery) -> None:
        group = query.opening.version, query.opening.segment
        baselines, query.baselines = self.context.timelines["label"].state.baselines, {}
        for measure in MEASURES:
            baseline = baselines.active_at(group, measure, query.start)
            if baseline is not None:
                query.baselines[measure] = baseline.mean, baseline.std, baseline.n

    def on_reset(self, reset: BaselinesReset) -> tuple[str, ...]:
        """Note from when on watches have lost their baseline, and former errors are no reference."""
        if reset.timeline.state.name == "label" and (reset.reset.measure is None or reset.reset.measure in MEASURES):
            self.state.resets.append((reset.reset, reset.start))
            for query in self.state.by_id.values():
                about = query.opening.version, query.opening.segment
                if query.reset is None and any(reset.reset.covers(*about, measure) for measure in MEASURES):
                    query.reset = reset.start
        return ()

    @property
    def is_due(self) -> bool:
        """Whether there are watches, or errors to take."""
        return bool(self.state.by_id or self.state.waiting.by_known)

    def on_watermarks(self) -> Iterator[Alert]:
        """Take the errors whose labels are known now, grain by grain, and look at each watch at its times."""
        closed, state = self.context.timelines["label"].state.closed_until, self.state
        while True:
            ends = [min(state.waiting.by_known) + self._grain] if state.waiting.by_known else []
            at = min([*ends, *(query.look for query in state.by_id.values())], default=closed + 1)
            if at > closed:
                return
            self._take(at)
            for query in sorted(state.by_id.values(), key=lambda query: query.opening.id):
                if query.look <= at:
                    yield from self._look(query, at)

    def _take(self, until: int) -> None:
        touched, state, grain = set[ErrorKey](), self.state, self._grain
        known_groups = self.context.timelines["label"].state.ids.groups
        for known, key, prediction, part in state.waiting.take(until - grain + 1):
            self._forget(known)
            if key[:2] in known_groups:  # the caps of versions and segments hold here, too
                history = state.histories.setdefault(key, ErrorHistory(prediction))
                history.add(prediction, known, grain, part)
                touched.add(key)
        for version, segment, measure in touched:
            since = [
                q.start for q in state.by_id.values() if (q.opening.version, q.opening.segment) == (version, segment)
            ]
            kept = until - self._lookback - 2 * grain
            most = REMEMBERED * self.context.settings.baseline.first
            state.histories[version, segment, measure].prune(kept, min([kept, *since]), grain, most)

    def _forget(self, known: int) -> None:
        """Apply the resets that took effect before a grain of labels."""
        for reset, start in [one for one in self.state.resets if one[1] <= known]:
            self.state.resets.remove((reset, start))
            for key, history in self.state.histories.items():
                if reset.covers(*key):
                    history.forget()

    # --- a look ---

    def _look(self, query: ImpactQuery, at: int) -> Iterator[Alert]:
        horizon = self._next_grain(query.until)
        query.look = min(query.start + int(PACE * (at - query.start)) // self._grain * self._grain, horizon)
        query.look, query.looked = max(query.look, at + self._grain), at
        self._hasten(query, at)
        if at >= horizon or (query.reset is not None and query.reset <= at):
            del self.state.by_id[query.opening.id]
            if query.reset is not None and query.reset <= at:
                return
        if query.baselines is None:
            self._capture(query)
        measure, rise = self._rise(query, at)
        change = self._change(query, measure, rise, at)
        if change is not None and _is_news(query.state, change.state):
            yield self._outcome(query, change, at)

    def _rise(self, query: ImpactQuery, at: int) -> tuple[str, Rise | None]:
        """The measure of the error, and its rise; None if nothing is known of it before the change, or since."""
        about = query.opening.version, query.opening.segment
        for measure in MEASURES:
            history = self.state.histories.get((*about, measure))
            if history is not None:
                level = query.levels.get(measure) or self._level(query, (*about, measure))
                if level is None:
                    return measure, None
                query.levels[measure] = level
                end = at
                if query.ended is not None and query.ended[1] <= at:
                    end = min(at, query.ended[0])
                strata = strata_of(history, level, (query.start, end), at, self._grain)
                return measure, rise_of(strata, level.variance, level.dispersion, measure == "error")
        return "", None

    def _level(self, query: ImpactQuery, key: ErrorKey) -> Level | None:
        """The error before the change: what was known then, or else the baseline."""
        least, baseline = self.context.settings.detection.min_count, (query.baselines or {}).get(key[2])
        level = level_of(self.state.histories, key, query.start, self._grain, least)
        return level_of_baseline(*baseline) if level is None and baseline is not None else level

    def _change(self, query: ImpactQuery, measure: str, rise: Rise | None, at: int) -> ErrorChange | None:
        """What can be said now; None: too little for a record."""
        is_harmed = any(ts <= at for ts in self._harm_of(query))
        is_over = query.opening.id not in self.state.by_id
        enough = rise is not None and rise.n >= self.context.settings.detection.min_count
        if not (enough or is_harmed or (is_over and measure)):
            return None
        change = ErrorChange(state="undecided", measure=measure, since=query.start)
        level = query.levels.get(measure)
        change.label_delay = None if level is None else level.delay(self._grain)
        if rise is not None and level is not None:
            tolerance = self.context.settings.detection.error_rise.of(measure, level.mean)
            verdict: Verdict = rise.verdict(tolerance, query.state) if enough else "undecided"
            change.state, change.n = verdict, rise.n
            change.baseline, change.now, change.tolerance = map(_rounded, (rise.expected, rise.now, tolerance))
            if level.variance > 0:
                std = math.sqrt(level.variance)
                change.sigmas, change.margin = _rounded(rise.value / std), _rounded(CLEAR * rise.null_error / std)
            change.bound = _rounded(rise.bound)
        if is_harmed and change.state != "worse":
            change.state, change.alarmed = "worse", True
        return change

    def _outcome(self, query: ImpactQuery, change: ErrorChange, at: int) -> Alert:
        alert = msgspec.structs.replace(query.opening, status="outcome", revision=query.revision, ts=at)
        query.revision, query.state = query.revision + 1, change.state
        alert.attribution = Attribution(error=change)
        if change.state == "unchanged":
            alert.severity = "info"
        elif change.state == "worse" and matters(change):
            alert.severity = "critical"
        alert.reason = outcome_of(alert, change)
        return alert


def _rounded(figure: float) -> float:
    """Nine digits: the last ones depend on the order in which parts of a baseline were merged."""
    return float(f"{figure:.9g}")


def _is_news(before: str, state: str) -> bool:
    """Whether a state is published after that of the record before.

    Doubt alone takes back no decision but `unchanged`, which claims a bound.
    """
    return state != before and not (state == "undecided" and before in ("worse", "better"))
