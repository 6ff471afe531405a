"""The records of the `profiles` topic: a judge is a function of these, in log order, and of nothing else."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from stream_monitor.errors import FormatError
from stream_monitor.profiles.delta import Delta
from stream_monitor.profiles.names import NEVER
from stream_monitor.wire.msgpack_arrays import Table, pack, unpack

FORMAT = 2
OLDEST_FORMAT = 1
"""The oldest that is read; rows of deltas were maps then."""
MAX_RECORD_BYTES = 400_000
"""Records stay below 512 KB before compression; the margin is for the last row that is packed."""


class PerformanceDelta(msgspec.Struct):
    """Signed counts and sums of outcome measures of one model, by the prediction's time.

    Row r adds `n[r]` values with the sum `total[r]` to measure names[name[r]] of cell[r]; a corrected label is a row
    with n = 0 and the difference. `confusion` rows add to the count of a (predicted, label) pair.
    """

    model: str
    version: list[str]
    segment: list[str]
    window: np.ndarray
    """Start of the grain (epoch ms) of each cell."""
    labelled: np.ndarray
    names: list[str]
    cell: np.ndarray
    name: np.ndarray
    n: np.ndarray
    total: np.ndarray
    pairs: list[tuple[str, str]]
    pair_cell: np.ndarray
    pair: np.ndarray
    pair_n: np.ndarray


class DeltaRecord(msgspec.Struct, tag="delta"):
    """What one worker added up since its last commit, or a part of it."""

    deltas: list[Delta]
    performance: list[PerformanceDelta] = []
    v: int = FORMAT
    structure: str = ""
    """`Settings.profile_structure` of who wrote it; a former version tells none."""
    widths: dict[str, int] = {}
    """How many numbers the embeddings of a name have there."""


class RawDeltas(msgspec.Struct, tag="delta"):
    """A DeltaRecord whose parts are packed already."""

    deltas: list[msgspec.Raw]
    performance: list[msgspec.Raw]
    structure: str = ""
    widths: dict[str, int] = {}
    v: int = FORMAT


class PartitionTime(msgspec.Struct, array_like=True):
    """How far one source partition has come; times in epoch ms."""

    partition: int
    input: int
    label: int
    feedback: int
    largest: int
    idle: bool
    end: bool


class ObservationTime(msgspec.Struct, array_like=True):
    """How far one partition of `observations` has come."""

    partition: int
    watermark: int
    largest: int
    idle: bool
    end: bool


class WatermarkRecord(msgspec.Struct, tag="watermarks"):
    """The times of the source partitions that one worker owns; `sources` is how many there are in all."""

    sources: int
    partitions: list[PartitionTime]
    observations: list[ObservationTime] = []
    observation_sources: int = 0
    v: int = FORMAT


class SettingsRecord(msgspec.Struct, tag="settings"):
    """Detection settings, in force from the first pane not yet closed."""

    hash: str
    text: str
    v: int = FORMAT


class PinRecord(msgspec.Struct, tag="pin"):
    """A part of a pinned baseline, in force from the first pane not yet closed when the last part is read."""

    model: str
    version: str | None
    digest: str
    """Tells the parts of one pinning from those of another."""
    part: int
    parts: int
    payload: bytes
    """Packed list of `baselines.pinned.PinnedMeasure`."""
    v: int = FORMAT


class ResetRecord(msgspec.Struct, tag="reset"):
    """What is normal is to be learned anew from `since` on (start of a pane), or from the first pane not yet closed."""

    model: str
    measure: str | None = None
    """None: all measures."""
    version: str | None = None
    """Only what was pinned for this version. None: what all share too; where no segment is named, edges too."""
    segment: str | None = None
    """None: all segments."""
    since: int = NEVER
    v: int = FORMAT

    def covers(self, version: str | None, segment: str, measure: str) -> bool:
        """Whether a baseline is meant, that of a version or (None) of all versions."""
        wanted = (self.version, version), (self.segment, segment), (self.measure, measure)
        return all(asked is None or asked == told for asked, told in wanted)

    def same_scope(self, other: ResetRecord) -> bool:
        """Whether another one of the same model is about the same."""
        return (self.measure, self.version, self.segment) == (other.measure, other.version, other.segment)

    @property
    def renews_edges(self) -> bool:
        """Whether nothing is left that counts on the edges there are."""
        return self.version is None and self.segment is None


Record = DeltaRecord | WatermarkRecord | SettingsRecord | PinRecord | ResetRecord


def read_record(value: bytes) -> Record:
    """Decode a record; FormatError when it is of a newer format or none of ours."""
    record: Record = unpack(value, Record)  # type: ignore[arg-type]
    if not OLDEST_FORMAT <= record.v <= FORMAT:
        raise FormatError(f"a profiles record has format {record.v}, this version reads {FORMAT}: upgrade first")
    return record


def profile_schema() -> dict[str, Any]:
    """The JSON Schema of a delta record as read by `read`; arrays of numbers stand for packed ones."""

    def array(kind: type) -> dict[str, Any]:
        if kind is np.ndarray:
            items = {"type": ["number", "array"]}  # counts have two dimensions
            return {"type": "array", "items": items, "description": "packed as in events/arrays.py"}
        if issubclass(kind, Table):
            lists = {name: {"type": "array"} for name in kind.LISTS}
            columns = {name: {"type": "array", "items": {"type": "number"}} for name in kind.ARRAYS}
            return {"type": "object", "properties": lists | columns, "required": [*lists, *columns]}
        raise NotImplementedError(kind)

    return msgspec.json.schema(DeltaRecord, schema_hook=array)


def write_record(record: Record) -> bytes:
    """Encode a record."""
    return pack(record)
