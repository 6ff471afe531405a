"""From findings to alerts: one cause, one alert, with persistence, cooldown, severity and a notice when it is over."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from stream_monitor.config.detection import DetectionSettings
from stream_monitor.config.durations import format_duration
from stream_monitor.events.contracts import Alert, Finding
from stream_monitor.judge.detection.evidence import LASTING, PANE
from stream_monitor.profiles.measures import Group

Severity = Literal["info", "warning", "critical"]
_RANK: dict[Severity, int] = {"info": 0, "warning": 1, "critical": 2}


class AlertKey(msgspec.Struct, frozen=True):
    """What an alert is about."""

    model: str
    version: str
    segment: str
    measure: str
    kind: Literal["drift", "limit", "quality", "silence"]


class EvidenceSpan(msgspec.Struct, frozen=True):
    """The slice of event time that spoke: a window of this size, or a pane (`PANE` or `LASTING`)."""

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
    """Of its last record."""
    cause: AlertKey | None = None
    """None in a snapshot of before, until the cause is heard of again."""
    group: Group = "input"


class AlertLifecycle(msgspec.Struct):
    """The open alerts of a model and the counts that lead to new ones; bounded by what the judge admits."""

    states: dict[str, _State] = {}

    @property
    def open(self) -> int:
        """How many alerts are open."""
        return sum(state.opened is not None for state in self.states.values())

    def alarmed(self, cause: AlertKey, span: tuple[int, int], accept_after: int) -> bool:
        """Whether a slice (start, end) of a cause lies in an alert, or in what may become one.

        Not in an alert that had been open for `accept_after` (ms) when the slice began.
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
        """Take in what one moment says of a cause: its findings, none when it is clean, or None: neither is sure."""
        key = alert_id(cause, 0)
        state = self.states.get(key)
        if state is None:
            if not findings:
                return None
            state = self.states[key] = _State()
        state.cause, state.group = cause, group
        if findings is None:
            status = self._doubt(state, moment)
        else:
            status = self._hit(state, moment, findings, settings) if findings else self._miss(state, moment, settings)
        if status is None:
            if state.opened is None and not state.hits and state.published is None:
                del self.states[key]
            return None
        return self._publish(status, state, cause, group, moment, findings or [])

    def forget(self, cause: AlertKey, group: Group, at: int) -> Alert | None:
        """Begin anew at event time `at`, for there is no baseline any more; the end of the alert where one is open."""
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
        """End all open alerts at event time `at`, or where they were told of later then: nobody looks any more."""
        for _, state in sorted(self.states.items()):
            if state.opened is not None and state.cause is not None:
                ends = max(at, state.published or at)
                state.revision += 1
                cause, group = state.cause, state.group
                alert = self._publish("resolved", state, cause, group, EvidenceSpan(ends, ends, LASTING), [])
                alert.reason = f"{cause.measure} of {_where(cause)} is not watched any more: {reason}"
                yield alert

    def opened(self, cause: AlertKey) -> int | None:
        """Since when (event time) an alert on a cause is open; None: there is none."""
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
            # Windows overlap: one may begin before the alert that ended last did, and ids are made of openings.
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
    def _doubt(state: _State, moment: EvidenceSpan) -> None:
        """A row of hits is broken, and one of clean windows, too: an open alert goes on."""
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
    """What is news in an open alert: another detector; and of one that goes on as long as a change, the other way."""
    return finding.detector if moment.size != LASTING else f"{finding.detector} {finding.direction}"


def alert_id(cause: AlertKey, opened: int) -> str:
    """A hash of what it is about and when (event time) it opened; no float in it, so a replay finds the same id."""
    text = "\x1f".join((cause.model, cause.version, cause.segment, cause.measure, cause.kind, str(opened)))
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def severity_of(findings: Sequence[Finding]) -> Severity:
    """Critical at five times the tolerated effect, warning otherwise; a broken limit is a warning."""
    far = any(
        finding.threshold and finding.p_value is not None and abs(finding.score) >= 5 * abs(finding.threshold)
        for finding in findings
    )
    return "critical" if far else "warning"


def reason_of(cause: AlertKey, status: str, findings: Sequence[Finding]) -> str:
    """One sentence for a person."""
    if cause.kind == "silence":
        return _silence_of(status, findings)
    where = _where(cause)
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
    """Two figures with three digits, or with as many as tell one from the other."""
    for digits in range(3, 17):
        told = f"{value:.{digits}g}", f"{bound:.{digits}g}"
        if told[0] != told[1] or value == bound:
            break
    return told
