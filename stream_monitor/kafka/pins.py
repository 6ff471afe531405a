"""Handing pinned baselines to the judges: control records on `profiles`."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from stream_monitor.describe.records import write
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
    partitions = ready(settings).profiles
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            failed.append(error)

    config = common(settings, "pin") | {"enable.idempotence": True, "compression.type": "zstd"}
    producer = made(Producer, config)
    sent = 0
    try:
        for baseline in baselines:
            for record in baseline.records():
                partition = partition_of(baseline.model, partitions)
                producer.produce(settings.topic("profiles"), write(record), partition=partition, on_delivery=delivered)
                sent += 1
        unsent = producer.flush(CALL_S)
    except KafkaException as error:
        raise BrokerError(f"cannot pin the baseline: {error.args[0].str()}") from error
    if failed or unsent:
        reason = failed[0].str() if failed else f"no answer within {CALL_S:.0f} s"
        raise BrokerError(f"{len(failed) + unsent} of {sent} records were not acknowledged: {reason}; pin again")
    return sent
