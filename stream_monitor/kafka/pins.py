"""Handing pinned baselines and resets to the judges: control records on `profiles`."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from stream_monitor.describe.records import PinRecord, ResetRecord, write
from stream_monitor.describe.stage import partition_of
from stream_monitor.detect.pinned import PinnedBaseline
from stream_monitor.errors import BrokerError
from stream_monitor.kafka.clients import CALL_S, common, made
from stream_monitor.kafka.topics import ready
from stream_monitor.settings import Settings


def pin(settings: Settings, baselines: Sequence[PinnedBaseline]) -> int:
    """Write the baselines to the `profiles` partitions of their models; returns the number of records.

    BrokerError when one of them was not acknowledged: pin again, a judge takes only a whole baseline.
    """
    records = [record for baseline in baselines for record in baseline.records()]
    _send(settings, records, ("pin", "cannot pin the baseline"))
    return len(records)


def reset(settings: Settings, record: ResetRecord) -> int:
    """Write a reset to the `profiles` partition of its model; returns the partition's number.

    BrokerError when it was not acknowledged: reset again, twice is as good as once.
    """
    _send(settings, [record], ("reset", "cannot reset the baseline"))
    return partition_of(record.model, ready(settings).profiles)


def _send(settings: Settings, records: Sequence[PinRecord | ResetRecord], told: tuple[str, str]) -> None:
    name, failure = told
    partitions = ready(settings).profiles
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            failed.append(error)

    config = common(settings, name) | {"enable.idempotence": True, "compression.type": "zstd"}
    producer = made(Producer, config)
    try:
        for record in records:
            partition = partition_of(record.model, partitions)
            producer.produce(settings.topic("profiles"), write(record), partition=partition, on_delivery=delivered)
        unsent = producer.flush(CALL_S)
    except KafkaException as error:
        raise BrokerError(f"{failure}: {error.args[0].str()}") from error
    if failed or unsent:
        reason = failed[0].str() if failed else f"no answer within {CALL_S:.0f} s"
        raise BrokerError(
            f"{len(failed) + unsent} of {len(records)} records were not acknowledged: {reason}; {name} again"
        )
