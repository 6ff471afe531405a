"""Everything that a version of stream_monitor leaves on Kafka in the middle of a stream, as a file.

`python -m tests.upgrade.sample FILE` writes the sample of the version that is checked out: every record of every topic
of a small app, and the committed offsets with their metadata. Later versions must read it and go on from it.
"""

from __future__ import annotations

import json
import sys
import zlib
from pathlib import Path
from typing import Any

import msgspec

from stream_monitor.config.settings import Settings
from stream_monitor.kafka.in_memory import MemoryRecord
from stream_monitor.profiles.records import ResetRecord, write_record
from stream_monitor.stages.contract import Position
from stream_monitor.stages.topology import partition_of
from tests.schedules import Cluster
from tests.streams import Event, quick_settings, shop

FOLDER = Path(__file__).parent
PARTITIONS, SEED, COUNT = 2, 5, 900
RESET = ResetRecord("m1", "amount")


class Sample(msgspec.Struct):
    """The logs of a broker and the offsets of its groups."""

    logs: list[tuple[str, int, list[tuple[bytes | None, int, bytes | None]]]]
    """(role, partition, (value, broker time, key) by offset); a marker or an aborted record has no value."""
    offsets: dict[str, list[tuple[str, int, int, str]]]
    """By group: (role, partition, offset, metadata)."""
    now: int
    sent: int
    """Events of `stream()` that are on the topics."""


def rules() -> Settings:
    """The app of the sample."""
    return quick_settings(
        segments=[["country"]],
        time={"pane": "1s", "windows": ["20s/4s", "10s"], "allowed_lateness": "5s", "max_skew": "1s"},
        commit={"snapshot_interval": "2s"},
    )


def stream() -> list[Event]:
    """The events of the sample, and those that come after it."""
    return shop(SEED, COUNT)


def resume(sample: Sample | None = None) -> Cluster:
    """An app with a worker of each stage: a new one, or one that finds what a sample holds."""
    cluster = Cluster(rules(), PARTITIONS, SEED, 0.0)
    if sample is None:
        cluster.broker.append("profiles", write_record(RESET), number=partition_of(RESET.model, PARTITIONS))
    else:
        restore(cluster, sample)
    for role in ("describe", "judge"):
        cluster.start(role)
    return cluster


def restore(cluster: Cluster, sample: Sample) -> None:
    """Put a sample into a broker that nobody has used."""
    cluster.now = sample.now
    transaction = cluster.broker.begin()
    cluster.broker.end(transaction, [], committed=True)
    for role, number, records in sample.logs:
        cluster.broker.logs[role, number] = [
            MemoryRecord(value, number, at, arrived, key, transaction)
            for at, (value, arrived, key) in enumerate(records)
        ]
    for group, offsets in sample.offsets.items():
        found = {(role, number): Position(offset, metadata) for role, number, offset, metadata in offsets}
        cluster.broker.group(group).offsets.update(found)


def feed(cluster: Cluster, events: list[Event]) -> None:
    """Send events in small batches, and let the workers take them in."""
    for at in range(0, len(events), 40):
        for event in events[at : at + 40]:
            cluster.broker.append(event.role, event.raw, event.id.encode(), zlib.crc32(event.id.encode()) % PARTITIONS)
        cluster.now += 300
        for role in ("describe", "judge"):
            cluster.tick(role, 0)


def taken(cluster: Cluster, sent: int) -> Sample:
    """What the broker of an app holds."""
    broker = cluster.broker
    logs = [
        (role, number, [(None if r.transaction in broker.aborted else r.raw, r.arrived, r.label) for r in records])
        for (role, number), records in sorted(broker.logs.items())
    ]
    offsets = {
        name: [(role, number, *position) for (role, number), position in sorted(group.offsets.items())]
        for name, group in broker.groups.items()
    }
    return Sample(logs, offsets, cluster.now, sent)


def load(name: str) -> Sample:
    """The stored sample of a version."""
    return msgspec.msgpack.decode(zlib.decompress((FOLDER / name).read_bytes()), type=Sample)


def main() -> None:
    """Write the sample of this version."""
    cluster, events = resume(), stream()
    sent = len(events) * 5 // 8
    feed(cluster, events[:sent])
    sample = taken(cluster, sent)
    Path(sys.argv[1]).write_bytes(zlib.compress(msgspec.msgpack.encode(sample), 9))
    told: dict[str, Any] = {role: sum(len(r) for name, _, r in sample.logs if name == role) for role, *_ in sample.logs}
    print(json.dumps(told | {"offsets": sample.offsets}, indent=1))


if __name__ == "__main__":
    main()
