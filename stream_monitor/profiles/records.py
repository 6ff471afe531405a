"""The records of topic `profiles`. A judge's results depend on these records, in log order, and on nothing else."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from stream_monitor.errors import FormatError
from stream_monitor.events.rollouts import Action
from stream_monitor.profiles.delta import Delta
from stream_monitor.profiles.names import NEVER
from stream_monitor.profiles.pairs import PairDelta
from stream_monitor.wire.msgpack_arrays import Table, pack, unpack

FORMAT = 2
OLDEST_FORMAT = 1
"""The oldest format that can be read; in it the rows of deltas are maps."""
MAX_RECORD_BYTES = 400_000
"""Packed deltas of a record; the margin keeps records below 512 KB before compression."""


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
    """Entry i adds `pair_n[i]` to the count of the (predicted, label) pair pairs[pair[i]] in pair_cell[i]."""
    known: np.ndarray | None = None
    """Start of the grain (epoch ms) in which the items of each cell became known: the later time of prediction and
    item. None in a delta of a former version."""
    corrected: np.ndarray | None = None
    """Of each cell: 1 if it holds corrections of labels, else 0. None: none does, or the delta is of a former version,
    whose cells hold first labels and corrections together."""


class DeltaRecord(msgspec.Struct, tag="delta"):
    """What one worker added up since its last commit, or a part of it."""

    deltas: list[Delta]
    performance: list[PerformanceDelta] = []
    v: int = FORMAT
    structure: str = ""
    """`Settings.profile_structure` of the worker that wrote the record; empty in a record of a former version."""
    widths: dict[str, int] = {}
    """Lengths of embeddings, by name, in that worker's settings."""
    pairs: list[PairDelta] = []

    @property
    def joined(self) -> list[PerformanceDelta | PairDelta]:
        """What was joined: outcomes, then pairs."""
        return [*self.performance, *self.pairs]


class RawDeltas(msgspec.Struct, tag="delta"):
    """A DeltaRecord whose deltas are packed already."""

    deltas: list[msgspec.Raw]
    performance: list[msgspec.Raw]
    pairs: list[msgspec.Raw]
    structure: str = ""
    widths: dict[str, int] = {}
    v: int = FORMAT


class PartitionTime(msgspec.Struct, array_like=True):
    """Watermarks of one partition number of the joined topics, and its largest event time; epoch ms."""

    partition: int
    input: int
    label: int
    feedback: int
    largest: int
    idle: bool
    end: bool
    labels_read: bool = False
    """Whether all labels have been read that were there at the commit before; false from a former version."""
    feedback_read: bool = False


class ObservationTime(msgspec.Struct, array_like=True):
    """Watermark of one partition of `observations`, and its largest event time; epoch ms."""

    partition: int
    watermark: int
    largest: int
    idle: bool
    end: bool


class PartitionIntake(msgspec.Struct, array_like=True):
    """What describe has made of a partition of an input topic since the app began to read it; the counts only grow."""

    role: str
    partition: int
    read: int = 0
    """Events; a tombstone is none."""
    refused: dict[str, int] = {}
    """By reason."""
    items: int = 0
    """Labels or signals that were to join a prediction."""
    joined: int = 0
    """Of these, those that have joined one."""


class WatermarkRecord(msgspec.Struct, tag="watermarks"):
    """The watermarks of the source partitions that one worker owns; `sources` is the number of all partitions."""

    sources: int
    partitions: list[PartitionTime]
    observations: list[ObservationTime] = []
    observation_sources: int = 0
    v: int = FORMAT
    intake: list[PartitionIntake] = []
    """Of partitions whose counts have grown; only in the record for the first partition of `profiles`."""


class SettingsRecord(msgspec.Struct, tag="settings"):
    """Detection settings, active from the first pane that is not closed yet."""

    hash: str
    text: str
    v: int = FORMAT


class PinRecord(msgspec.Struct, tag="pin"):
    """A part of a pinned baseline. It is active from the first pane that is open when the judge reads the last part."""

    model: str
    version: str | None
    digest: str
    """Identifies the parts that belong to the same pinned baseline."""
    part: int
    parts: int
    payload: bytes
    """Packed list of `baselines.pinned.PinnedMeasure`."""
    v: int = FORMAT


class ResetRecord(msgspec.Struct, tag="reset"):
    """A reset: the judge builds new baselines from `since` on (start of a pane), or from the first open pane."""

    model: str
    measure: str | None = None
    """None: all measures."""
    version: str | None = None
    """Only baselines pinned for this version. None: the shared ones too, and if no segment is named, the edges too."""
    segment: str | None = None
    """None: all segments."""
    since: int = NEVER
    v: int = FORMAT

    def covers(self, version: str | None, segment: str, measure: str) -> bool:
        """Whether the reset is for this baseline, which belongs to a version or (None) to all versions."""
        pairs = (self.version, version), (self.segment, segment), (self.measure, measure)
        return all(wanted is None or wanted == actual for wanted, actual in pairs)

    def same_scope(self, other: ResetRecord) -> bool:
        """Whether another reset of the same model has the same measure, version and segment."""
        return (self.measure, self.version, self.segment) == (other.measure, other.version, other.segment)

    @property
    def renews_edges(self) -> bool:
        """Whether the measure gets new edges: the reset leaves no baseline on the present ones."""
        return self.version is None and self.segment is None


class RolloutRecord(msgspec.Struct, tag="rollout"):
    """What a person orders about a rollout. The judge obeys it at the first pane that is open when it reads the record.

    A second record of the same `command` is ignored.
    """

    model: str
    rollout: str
    command: str
    """A unique id."""
    action: Action
    by: str
    reason: str = ""
    text: str = ""
    """The rollout file; of a start only."""
    since: int = NEVER
    """Of a start: not before the pane that holds this event time (epoch ms)."""
    v: int = FORMAT


Record = DeltaRecord | WatermarkRecord | SettingsRecord | PinRecord | ResetRecord | RolloutRecord


def read_record(value: bytes) -> Record:
    """Decode a record.

    Raises:
        FormatError: the record has a newer format, or is not ours.
    """
    record: Record = unpack(value, Record)  # type: ignore[arg-type]
    if not OLDEST_FORMAT <= record.v <= FORMAT:
        raise FormatError(f"a profiles record has format {record.v}, this version reads {FORMAT}: upgrade first")
    return record


def profile_schema() -> dict[str, Any]:
    """The JSON Schema of a delta record as `read_record` reads it; arrays of numbers stand for packed ones."""

    def array(kind: type) -> dict[str, Any]:
        if kind is np.ndarray:
            items = {"type": ["number", "array"]}  # `counts` has two dimensions
            return {"type": "array", "items": items, "description": "packed as in wire/msgpack_arrays.py"}
        if issubclass(kind, Table):
            lists = {name: {"type": "array"} for name in kind.LISTS}
            columns = {name: {"type": "array", "items": {"type": "number"}} for name in kind.ARRAYS}
            return {"type": "object", "properties": lists | columns, "required": [*lists, *columns]}
        raise NotImplementedError(kind)

    return msgspec.json.schema(DeltaRecord, schema_hook=array)


def write_record(record: Record) -> bytes:
    """Encode a record."""
    return pack(record)
