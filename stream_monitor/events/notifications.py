"""What receivers are told: the contract of a message, and of the receipt that says who accepted it."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from stream_monitor.events.contracts import Alert
from stream_monitor.events.rollouts import DecisionName, RolloutStateName

NotificationType = Literal[
    "incident.opened", "incident.worse", "incident.resolved", "incident.outcome", "incident.acknowledged", "silence",
    "decision", "digest", "receiver.stopped", "test",
]  # fmt: skip
Severity = Literal["info", "warning", "critical"]


class NotifiedIncident(Struct, kw_only=True, omit_defaults=True):
    """An incident as it is at the time of the message."""

    id: str
    model: str
    version: str
    measure: str
    group: str
    kind: str
    severity: Severity
    opened_ts: int
    reason: Annotated[str, Meta(description="of its gravest alert, for a person")]
    ended_ts: Annotated[int | None, Meta(description="absent: it is open")] = None
    error: Annotated[
        Literal["unknown", "undecided", "unchanged", "worse", "better"] | None,
        Meta(description="what labels say: whether the error moved with it"),
    ] = None
    segments: Annotated[list[str], Meta(description="of its alerts, at most 20; empty: all events")] = []
    size: Annotated[int, Meta(description="alerts that it has had")] = 1


class NotifiedDecision(Struct, kw_only=True, omit_defaults=True):
    """A decision about a rollout, as far as people are told of it."""

    id: str
    rollout: str
    seq: int
    ts: int
    decision: DecisionName
    state: RolloutStateName
    model: str
    candidate: str
    primary: str
    weights: dict[str, float]
    reason: str


class Digest(Struct, kw_only=True, omit_defaults=True):
    """How much a message stands for that could not be told one by one."""

    why: Annotated[
        Literal["late", "quiet", "rate", "start"],
        Meta(
            description="late: it was read long after it happened; quiet: quiet hours; rate: above the setting `rate`; "
            "start: what was open when a receiver was new"
        ),
    ]
    opened: int = 0
    ended: int = 0
    other: int = 0
    since: Annotated[int, Meta(description="Kafka time of the oldest (epoch ms)")] = 0


class Notification(Struct, kw_only=True, omit_defaults=True):
    """A message to a receiver. A repeated one has the same id."""

    id: Annotated[str, Meta(description="hash of receiver and records; the key by which a receiver leaves out doubles")]
    type: NotificationType
    ts: Annotated[int, Meta(description="Kafka time of the latest record that led to it (epoch ms)")]
    app: str
    receiver: str
    severity: Severity
    thread: Annotated[
        str, Meta(description="messages of one thread belong together: the incident that it began with")
    ] = ""
    text: Annotated[list[str], Meta(description="lines for a person; the first is the reason")]
    incident: Annotated[NotifiedIncident | None, Meta(description="the gravest that the message is about")] = None
    together: Annotated[list[NotifiedIncident], Meta(description="others of the same message, at most 20")] = []
    alerts: Annotated[list[Alert], Meta(description="the records that led to it, at most 10")] = []
    decision: NotifiedDecision | None = None
    digest: Digest | None = None
    link: Annotated[str | None, Meta(description="address on the page, where the setting `link` is given")] = None


class Receipt(Struct, kw_only=True, omit_defaults=True):
    """A receiver accepted a message, or it was given up. Topic `receipts`; the key is the receiver."""

    receiver: str
    notification: Annotated[str, Meta(description="id of the message")]
    type: NotificationType
    ts: Annotated[int, Meta(description="when (epoch ms)")]
    status: Literal["sent", "given up"]
    summary: Annotated[str, Meta(description="the first line of the message")]
    severity: Severity = "info"
    thread: str = ""
    reference: Annotated[
        str, Meta(description="by which the service knows the message: of Slack its channel and ts")
    ] = ""
    incidents: Annotated[list[str], Meta(description="ids of all that it was about")] = []
    ended: Annotated[list[str], Meta(description="of these incidents, those of which it said that they are over")] = []
    outcome: Annotated[str | None, Meta(description="what it said that labels say")] = None
    delay_ms: Annotated[int, Meta(description="from the oldest record's Kafka time")] = 0
    tries: int = 1
    error: Annotated[str, Meta(description="why it was given up")] = ""
