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
| idle, counting | drift | enough hits of this size, and no cooldown | open | `open`, revision 0 |
| idle, counting | drift | otherwise | counting | none |
| idle | clean or inconclusive | | idle | none |
| counting | clean | drops the hits of this size and of panes | idle if no hits are left, else counting | none |
| counting | inconclusive | drops the hits of this size | idle if no hits are left, else counting | none |
| open | drift | new detector or higher severity, and no cooldown | open | `update`, revision + 1 |
| open | drift | otherwise | open | none |
| open | clean | hits of another size are left | open | none |
| open | clean | no hits are left; LASTING, or the `recovery`-th clean moment | idle | `resolved`, revision + 1 |
| open | clean | no hits are left, fewer clean moments | open | none |
| open | inconclusive | the count of clean moments restarts | open | none |
| idle, counting | baseline reset (`forget`) | drops all hits | idle | none |
| open | baseline reset (`forget`) | | idle | `resolved`, revision + 1 |
| open | model forgotten (`abandon`) | | idle | `resolved`, revision + 1 |

Enough hits are `persistence` for a window, and 1 for PANE and LASTING. A hit restarts the count of clean moments. A
clean moment drops the hits of its size and of panes in state open, too. A cooldown lasts until `cooldown` after the end
of the moment of the last record, whatever its status. In an open alert of LASTING, a new direction counts as a new
detector. Records with status `outcome` are not made here, see `error_impact`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from stream_monitor.config.detection import DetectionSettings
from stream_monitor.config.durations import format_duration
from stream_monitor.events.contracts import Alert, Finding
from stream_monitor.judge.alerts.loss_reasons import is_about_loss, is_loss, loss_reason, resolved_loss
from stream_monitor.judge.detection.evidence import LASTING, PANE
from stream_monitor.profiles.measures import Group

Severity = Literal["info", "warning", "critical"]
_RANK: dict[Severity, int] = {"info": 0, "warning": 1, "critical": 2}


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


class _State(msgspec.Struct):
    opened: int | None = None
    id: str = ""
    revision: int = 0
    severity: Severity = "info"
    detectors: list[str] = []
    hits: dict[int, int] = {}
    clean: int = 0
    published: int | None = None
    reason: str = ""
    """The reason in the last record."""
    cause: AlertKey | None = None
    """None in an older snapshot, until the cause is observed again."""
    group: Group = "input"


class AlertLifecycle(msgspec.Struct):
    """The open alerts of a model and the hit counts that lead to new ones. The caps of the judge limit their number."""

    states: dict[str, _State] = {}

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
        return bool(state.hits) or (state.published is not None and start < state.published)

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
            if state.opened is None and not state.hits and state.published is None:
                del self.states[key]
            return None
        return self._publish(status, state, cause, group, moment, findings or [])

    def forget(self, cause: AlertKey, group: Group, at: int) -> Alert | None:
        """Reset the state at event time `at`, because the baseline was forgotten. An open alert is resolved."""
        state = self.states.get(alert_id(cause, 0))
        if state is None:
            return None
        if state.opened is None:
            state.hits, state.clean = {}, 0
            return None
        state.revision, state.clean = state.revision + 1, 0
        alert = self._publish("resolved", state, cause, group, EvidenceSpan(at, at, LASTING), [])
        alert.reason = f"the baseline of {cause.measure} of {_where(cause)} was reset"
        return alert

    def abandon(self, at: int, reason: str) -> Iterator[Alert]:
        """Resolve all open alerts at event time `at`, or at their last record if it is later.

        The caller stops judging their causes.
        """
        for _, state in sorted(self.states.items()):
            if state.opened is not None and state.cause is not None:
                ends = max(at, state.published or at)
                state.revision += 1
                cause, group = state.cause, state.group
                alert = self._publish("resolved", state, cause, group, EvidenceSpan(ends, ends, LASTING), [])
                alert.reason = f"{cause.measure} of {_where(cause)} is not watched any more: {reason}"
                yield alert

    def opened(self, cause: AlertKey) -> int | None:
        """The event time at which the open alert of a cause opened; None: no alert is open."""
        state = self.states.get(alert_id(cause, 0))
        return None if state is None else state.opened

    def _hit(
        self, state: _State, moment: EvidenceSpan, findings: Sequence[Finding], settings: DetectionSettings
    ) -> Literal["open", "update"] | None:
        state.hits[moment.size] = state.hits.get(moment.size, 0) + 1
        state.clean = 0
        severity = severity_of(findings)
        if state.opened is None:
            needed = settings.persistence if moment.size > 0 else 1
            cooling = state.published is not None and moment.end < state.published + settings.cooldown
            if state.hits[moment.size] < needed or cooling:
                return None
            # Windows overlap: this one may begin before the previous alert ended. Ids are made of opening times.
            state.opened = moment.start if state.published is None else max(moment.start, state.published)
            state.revision, state.severity = 0, severity
            state.detectors = []
            return "open"
        worse = _RANK[severity] > _RANK[state.severity]
        new = any(_detector_key(finding, moment) not in state.detectors for finding in findings)
        if not (worse or new) or (state.published or 0) + settings.cooldown > moment.end:
            return None
        state.severity = max(severity, state.severity, key=lambda s: _RANK[s])
        state.revision += 1
        return "update"

    @staticmethod
    def _inconclusive(state: _State, moment: EvidenceSpan) -> None:
        """Process an inconclusive moment: it breaks a run of hits and a run of clean moments. An alert stays open."""
        state.clean = 0
        if state.opened is None:
            state.hits.pop(moment.size, None)

    def _miss(self, state: _State, moment: EvidenceSpan, settings: DetectionSettings) -> Literal["resolved"] | None:
        state.hits.pop(moment.size, None)
        state.hits.pop(PANE, None)
        if state.opened is None or state.hits:
            return None
        if moment.size != LASTING:
            state.clean += 1
            if state.clean < settings.recovery:
                return None
        state.revision += 1
        state.clean = 0
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
        state.detectors = sorted({*state.detectors, *(_detector_key(finding, moment) for finding in findings)})
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
            reason=reason_of(cause, status, findings),
            findings=list(findings),
        )
        state.reason = alert.reason
        if status == "resolved":
            state.opened, state.hits = None, {}
        return alert


def _detector_key(finding: Finding, moment: EvidenceSpan) -> str:
    """The key by which an open alert knows a finding: its detector, for LASTING with the direction."""
    return finding.detector if moment.size != LASTING else f"{finding.detector} {finding.direction}"


def alert_id(cause: AlertKey, opened: int) -> str:
    """A hash of the cause and the event time of the opening. It contains no float, so a replay gives the same id."""
    text = "\x1f".join((cause.model, cause.version, cause.segment, cause.measure, cause.kind, str(opened)))
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def severity_of(findings: Sequence[Finding]) -> Severity:
    """Critical at five times the tolerated effect, warning otherwise; a broken limit is a warning."""
    critical = any(
        finding.threshold and finding.p_value is not None and abs(finding.score) >= 5 * abs(finding.threshold)
        for finding in findings
    )
    return "critical" if critical else "warning"


def reason_of(cause: AlertKey, status: str, findings: Sequence[Finding]) -> str:
    """One sentence for a person."""
    if cause.kind == "silence":
        return _silence_of(status, findings)
    where = _where(cause)
    if is_loss(findings):
        return loss_reason(cause.model, cause.version, cause.measure, findings)
    if status == "resolved" and cause.kind == "quality" and is_about_loss(cause.model, cause.measure):
        return resolved_loss(cause.model, cause.version, cause.measure)
    if status == "resolved":
        what = "is within its limit again" if cause.kind == "limit" else "is no longer found beyond its tolerance"
        return f"{cause.measure} of {where} {what}"
    first = findings[0]
    verb = {"up": "went up", "down": "went down", "changed": "changed"}[first.direction]
    if first.detector in ("missing", "new_categories", "type_change"):
        verb = f"{first.detector.replace('_', ' ')} {verb}"
    score, tolerated = apart(first.score, first.threshold)
    return f"{cause.measure} of {where} {verb}: {first.detector} {score}, tolerated {tolerated}"


def _silence_of(status: str, findings: Sequence[Finding]) -> str:
    if status == "resolved":
        return "events come again"
    silent, tolerated = 1_000 * int(findings[0].score // 1_000), int(findings[0].threshold)
    return f"nothing has come for {format_duration(silent)}, tolerated {format_duration(tolerated)}"


def _where(cause: AlertKey) -> str:
    return f"{cause.model} {cause.version}" + ("" if cause.segment == "all" else f" [{cause.segment}]")


def apart(value: float, bound: float) -> tuple[str, str]:
    """Both numbers with three significant digits, or with as many more as make them differ."""
    for digits in range(3, 17):
        texts = f"{value:.{digits}g}", f"{bound:.{digits}g}"
        if texts[0] != texts[1] or value == bound:
            break
    return texts
