"""From pairs of predictions to the sums that describe publishes: do two versions agree, and which of them errs?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from stream_monitor.describe.join.code_book import CodeBook
from stream_monitor.describe.join.outcomes import Answers, ClassTable, LabelComparison, compare_with_labels
from stream_monitor.describe.join.pending import rows as pending
from stream_monitor.describe.join.pending.rows import Pairs
from stream_monitor.profiles import classes, pairs
from stream_monitor.profiles.names import ALL_SEGMENTS
from stream_monitor.profiles.pairs import PairDelta
from stream_monitor.profiles.records import MAX_RECORD_BYTES
from stream_monitor.types import I64, Bool
from stream_monitor.wire.msgpack_arrays import pack

_Cell = tuple[str, str, str, int, int, int]
"""First version, second version, segment, grains of both predictions, grain in which it became known."""
_Row = tuple[tuple[_Cell, int, int], int]
"""(cell, kind, bin), and how many pairs."""


def pair_sums(found: Pairs, book: CodeBook, grain_ms: int) -> Iterator[tuple[str, bytes]]:
    """Yield (model, packed PairDelta) of the pairs of a commit."""
    swap = _comes_second(found, book)
    first_key, second_key = _either(swap, found.other_key, found.key)
    first_ts, second_ts = _either(swap, found.other_ts, found.ts)
    grains = [ts - ts % grain_ms for ts in (first_ts, second_ts, found.known)]
    kind, bins, rows = _kinds(found, book, swap)
    columns: tuple[npt.NDArray[Any], ...] = (first_key, second_key, found.answer, *grains)
    table = np.stack([*(column[rows].astype(np.int64) for column in columns), kind, bins])
    distinct, counts = np.unique(table, axis=1, return_counts=True)
    sums: dict[str, dict[tuple[_Cell, int, int], int]] = defaultdict(lambda: defaultdict(int))
    cells: list[list[int]] = distinct.T.tolist()
    for row, n in zip(cells, counts.tolist(), strict=True):
        of_first, of_second, answer, *times, its_kind, its_bin = row
        one, other = book.keys.values[of_first], book.keys.values[of_second]
        segments = (segment for segment in book.answers.values[answer].segments if segment is not None)
        for segment in (ALL_SEGMENTS, *segments):
            cell: _Cell = (one.version, other.version, segment, *times)
            sums[one.model][cell, its_kind, its_bin] += n
    for model, rows_of in sums.items():
        for packed in _packed(model, list(rows_of.items())):
            yield model, packed


def _packed(model: str, rows: list[_Row]) -> Iterator[bytes]:
    """Deltas that fit `MAX_RECORD_BYTES`, but for one of a single row."""
    packed, half = pack(_delta(model, rows)), len(rows) // 2
    if len(packed) <= MAX_RECORD_BYTES or not half:
        yield packed
        return
    yield from _packed(model, rows[:half])
    yield from _packed(model, rows[half:])


def _delta(model: str, sums: Sequence[_Row]) -> PairDelta:
    cells: dict[_Cell, int] = {}
    rows = np.array([(cells.setdefault(cell, len(cells)), *row, n) for (cell, *row), n in sums], np.int64).T
    first, second, segment, *times = zip(*cells, strict=True)
    window, other_window, known = (np.array(column, np.int64) for column in times)
    kind = rows[1].astype(np.uint8)
    return PairDelta(
        model, list(first), list(second), list(segment), window, other_window, known, rows[0], kind, *rows[2:]
    )


def _comes_second(found: Pairs, book: CodeBook) -> Bool:
    """Of which pairs the later prediction is of the version that comes second in the order of letters."""
    keys = np.unique(np.concatenate([found.key, found.other_key]))
    order = sorted(range(len(keys)), key=lambda at: book.keys.values[int(keys[at])].version)
    rank = np.empty(len(keys), np.int64)
    rank[order] = np.arange(len(keys))
    later, earlier = (rank[np.searchsorted(keys, column)] for column in (found.key, found.other_key))
    return np.asarray(later > earlier)


def _either(second: Bool, other: npt.NDArray[np.generic], own: npt.NDArray[np.generic]) -> tuple[I64, I64]:
    """Columns of the first and of the second version, of those of the earlier and of the later prediction."""
    return np.where(second, other, own).astype(np.int64), np.where(second, own, other).astype(np.int64)


def _kinds(found: Pairs, book: CodeBook, second: Bool) -> tuple[I64, I64, I64]:
    """(kind, bin, position of the pair) of each row that a pair adds to the sums."""
    later, earlier = Answers(found.answer, found.value), Answers(found.other_answer, found.other_value)
    answered = np.flatnonzero(found.event == pending.ANSWERED)
    labelled = found.event == pending.LABELLED
    of_later, of_earlier = (
        compare_with_labels(answers, found.label, found.categorical, book) for answers in (later, earlier)
    )
    errors = labelled & ~np.isnan(of_later.error) & ~np.isnan(of_earlier.error)
    gaps = labelled & ~np.isnan(of_later.absolute) & ~np.isnan(of_earlier.absolute)
    rest = np.flatnonzero((found.event != pending.ANSWERED) & ~errors & ~gaps)
    parts = [
        (pairs.ANSWERS, _differ(later, earlier, book)[answered], answered),
        (pairs.ERRORS, _cells(of_later, of_earlier, second)[errors], np.flatnonzero(errors)),
        (pairs.DISTANCES, _distances(of_later, of_earlier, second, found.hash)[gaps], np.flatnonzero(gaps)),
        (pairs.LEFT_OUT, np.zeros(len(rest), np.int64), rest),
    ]
    kind = np.concatenate([np.full(len(rows), number) for number, _, rows in parts])
    return kind, np.concatenate([bins for _, bins, _ in parts]), np.concatenate([rows for *_, rows in parts])


def _differ(later: Answers, earlier: Answers, book: CodeBook) -> I64:
    """0 where two answers mean the same, else 1; no answer is the same as no answer."""
    table = ClassTable(book)
    names = [table.names_of(answers.answer) for answers in (later, earlier)]
    numbers = [table.numbers_of(answers) for answers in (later, earlier)]
    both = (names[0] >= 0) & (names[1] >= 0)
    mixed = (names[0] >= 0) != (names[1] >= 0)
    equal = numbers[0] == numbers[1]
    equal &= ~mixed | classes.are_whole(numbers[0])
    equal |= ~mixed & np.isnan(numbers[0]) & np.isnan(numbers[1])
    return np.asarray(~np.where(both, names[0] == names[1], equal)).astype(np.int64)


def _cells(later: LabelComparison, earlier: LabelComparison, second: Bool) -> I64:
    of_first, of_second = np.where(second, earlier.error, later.error), np.where(second, later.error, earlier.error)
    cells: I64 = np.nan_to_num(2 * of_first + of_second).astype(np.int64)
    return cells


def _distances(later: LabelComparison, earlier: LabelComparison, second: Bool, hashes: npt.NDArray[np.uint64]) -> I64:
    difference = np.nan_to_num(later.absolute - earlier.absolute)
    return pairs.distance_bins(np.where(second, difference, -difference), pairs.draws_of(hashes))
