"""The records of a commit on `profiles`: deltas go to the partition of their model, watermarks to all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

import msgspec

from stream_monitor.config.settings import Settings
from stream_monitor.describe.aggregate.delta_writer import Batch, pack_deltas, pack_records
from stream_monitor.profiles.bin_catalog import BinCatalog
from stream_monitor.profiles.records import PartitionIntake, WatermarkRecord, write_record
from stream_monitor.stages.contract import Output
from stream_monitor.stages.topology import Topology, partition_of


class ProfileOutputs:
    """Packs batches of events into deltas, and deltas into records."""

    def __init__(self, settings: Settings, topology: Topology, catalog: BinCatalog) -> None:
        self._topology, self._catalog, self._embeddings = topology, catalog, settings.embeddings
        self._structure = settings.profile_structure()

    def deltas(
        self,
        batches: Iterable[Batch],
        performance: Iterable[tuple[str, bytes]],
        pairs: Iterable[tuple[str, bytes]] = (),
    ) -> Iterator[Output]:
        """The records of these batches, and of packed deltas of performance and of pairs by model."""
        deltas: dict[int, list[bytes]] = defaultdict(list)
        outcomes: dict[int, list[bytes]] = defaultdict(list)
        of_pairs: dict[int, list[bytes]] = defaultdict(list)
        for batch in batches:
            self._pack(batch, deltas)
        for model, packed in performance:
            outcomes[self._target(model)].append(packed)
        for model, packed in pairs:
            of_pairs[self._target(model)].append(packed)
        for target in sorted(deltas.keys() | outcomes.keys() | of_pairs.keys()):
            joined = outcomes[target], of_pairs[target]
            for record in pack_records(deltas[target], *joined, structure=self._structure, widths=self._embeddings):
                yield Output("profiles", record, partition=target)

    def _pack(self, batch: Batch, deltas: dict[int, list[bytes]]) -> None:
        for model, packed in pack_deltas(batch, lambda model: self._catalog.of(model, batch.timeline)):
            deltas[self._target(model)].append(packed)

    def _target(self, model: str) -> int:
        return partition_of(model, self._topology.profiles)

    def watermarks(self, record: WatermarkRecord, intake: list[PartitionIntake]) -> Iterator[Output]:
        """The record for every partition; none when it holds no watermark. The first one gets the intake, too."""
        if record.partitions or record.observations:
            first = write_record(msgspec.structs.replace(record, intake=intake))
            value = write_record(record) if self._topology.profiles > 1 else first
            for target in range(self._topology.profiles):
                yield Output("profiles", value if target else first, partition=target)
