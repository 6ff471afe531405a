"""From findings to alerts: one alert for each cause, with persistence, cooldown, severity and a record at its end.

The state of a cause is one of:

- idle: no alert is open and no hits are counted. A cause that was never published has no state at all.
- counting: no alert is open, but hits (moments with findings) of at least one size are counted.
- open: an alert is open.

A moment is the event time that findings are about: a window or a pane. Its size is that of the window, `PANE` for a
pane at which a detector raised an alarm, or `LASTING` for a detector that also reports the end of a change. Hits are
counted by size. `observe` gets the outcome of a moment: drift (findings), clean (no findings) or inconclusive (None).

| state | outcome | condition or effect | next state | record |
|---|---|---|---|---|
| idle, counting | drift | enough hits of this size | open | `open`, revision 0 |
| idle, counting | drift | otherwise | counting | none |
| idle | drift | a window that began before the last alert ended | idle | none |
| idle | clean or inconclusive | | idle | none |
| counting | clean | drops the hits of this size and of panes | idle if no hits are left, else counting | none |
| counting | inconclusive | drops the hits of this size | idle if no hits are left, else counting | none |
| open | drift | news, and no cooldown | open | `update`, revision + 1 |
| open | drift | otherwise | open | none |
| open | clean | enough clean moments of this size | idle | `resolved`, revision + 1 |
| open | clean | otherwise | open | none |
| open | inconclusive | the count of clean moments of this size restarts | open | none |
| idle, counting | baseline reset (`forget`) | drops all hits | idle | none |
| open | baseline reset (`forget`) | | idle | `resolved`, revision + 1 |
| open | model forgotten (`abandon`) | | idle | `resolved`, revision + 1 |

Enough hits are `persistence` windows in a row, and 1 for PANE and LASTING.

Enough clean moments are one of LASTING, while the latest moment of no other size was a hit. Of windows they are
`recovery` in a row, and more where the change was found in some windows only: `recovery` times the mean number of
windows from hit to hit. The size must have had hits in this alert, unless only panes had. No other size but PANE may
have had a hit that began after the clean windows did. So the shortest windows that find a change also tell its end, and
a long window that holds the end of the change delays nothing.

A cooldown lasts until `cooldown` after the end of the moment of the last record; it delays updates only. News are
another detector, another direction, a higher severity, or twice the effect of the last record. Records with status
`outcome` are not made here, see `error_impact`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from stream_monitor.config.detection import DetectionSettings
from stream_monitor.events.contracts import Alert, EvidenceWindow, Finding
from stream_monitor.judge.alerts.incidents import Incidents
from stream_monitor.judge.alerts.loss_reason import is_loss
from stream_monitor.judge.alerts.reason import reason_of, subject_of
from stream_monitor.judge.detection.evidence import LASTING, PANE
from stream_monitor.judge.detection.limits import is_critical
from stream_monitor.profiles.measures import ERRORS, Group
from stream_monitor.profiles.names import ALL_SEGMENTS

Severity = Literal["info", "warning", "critical"]
_RANK: dict[Severity, int] = {"info": 0, "warning": 1, "critical": 2}
WORSE = 2.0
"""A window test that finds so many times the effect of the last record publishes an update: a second change."""
MOST_LOST = 0.3
JOIN_WINDOWS = 3
"""An alert joins an incident that ended at most so many of its windows ago, or at most `cooldown`."""


class AlertKey(msgspec.Struct, frozen=True):
    """The cause that an alert is about; it has at most one open alert."""

    model: str
    version: str
    segment: str
    measure: str
    kind: Literal["drift", "limit", "quality", "silence"]


class EvidenceSpan(msgspec.Struct, frozen=True):
    """The slice of event time that an outcome is about: a window of this size, or a pane (`PANE` or `LASTING`)."""

    start: int
    end: int
    size: int


class SizeCounts(msgspec.Struct):
    """The moments of one size of a cause."""

    hits: int = 0
    """Hits since the last clean moment, or the last inconclusive one while no alert is open."""
    clean: int = 0
    """Clean moments in a row."""
    clean_since: int = 0
    """Start of the first of them (epoch ms)."""
    last_hit: int | None = None
    """Start of the latest hit (epoch ms)."""
    found: int = 0
    """Hits since the alert opened."""
    missed: int = 0
    """Clean moments between two of them."""
    since_hit: int = 0
    """Clean moments since the latest of them."""

    @property
    def pace(self) -> int:
        """The mean number of moments, clean or hits, from hit to hit, rounded up; 1 without hits."""
        return -(-(self.found + self.missed) // self.found) if self.found else 1

    def hit(self, moment: EvidenceSpan) -> None:
        """Count a moment with findings."""
        self.hits, self.clean, self.last_hit = self.hits + 1, 0, moment.start
        self.found, self.missed, self.since_hit = self.found + 1, self.missed + self.since_hit, 0

    def miss(self, moment: EvidenceSpan) -> None:
        """Count a clean moment."""
        if not self.clean:
            self.clean_since = moment.start
        self.hits, self.clean, self.since_hit = 0, self.clean + 1, self.since_hit + 1


class _State(msgspec.Struct):
    opened: int | None = None
    id: str = ""
    revision: int = 0
    severity: Severity = "info"
    detectors: list[str] = []
    hits: dict[int, int] = {}
    """Of snapshots before `sizes`: hits by size. Empty after loading."""
    published: int | None = None
    reason: str = ""
    """The reason in the last record."""
    cause: AlertKey | None = None
    """None in an older snapshot, until the cause is observed again."""
    group: Group = "input"
    incident: str = ""
    effects: dict[str, float] = {}
    """The effect that each window test had in the last record."""
    sizes: dict[int, SizeCounts] = {}
    """By size of the moments."""

    def __post_init__(self) -> None:
        if self.hits:
            end = self.published or 0
            self.sizes = {size: SizeCounts(n, last_hit=end, found=n) for size, n in self.hits.items()}
            self.hits = {}

    @property
    def counting(self) -> bool:
        """Whether there are hits that may lead to an alert, or keep one open."""
        return any(counts.hits for counts in self.sizes.values())


class AlertLifecycle(msgspec.Struct):
    """The open alerts of a model and the hit counts that lead to new ones. The caps of the judge limit their number."""

    states: dict[str, _State] = {}
    incidents: Incidents = msgspec.field(default_factory=Incidents)

    @property
    def open(self) -> int:
        """How many alerts are open."""
        return sum(state.opened is not None for state in self.states.values())

    def alarmed(self, cause: AlertKey, span: tuple[int, int], accept_after: int) -> bool:
        """Whether a span (start, end) of a cause overlaps an alert, or hits that may lead to one.

        An alert does not count if it had been open for `accept_after` (ms) when the span began.
        """
        state = self.states.get(alert_id(cause, 0))
        if state is None:
            return False
        start, end = span
        if state.opened is not None:
            return state.opened < end and start - state.opened < accept_after
        return state.counting or (state.published is not None and start < state.published)

    def observe(
        self,
        cause: AlertKey,
        group: Group,
        moment: EvidenceSpan,
        findings: Sequence[Finding] | None,
        settings: DetectionSettings,
    ) -> Alert | None:
        """Update the alert for this key. `findings`: non-empty = drift, empty = clean, None = inconclusive."""
        key = alert_id(cause, 0)
        state = self.states.get(key)
        if state is None:
            if not findings:
                return None
            state = self.states[key] = _State()
        state.cause, state.group = cause, group
        if findings is None:
            status = self._inconclusive(state, moment)
        else:
            status = self._hit(state, moment, findings, settings) if findings else self._miss(state, moment, settings)
        if status is None:
            if state.opened is None and not state.counting and state.published is None:
                del self.states[key]
            return None
        alert = self._publish(status, state, cause, group, moment, findings or [])
        if status == "resolved":
            wait = max(settings.cooldown, JOIN_WINDOWS * moment.size)
            self.incidents.leave(state.incident, group, cause.measure, moment.end + wait)
        return alert

    def forget(self, cause: AlertKey, at: int) -> Alert | None:
        """Reset the state at event time `at`, because the baseline was forgotten. An open alert is resolved."""
        return self.end(cause, at, f"the baseline of {cause.measure} was reset")

    def end(self, cause: AlertKey, at: int, reason: str) -> Alert | None:
        """Drop all hits of a cause at event time `at`. An open alert is resolved with this reason."""
        state = self.states.get(alert_id(cause, 0))
        if state is None:
            return None
        if state.opened is None:
            state.sizes = {}
            return None
        state.revision += 1
        alert = self._publish("resolved", state, cause, state.group, EvidenceSpan(at, at, LASTING), [])
        alert.reason = f"{subject_of(alert)}: {reason}"
        self.incidents.leave(state.incident, state.group, cause.measure, at)
        return alert

    def abandon(self, at: int, reason: str) -> Iterator[Alert]:
        """Resolve all open alerts at event time `at`, or at their last record if it is later.

        The caller stops judging their causes.
        """
        for _, state in sorted(self.states.items()):
            if state.opened is not None and state.cause is not None:
                ends = max(at, state.published or at)
                alert = self.end(state.cause, ends, f"{state.cause.measure} is not watched any more: {reason}")
                if alert is not None:
                    yield alert

    def complete(self, alert: Alert) -> None:
        """Make the reason of a record anew, after its evidence or attribution was added."""
        alert.reason = reason_of(alert)
        cause = AlertKey(alert.model, alert.version, alert.segment, alert.measure, alert.kind)
        self.states[alert_id(cause, 0)].reason = alert.reason

    def opened(self, cause: AlertKey) -> int | None:
        """The event time at which the open alert of a cause opened; None: no alert is open."""
        state = self.states.get(alert_id(cause, 0))
        return None if state is None else state.opened

    def _hit(
        self, state: _State, moment: EvidenceSpan, findings: Sequence[Finding], settings: DetectionSettings
    ) -> Literal["open", "update"] | None:
        if state.opened is None and state.published is not None and moment.size > 0 and moment.start < state.published:
            return None
        counts = state.sizes.setdefault(moment.size, SizeCounts())
        counts.hit(moment)
        severity = severity_of(state, findings, settings)
        if state.opened is None:
            if counts.hits < (settings.persistence if moment.size > 0 else 1):
                return None
            state.sizes = {size: c for size, c in state.sizes.items() if c.hits}
            for kept in state.sizes.values():
                kept.found, kept.missed, kept.since_hit = kept.hits, 0, 0
            state.opened = moment.start if state.published is None else max(moment.start, state.published)
            state.revision, state.severity = 0, severity
            state.detectors, state.effects = [], {}
            return "open"
        if not _is_news(state, severity, findings, moment) or (state.published or 0) + settings.cooldown > moment.end:
            return None
        state.severity = max(severity, state.severity, key=lambda s: _RANK[s])
        state.revision += 1
        return "update"

    @staticmethod
    def _inconclusive(state: _State, moment: EvidenceSpan) -> None:
        """Process an inconclusive moment: it breaks a run of hits and a run of clean moments. An alert stays open."""
        if (counts := state.sizes.get(moment.size)) is not None:
            counts.clean = 0
            if state.opened is None:
                counts.hits = 0

    @staticmethod
    def _miss(state: _State, moment: EvidenceSpan, settings: DetectionSettings) -> Literal["resolved"] | None:
        if state.opened is None:
            for size in (moment.size, PANE):
                state.sizes.pop(size, None)
            return None
        state.sizes.setdefault(moment.size, SizeCounts()).miss(moment)
        if not _is_over(state, moment.size, settings.recovery):
            return None
        state.revision += 1
        return "resolved"

    def _publish(
        self,
        status: Literal["open", "update", "resolved"],
        state: _State,
        cause: AlertKey,
        group: Group,
        moment: EvidenceSpan,
        findings: Sequence[Finding],
    ) -> Alert:
        opened = moment.start if state.opened is None else state.opened
        if status == "open":
            state.id = alert_id(cause, opened)
            state.incident = self.incidents.join(cause.model, group, cause.measure, opened)
        state.detectors = sorted({*state.detectors, *map(_detector_key, findings)})
        state.effects |= _effects(findings, moment)
        state.published = moment.end
        alert = Alert(
            id=state.id,
            status=status,
            revision=state.revision,
            ts=moment.end,
            opened_ts=opened,
            model=cause.model,
            version=cause.version,
            segment=cause.segment,
            measure=cause.measure,
            group=group,
            kind=cause.kind,
            severity=state.severity,
            reason="",
            incident=state.incident,
            window=EvidenceWindow(moment.start, moment.end, max(moment.size, 0)),
            findings=list(findings),
        )
        state.reason = alert.reason = reason_of(alert)
        if status == "resolved":
            state.opened, state.sizes = None, {}
        return alert


def _is_over(state: _State, size: int, recovery: int) -> bool:
    """Whether the clean moments of a size end the open alert; see the docstring of the module."""
    counts, others = state.sizes[size], [c for s, c in state.sizes.items() if s not in (size, PANE)]
    if size == LASTING:
        return not any(other.hits for other in others)
    if not counts.found and any(c.found for s, c in state.sizes.items() if s != PANE):
        return False
    quiet = all(other.last_hit is None or other.last_hit < counts.clean_since for other in others)
    return quiet and counts.clean >= recovery * counts.pace


def _is_news(state: _State, severity: Severity, findings: Sequence[Finding], moment: EvidenceSpan) -> bool:
    """Whether an open alert learns more than that its change goes on: a new detector, direction, severity or size."""
    if _RANK[severity] > _RANK[state.severity] or any(_detector_key(f) not in state.detectors for f in findings):
        return True
    effects = _effects(findings, moment)
    return any(effect >= WORSE * state.effects.get(test, effect) for test, effect in effects.items())


def _effects(findings: Sequence[Finding], moment: EvidenceSpan) -> dict[str, float]:
    """The effects of window tests. A sequential detector's score says how sure it is, not how large a change is."""
    return {f.detector: abs(f.score) for f in findings if f.p_value is not None} if moment.size > 0 else {}


def _detector_key(finding: Finding) -> str:
    """The key by which an open alert knows a finding: its detector and its direction."""
    return finding.detector if finding.direction == "changed" else f"{finding.detector} {finding.direction}"


def alert_id(cause: AlertKey, opened: int) -> str:
    """A hash of the cause and the event time of the opening. It contains no float, so a replay gives the same id."""
    text = "\x1f".join((cause.model, cause.version, cause.segment, cause.measure, cause.kind, str(opened)))
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def severity_of(state: _State, findings: Sequence[Finding], settings: DetectionSettings) -> Severity:
    """Critical where harm is known, else a warning; or what the settings say of the kind.

    Harm is known where answers got worse, a critical limit is broken, a model or the app is silent, or `MOST_LOST` of
    the events more than usual are lost.
    """
    cause = state.cause
    if cause is None:
        return "warning"
    if (said := settings.severity.get(cause.kind)) is not None:
        return said
    match cause.kind:
        case "silence":
            return "critical" if cause.version == cause.segment == ALL_SEGMENTS else "warning"
        case "limit":
            return "critical" if any(is_critical(finding.detector) for finding in findings) else "warning"
    if any(is_loss([finding]) and finding.score >= MOST_LOST for finding in findings):
        return "critical"
    harm = cause.measure in ERRORS and state.group == "outcome" and any(f.direction == "up" for f in findings)
    return "critical" if harm else "warning"
