"""Every record that a user reads or writes, by name, and its JSON Schema: what `stream-monitor schema NAME` prints."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from stream_monitor.events.contracts import Alert, DeadLetter, Feedback, Health, Label, Metric, Observation, Prediction
from stream_monitor.events.notifications import Notification, Receipt
from stream_monitor.events.remarks import Acknowledgement, Annotation, Mute
from stream_monitor.events.rollouts import RolloutDecision

CONTRACTS: dict[str, type[Struct]] = {
    "prediction": Prediction,
    "label": Label,
    "feedback": Feedback,
    "observation": Observation,
    "alert": Alert,
    "metric": Metric,
    "health": Health,
    "dead-letter": DeadLetter,
    "acknowledgement": Acknowledgement,
    "mute": Mute,
    "annotation": Annotation,
    "rollout-decision": RolloutDecision,
    "notification": Notification,
    "receipt": Receipt,
}


def json_schema(name: str) -> dict[str, Any]:
    """The JSON Schema of a contract; KeyError if there is none of that name."""
    return msgspec.json.schema(CONTRACTS[name])
