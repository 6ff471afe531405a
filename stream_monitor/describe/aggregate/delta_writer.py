"""From the columns of a commit to packed deltas, each small enough for a Kafka record."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from stream_monitor.describe.aggregate.grouping import EventKeys, group_events
from stream_monitor.describe.aggregate.row_sampling import SampleIndex, SampleSpec, rows_of, sample_rows, vectors_of
from stream_monitor.describe.aggregate.summarise import ProfileCells, narrow, summarise
from stream_monitor.describe.decode.columns import Coded, Columns
from stream_monitor.profiles.delta import CategoricalRows, Delta, NumericRows
from stream_monitor.profiles.known_bins import KnownBins
from stream_monitor.profiles.measures import TimelineName
from stream_monitor.profiles.names import ALL_SEGMENTS, NEVER
from stream_monitor.profiles.records import MAX_RECORD_BYTES, RawDeltas
from stream_monitor.types import F64, I64
from stream_monitor.wire.msgpack_arrays import pack

BLOCK_VALUES = 400_000
"""Numbers added up in one pass, few enough for a processor's cache."""

NONE: Mapping[str, int] = {}

VALUES_A_RECORD = MAX_RECORD_BYTES // 10


@dataclass(slots=True)
class Batch:
    """Events of a timeline in one commit, of models that share their columns; `status` as in `grouping`."""

    timeline: TimelineName
    columns: Columns
    pane: I64
    status: I64
    sampling: SampleSpec | None = None
    """How rows are sampled; None for a timeline whose rows are not sampled."""

    def numeric(self, rows: slice) -> dict[str, F64]:
        """The numeric columns, restricted to these rows."""
        return {name: column[rows] for name, column in self.columns.numeric.items()}

    def categorical(self, rows: slice) -> dict[str, Coded]:
        """The categorical columns, restricted to these rows."""
        return {name: column[rows] for name, column in self.columns.categorical.items()}


def batches(
    timeline: TimelineName, parts: Sequence[Columns], panes: tuple[I64, I64], sampling: SampleSpec | None = None
) -> list[Batch]:
    """One batch for each of `parts`; `panes` are the pane and the status of each event of the commit."""
    pane, status = panes
    return [
        Batch(
            timeline, c, pane[c.rows], status[c.rows], sampling and SampleSpec(sampling.hashes[c.rows], sampling.most)
        )
        for c in parts
    ]


def pack_deltas(batch: Batch, catalog: Callable[[str], KnownBins]) -> Iterator[tuple[str, bytes]]:
    """(model, packed delta) of a batch, added up in blocks of rows; a delta of several rows fits `MAX_RECORD_BYTES`."""
    measures = max(len(batch.columns.numeric), 1)
    latest = int(batch.pane.max(initial=NEVER))
    known = {model: catalog(model).at(latest) for model in batch.columns.models.names}
    aware = all(known[model].edges.keys() >= batch.columns.numeric.keys() for model in known)
    size = max(1, (BLOCK_VALUES if aware else VALUES_A_RECORD) // measures)
    for start in range(0, len(batch.pane), size):
        yield from _pack_block(batch, slice(start, start + size), known)


def _pack_block(batch: Batch, rows: slice, known: Mapping[str, KnownBins]) -> Iterator[tuple[str, bytes]]:
    deltas = list(_deltas(batch, rows, known))
    packed = [(delta.model, pack(msgspec.structs.replace(delta, vectors=None))) for delta in deltas]
    count = len(batch.pane[rows])
    if count <= 1 or all(len(value) <= MAX_RECORD_BYTES for _, value in packed):
        yield from packed
        yield from ((delta.model, pack(part)) for delta in deltas for part in _vectors_alone(delta))
        return
    middle = rows.start + count // 2
    yield from _pack_block(batch, slice(rows.start, middle), known)
    yield from _pack_block(batch, slice(middle, rows.start + count), known)


def _vectors_alone(delta: Delta) -> Iterator[Delta]:
    """The embeddings of a delta's sample, in deltas of their own that count nothing.

    Embeddings are large. If they stayed in their delta and the delta were split as others are, each half would draw a
    whole sample.
    """
    sample, nothing = delta.sample, np.zeros(0)
    if sample is None or delta.vectors is None:
        return
    bare = sample.replaced(numbers=[], texts=[], categories=[], values=nothing, codes=nothing.astype(np.int32))
    counts = np.zeros((len(delta.pane), 3), np.uint8)
    for vectors in delta.vectors.pieces(MAX_RECORD_BYTES):
        rows = NumericRows.none(), CategoricalRows.none()
        yield Delta(delta.model, delta.timeline, delta.version, delta.segment, delta.pane, counts, *rows, bare, vectors)


def _deltas(batch: Batch, rows: slice, known: Mapping[str, KnownBins]) -> Iterator[Delta]:
    columns = batch.columns
    models = columns.models[rows].dense()
    segments = {spec: column[rows].dense() for spec, column in columns.segments.items()}
    cells = group_events(
        EventKeys(models, columns.versions[rows].dense(), batch.pane[rows], batch.status[rows], segments)
    )
    numeric, categorical = batch.numeric(rows), batch.categorical(rows)
    summaries = summarise(cells, numeric, categorical, [known[model] for model in models.names])
    drawn = _draw(batch, rows, cells)
    starts = np.searchsorted(cells.model, np.arange(len(models.names) + 1)).tolist()
    for model, rows_of_model, (first, last) in zip(models.names, summaries, itertools.pairwise(starts), strict=True):
        counts, pane = cells.counts[first:last], cells.pane[first:last]
        version, segment = cells.version[first:last], cells.segment[first:last]
        delta = Delta(model, batch.timeline, version, segment, pane, narrow(counts), *rows_of_model[:2])
        delta.tails = rows_of_model.tails
        if drawn is not None and batch.sampling is not None:
            part = drawn.part(first, last)
            delta.sample = rows_of(part, numeric, categorical, batch.sampling.most)
            delta.vectors = vectors_of(part.row + rows.start, columns.vectors)
        yield delta


def _draw(batch: Batch, rows: slice, cells: ProfileCells) -> SampleIndex | None:
    """The sampled rows of a block, from the cells of segment `all`; None for a timeline that is not sampled."""
    if batch.sampling is None:
        return None
    everything = np.array([segment == ALL_SEGMENTS for segment in cells.segment], np.bool_)[cells.cell]
    sampling = SampleSpec(batch.sampling.hashes[rows], batch.sampling.most)
    return sample_rows(cells.row[everything], cells.cell[everything], sampling)


def pack_records(
    deltas: Iterable[bytes],
    performance: Iterable[bytes] = (),
    pairs: Iterable[bytes] = (),
    structure: str = "",
    widths: Mapping[str, int] = NONE,
) -> list[bytes]:
    """Join packed deltas, in order, to few `profiles` records; each record names the structure of its deltas."""
    records: list[bytes] = []
    current = RawDeltas([], [], [], structure, dict(widths))
    size = 0
    for target, parts in (("deltas", deltas), ("performance", performance), ("pairs", pairs)):
        for part in parts:
            if size and size + len(part) > MAX_RECORD_BYTES:
                records.append(pack(current))
                current, size = RawDeltas([], [], [], structure, dict(widths)), 0
            getattr(current, target).append(msgspec.Raw(part))
            size += len(part)
    if size:
        records.append(pack(current))
    return records
