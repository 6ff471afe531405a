"""Memory of open panes: how many bytes their deltas take, and how the judge reduces them.

A delta is kept as long as one of its panes is open. The judge cuts it when at least half of its cells lie in closed
panes, so that it never keeps much more than the open cells. If that is still too much, it merges the parts of each open
pane.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from stream_monitor.describe.aggregate.summarise import narrow
from stream_monitor.judge.panes.category_counts import CategoryCounts
from stream_monitor.judge.panes.pane import (
    IndexedPart,
    PanePart,
    RowIndex,
    collect_categories,
    collect_values,
    loose,
    split,
)
from stream_monitor.judge.panes.tails import some_tails, tail_entries
from stream_monitor.profiles.delta import CategoricalRows, Delta, NumericRows, TailRows
from stream_monitor.profiles.numeric_table import UnsortedRows
from stream_monitor.profiles.samples import SampleRows, VectorRows
from stream_monitor.profiles.tails import TAIL_BINS, TailTable, tail_key
from stream_monitor.types import F64, I64, Bool
from stream_monitor.wire.msgpack_arrays import pack, unpack

OpenPanes = dict[int, list[PanePart]]
"""By start of the pane (epoch ms): its parts so far."""

CELL_BYTES = 48
"""Bytes of a cell: its pane and counts, and two references to strings that many cells share."""
MERGED_BYTES = 4_000_000
"""Bytes of the parts that are merged into one delta, before the merge. A later cut can free about as much."""


@dataclass(slots=True)
class OpenBytes:
    """Bytes of the parts that lie in the open panes of one judge."""

    nbytes: int = 0

    def count(self, panes: Iterable[OpenPanes], waiting: Iterable[Delta]) -> None:
        """Recount the bytes of these panes, and of the deltas of pending models."""
        self.nbytes = sum(nbytes_of(part) for open_panes in panes for parts in open_panes.values() for part in parts)
        self.nbytes += sum(map(bytes_of_delta, waiting))


def nbytes_of(part: PanePart) -> int:
    """The approximate memory of a part in bytes."""
    sampled = 0 if part.delta.sample is None else part.delta.sample.nbytes
    sampled += 0 if part.delta.vectors is None else part.delta.vectors.nbytes
    cells = part.last - part.first
    return part.nbytes + cells * CELL_BYTES + sampled * cells // max(len(part.delta.pane), 1)


def bytes_of_delta(delta: Delta) -> int:
    """The approximate memory of a delta in bytes."""
    return nbytes_of(PanePart(delta, 0, len(delta.pane)))


def deltas_of(panes: Iterable[OpenPanes]) -> dict[int, tuple[Delta, list[PanePart]]]:
    """The deltas of open panes by identity, each with its parts."""
    deltas: dict[int, tuple[Delta, list[PanePart]]] = {}
    for open_panes in panes:
        for parts in open_panes.values():
            for part in parts:
                deltas.setdefault(id(part.delta), (part.delta, []))[1].append(part)
    return deltas


# --- cutting ---


def cut(panes: Iterable[OpenPanes]) -> int:
    """Cut every delta of which at most half of the cells are open; return how many were cut.

    The order of the parts in their panes does not change.
    """
    mostly_closed = [
        (delta, parts)
        for delta, parts in deltas_of(panes).values()
        if 2 * sum(part.last - part.first for part in parts) <= len(delta.pane)
    ]
    for delta, parts in mostly_closed:
        _cut(delta, sorted(parts, key=lambda part: part.first))
    return len(mostly_closed)


def _cut(delta: Delta, parts: Sequence[PanePart]) -> None:
    cells = np.concatenate([np.arange(part.first, part.last) for part in parts])
    place = np.full(len(delta.pane), -1, np.int64)
    place[cells] = np.arange(len(cells))
    numeric, categorical = delta.numeric, delta.categorical
    numbers, categories = place[numeric.cell] >= 0, place[categorical.cell] >= 0
    smaller = msgspec.structs.replace(
        delta,
        version=[delta.version[cell] for cell in cells.tolist()],
        segment=[delta.segment[cell] for cell in cells.tolist()],
        pane=delta.pane[cells],
        counts=delta.counts[cells],
        numeric=some_numbers(numeric, numbers).replaced(cell=narrow(place[numeric.cell[numbers]])),
        tails=some_tails(delta.tails, numbers),
        categorical=_categories_of(some_categories(categorical, categories), place[categorical.cell[categories]]),
    )
    if delta.sample is not None:
        smaller.sample, smaller.vectors = _some_sampled(delta.sample, delta.vectors, place)
    smaller = unpack(pack(smaller), Delta)  # like a delta from the log: each table is one block of memory
    ends = np.cumsum([0, *(part.last - part.first for part in parts)])
    number, category = (np.searchsorted(t.cell, ends).tolist() for t in (smaller.numeric, smaller.categorical))
    for index, part in enumerate(parts):
        part.delta, part.first, part.last = smaller, int(ends[index]), int(ends[index + 1])
        part.rows = number[index], number[index + 1], category[index], category[index + 1]


def some_numbers(rows: NumericRows, kept: Bool) -> NumericRows:
    """The numeric rows where `kept` (one bool per row) is True."""
    columns = {name: getattr(rows, name)[kept] for name in ("cell", "name", "n", "mean", "m2", "low", "high")}
    columns |= _spans(kept, rows, "bin_ptr", "bin_at", "bin_n") | _spans(kept, rows, "value_ptr", "values")
    return rows.replaced(**columns)


def some_categories(rows: CategoricalRows, kept: Bool) -> CategoricalRows:
    """The categorical rows where `kept` (one bool per row) is True."""
    columns = {name: getattr(rows, name)[kept] for name in ("cell", "name", "n")}
    return rows.replaced(**columns, **_spans(kept, rows, "ptr", "code", "count"))


def _spans(kept: Bool, rows: NumericRows | CategoricalRows, ptr: str, *names: str) -> dict[str, np.ndarray]:
    """The pointers of the kept rows, and the columns that they point into."""
    sizes = np.diff(getattr(rows, ptr).astype(np.int64))
    inside = np.repeat(kept, sizes)
    return {ptr: np.append(0, np.cumsum(sizes[kept]))} | {name: getattr(rows, name)[inside] for name in names}


def _categories_of(rows: CategoricalRows, cell: I64) -> CategoricalRows:
    """The rows with new cells, and with only the categories that they count."""
    used, codes = np.unique(rows.code, return_inverse=True)
    categories = [rows.categories[old_code] for old_code in used.tolist()]
    return rows.replaced(categories=categories, code=narrow(codes), cell=narrow(cell))


def _some_sampled(sample: SampleRows, vectors: VectorRows | None, place: I64) -> tuple[SampleRows, VectorRows | None]:
    """The sampled rows, and their embeddings, of the cells with `place` >= 0."""
    kept, size = place[sample.cell] >= 0, len(sample.cell)
    some = sample.replaced(
        cell=place[sample.cell[kept]].astype(np.uint32),
        hash=sample.hash[kept],
        values=_columns(sample.values, len(sample.numbers), size, kept),
        codes=_columns(sample.codes, len(sample.texts), size, kept),
    )
    if vectors is None:
        return some, None
    row = np.cumsum(kept) - 1
    counts, rows, values = [], [np.zeros(0, np.int64)], [np.zeros(0, vectors.values.dtype)]
    for _, sampled_row, numbers in vectors.each():
        counts.append(int(kept[sampled_row].sum()))
        rows.append(row[sampled_row[kept[sampled_row]]])
        values.append(numbers[kept[sampled_row]].reshape(-1))
    moved = np.concatenate(rows).astype(np.uint32)
    return some, vectors.replaced(counts=counts, row=moved, values=np.concatenate(values))


def _columns(values: np.ndarray, columns: int, rows: int, kept: Bool) -> np.ndarray:
    """The kept rows of concatenated columns; a sample with only hashes has no columns."""
    return values.reshape(columns, rows)[:, kept].reshape(-1) if columns else values


# --- merging ---


def merge(panes: OpenPanes) -> int:
    """Merge the parts of each pane into one; return the number of panes that changed.

    Parts with sampled rows are not merged. Bins, categories and counts stay exact. Means and sums of squares are summed
    in another order than when the pane closes, so they differ in the last digits.
    """
    waiting: OpenPanes = {}
    size = merged = 0
    for start in sorted(panes):
        plain = [part for part in panes[start] if part.delta.sample is None]
        if len(plain) > 1:
            waiting[start] = plain
            merged += 1
            size += sum(map(nbytes_of, plain))
        if size >= MERGED_BYTES:
            _merge(waiting, panes)
            waiting, size = {}, 0
    if waiting:
        _merge(waiting, panes)
    return merged


def _merge(waiting: OpenPanes, panes: OpenPanes) -> None:
    merged = unpack(pack(_Merging().merged(waiting)), Delta)
    for start, part in split(merged):
        panes[start] = [part, *(other for other in panes[start] if other.delta.sample is not None)]


class _Merging:
    """Numbers the cells and measures while parts are merged. A measure on other edges is a different measure."""

    def __init__(self) -> None:
        self.cells: dict[tuple[int, str, str], int] = {}
        self.measures: dict[tuple[str, int], int] = {}

    def merged(self, panes: OpenPanes) -> Delta:
        """One delta of all parts, with its cells in the order of panes."""
        placed = [self._place(start, part) for start, parts in panes.items() for part in parts]
        counts = np.zeros((len(self.cells), 3), np.int64)
        tallies: dict[tuple[int, str], CategoryCounts] = {}
        values: dict[tuple[int, int], list[F64]] = {}
        for indexed in placed:
            np.add.at(
                counts, indexed.row_index.groups, indexed.part.delta.counts[indexed.part.first : indexed.part.last]
            )
            collect_values(indexed, values)
            collect_categories(indexed, tallies)
        first, keys = placed[0].part.delta, list(self.cells)
        return Delta(
            first.model,
            first.timeline,
            [version for _, version, _ in keys],
            [segment for _, _, segment in keys],
            np.array([pane for pane, _, _ in keys], np.int64),
            narrow(counts),
            rows := self._numeric(placed, values),
            _categorical(tallies),
            tails=_tails(placed, rows),
        )

    def _place(self, pane: int, part: PanePart) -> IndexedPart:
        delta = part.delta
        cells = [
            self.cells.setdefault((pane, delta.version[cell], delta.segment[cell]), len(self.cells))
            for cell in range(part.first, part.last)
        ]
        numeric = delta.numeric
        measures = [
            self.measures.setdefault(key, len(self.measures)) for key in zip(numeric.names, numeric.edges, strict=True)
        ]
        return IndexedPart(part, RowIndex(part, np.array(cells, np.int64), np.array(measures, np.int64)))

    def _numeric(self, placed: Sequence[IndexedPart], values: dict[tuple[int, int], list[F64]]) -> NumericRows:
        rows = UnsortedRows.of([loose(indexed) for indexed in placed]).merged(max(len(self.measures), 1))
        row_values = [values.get(key, ()) for key in zip(rows.group.tolist(), rows.measure.tolist(), strict=True)]
        ends = np.cumsum([0, *(sum(map(len, parts)) for parts in row_values)])
        return NumericRows(
            names=[name for name, _ in self.measures],
            edges=[version for _, version in self.measures],
            cell=narrow(rows.group),
            name=narrow(rows.measure),
            n=narrow(rows.n),
            mean=rows.mean,
            m2=rows.m2,
            low=rows.low,
            high=rows.high,
            bin_ptr=narrow(rows.bin_ptr),
            bin_at=rows.bin_at.astype(np.uint8),
            bin_n=narrow(rows.bin_n),
            value_ptr=narrow(ends),
            values=np.concatenate([np.zeros(0), *(part for parts in row_values for part in parts)]),
        )


def _tails(placed: Sequence[IndexedPart], rows: NumericRows) -> TailRows | None:
    """The tails of parts, for the merged rows of their groups and measures."""
    own = [(indexed, tails) for indexed in placed if (tails := indexed.part.delta.tails) is not None]
    if not own:
        return None
    table = TailTable()
    indexes = [(indexed.row_index.group, indexed.row_index.measure) for indexed, _ in own]
    table.add(*tail_entries([tails for _, tails in own], [indexed.part.starts[0] for indexed, _ in own], indexes))
    first = tail_key(rows.cell.astype(np.int64), rows.name.astype(np.int64), 0)
    ptr = np.append(np.searchsorted(table.key, first), len(table.key))
    return TailRows(ptr=narrow(ptr), at=(table.key % TAIL_BINS).astype(np.uint8), n=narrow(table.n))


def _categorical(tallies: dict[tuple[int, str], CategoryCounts]) -> CategoricalRows:
    categories: dict[str, int] = {}
    names: dict[str, int] = {}
    rows = sorted(tallies.items(), key=lambda row: row[0][0])
    name = [names.setdefault(name, len(names)) for (_, name), _ in rows]
    code = [categories.setdefault(text, len(categories)) for _, (_, texts, _) in rows for text in texts]
    return CategoricalRows(
        names=list(names),
        categories=list(categories),
        cell=narrow(np.array([cell for (cell, _), _ in rows], np.int64)),
        name=narrow(np.array(name, np.int64)),
        n=narrow(np.array([n for _, (n, _, _) in rows], np.int64)),
        ptr=narrow(np.cumsum([0, *(len(texts) for _, (_, texts, _) in rows)])),
        code=narrow(np.array(code, np.int64)),
        count=narrow(np.array([count for _, (_, _, counts) in rows for count in counts], np.int64)),
    )
