"""The consumers of closed windows, in the order in which a judge calls them."""

from __future__ import annotations

from typing import Any

from stream_monitor.judge.consumers.absence import AbsenceAlerts
from stream_monitor.judge.consumers.contract import ModelContext, WindowConsumer
from stream_monitor.judge.consumers.drift import DriftAlerts
from stream_monitor.judge.consumers.error_impact import ErrorImpact
from stream_monitor.judge.consumers.health import HealthRecords
from stream_monitor.judge.consumers.limits import LimitAlerts
from stream_monitor.judge.consumers.losses import LossAlerts
from stream_monitor.judge.consumers.metrics import MetricRecords
from stream_monitor.judge.consumers.rollouts import Rollouts
from stream_monitor.judge.consumers.volume import VolumeAlerts
from stream_monitor.profiles.names import OTHER
from stream_monitor.wire.msgpack_arrays import as_kind

CONSUMERS: tuple[type[WindowConsumer[Any]], ...] = (
    DriftAlerts,
    ErrorImpact,
    LimitAlerts,
    VolumeAlerts,
    AbsenceAlerts,
    LossAlerts,
    MetricRecords,
    HealthRecords,
    Rollouts,
)
"""Their order is part of the result: a health record names the alerts that the same window opened."""


def consumers_of(context: ModelContext, states: dict[str, Any]) -> list[WindowConsumer[Any]]:
    """The consumers of one model. `states` holds each one's state by name; missing states are added.

    Raises:
        FormatError: a state from a snapshot is not the state of the consumer of this name.
    """
    consumers = []
    for kind in CONSUMERS:
        if context.model != OTHER or kind.follows_other:
            former = states.get(kind.name)
            states[kind.name] = kind.State() if former is None else as_kind(former, kind.State)
            consumers.append(kind(context, states[kind.name]))
    return consumers
