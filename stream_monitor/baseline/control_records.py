"""Handing pinned baselines, resets and orders about rollouts to the judges: control records on `profiles`."""

from __future__ import annotations

from collections.abc import Sequence

from stream_monitor.baselines.pinned import PinnedBaseline
from stream_monitor.config.settings import Settings
from stream_monitor.kafka.topics import ready
from stream_monitor.kafka.writer import write_records
from stream_monitor.profiles.records import PinRecord, ResetRecord, RolloutRecord, write_record
from stream_monitor.stages.topology import partition_of


def pin(settings: Settings, baselines: Sequence[PinnedBaseline]) -> int:
    """Write the baselines to the `profiles` partitions of their models; returns the number of records.

    BrokerError when one of them was not acknowledged: pin again, a judge takes only a whole baseline.
    """
    records = [record for baseline in baselines for record in baseline.records()]
    _write(settings, records, "pin", "cannot pin the baseline")
    return len(records)


def reset(settings: Settings, record: ResetRecord) -> int:
    """Write a reset to the `profiles` partition of its model; returns the partition's number.

    BrokerError when it was not acknowledged: reset again, twice is as good as once.
    """
    _write(settings, [record], "reset", "cannot reset the baseline")
    return partition_of(record.model, ready(settings).profiles)


def order(settings: Settings, record: RolloutRecord, partitions: int | None = None) -> None:
    """Write an order about a rollout to the `profiles` partition of its model.

    `partitions`: those of `profiles`, where they are known; else the topics are asked, and checked.

    BrokerError when it was not acknowledged: order again, a second record of the same id is ignored.
    """
    _write(settings, [record], "rollout", "cannot order anything about the rollout", partitions)


def _write(
    settings: Settings,
    records: Sequence[PinRecord | ResetRecord | RolloutRecord],
    name: str,
    failure: str,
    partitions: int | None = None,
) -> None:
    partitions = partitions or ready(settings).profiles
    placed = [(partition_of(record.model, partitions), write_record(record)) for record in records]
    write_records(settings, "profiles", placed, name, failure)
