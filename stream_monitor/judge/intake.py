"""Losses that have no event time: events that are refused, labels and feedback that join nothing. They are the app's.

Describe counts them by input partition, in its watermark records. The judge of the first partition sums them up by
minutes of these records' broker time, and judges a minute when the next one begins; a minute with fewer than
`min_count` events is judged together with the next. So it looks at no clock, and a file has no such minutes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from stream_monitor.config.settings import Settings
from stream_monitor.detect.false_alarm_budget import loss_level
from stream_monitor.events.contracts import Alert, Health, MeasureSummary, Metric
from stream_monitor.judge.alerts.lifecycle import AlertKey, AlertLifecycle, EvidenceSpan
from stream_monitor.judge.detection.losses import Loss, UsualShare, judge_loss
from stream_monitor.judge.health import health_of_app
from stream_monitor.profiles.measures import Group
from stream_monitor.profiles.names import ALL_MODELS, ALL_SEGMENTS
from stream_monitor.profiles.records import PartitionIntake

MINUTE = 60_000
GROUPS: dict[str, Group] = {
    "predictions": "input",
    "labels": "outcome",
    "feedback": "human",
    "observations": "software",
}
"""By role of an input topic, the measure group of its losses."""
PERSISTENCE = {"unjoined": 2}
"""Minutes in a row before an alert opens: labels that are read before their predictions join them a moment later."""


class RoleIntake(msgspec.Struct):
    """What came on a topic since `since`, the start of a minute of broker time (epoch ms)."""

    since: int
    read: int = 0
    refused: dict[str, int] = {}
    items: int = 0
    joined: int = 0

    def add(self, now: PartitionIntake, before: PartitionIntake) -> None:
        """Add what has come between two reports of a partition."""
        self.read += now.read - before.read
        self.items += now.items - before.items
        self.joined += now.joined - before.joined
        for reason, count in now.refused.items():
            more = count - before.refused.get(reason, 0)
            if more:
                self.refused[reason] = self.refused.get(reason, 0) + more

    def losses(self) -> Iterator[Loss]:
        """What was lost."""
        top = min(self.refused, key=lambda reason: (-self.refused[reason], reason), default=None)
        facts = {} if top is None else {"reason": top, "by_reason": self.refused[top]}
        yield Loss("refused", sum(self.refused.values()), self.read, self.since, facts)
        if self.items:
            yield Loss("unjoined", max(self.items - self.joined, 0), self.items, self.since)


class IntakeState(msgspec.Struct):
    """What the judge knows of the intake."""

    latest: dict[tuple[str, int], PartitionIntake] = {}
    """The last report of each input partition."""
    minutes: dict[str, RoleIntake] = {}
    """By role: the minute that is not judged yet."""
    usual: dict[tuple[str, str], UsualShare] = {}
    """By (role, detector)."""


def follow_intake(
    state: IntakeState,
    alerts: AlertLifecycle,
    settings: Settings | None,
    reports: Sequence[PartitionIntake],
    arrived: int,
) -> Iterator[Alert | Metric | Health]:
    """Judge the minutes that are over at broker time `arrived` (epoch ms), then take in the reports of a record.

    Nothing is judged before the settings are in the log (None). Only records for the first partition have reports.
    """
    if settings is not None:
        yield from _judge_minutes(state, alerts, settings, arrived)
    _take(state, reports, arrived)


def _judge_minutes(
    state: IntakeState, alerts: AlertLifecycle, settings: Settings, arrived: int
) -> Iterator[Alert | Metric | Health]:
    """Judge the minutes that are over at broker time `arrived` (epoch ms)."""
    minute, has_alert = arrived - arrived % MINUTE, False
    for role in sorted(state.minutes):
        window = state.minutes[role]
        if window.since < minute and max(window.read, window.items) >= settings.detection.min_count:
            del state.minutes[role]
            for output in _judge(state, alerts, settings, role, (window, minute)):
                has_alert |= isinstance(output, Alert)
                yield output
    if has_alert:
        yield health_of_app(alerts, minute)


def _take(state: IntakeState, reports: Sequence[PartitionIntake], arrived: int) -> None:
    """Take in the reports of a record that the broker received at `arrived`."""
    for report in reports:
        key = report.role, report.partition
        before = state.latest.get(key)
        if before is None or report.read < before.read:  # the topic was made anew, or its offsets were lost
            before = PartitionIntake(*key)
        state.latest[key] = report
        state.minutes.setdefault(report.role, RoleIntake(arrived - arrived % MINUTE)).add(report, before)


def _judge(
    state: IntakeState, alerts: AlertLifecycle, settings: Settings, role: str, window: tuple[RoleIntake, int]
) -> Iterator[Alert | Metric]:
    intake, end = window
    losses = list(intake.losses())
    if any(loss.lost for loss in losses):
        yield _metric(role, intake, losses, end)
    level = loss_level(settings.detection, MINUTE, 1) / max(len(losses), 1)
    for loss in losses:
        usual = state.usual.setdefault((role, loss.detector), UsualShare())
        judged = judge_loss(loss, usual.known(settings.baseline.first), settings.detection, level)
        usual.learn(loss.lost, loss.total, settings.baseline.first)
        measure = f"{role}.{loss.detector}"
        cause = AlertKey(ALL_MODELS, ALL_SEGMENTS, ALL_SEGMENTS, measure, "quality")
        rules = settings.detection.model_copy(
            update={"persistence": PERSISTENCE.get(loss.detector, 1), "recovery": 2, "cooldown": 0}
        )
        findings = [judged.finding] if judged.finding is not None else [] if judged.clean else None
        alert = alerts.observe(cause, GROUPS[role], EvidenceSpan(intake.since, end, MINUTE), findings, rules)
        if alert is not None:
            yield alert


def _metric(role: str, intake: RoleIntake, losses: Sequence[Loss], end: int) -> Metric:
    measures = {
        f"{role}.{loss.detector}": MeasureSummary(
            group=GROUPS[role],
            n=loss.total,
            sum=float(loss.lost),
            mean=loss.lost / loss.total if loss.total else None,
            top=dict(intake.refused) if loss.detector == "refused" and intake.refused else None,
        )
        for loss in losses
    }
    return Metric(
        model=ALL_MODELS,
        version=role,
        segment=ALL_SEGMENTS,
        window_start=intake.since,
        window_end=end,
        kind="intake",
        revision=0,
        final=True,
        count=intake.read,
        measures=measures,
    )
