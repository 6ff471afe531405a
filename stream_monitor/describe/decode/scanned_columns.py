"""From scanned predictions to columns: Python runs once a batch, never once a value.

The scanner's tape holds the rows of one commit. The key table learns keys (names of features and tags) from events that
the decoder read; the scanner gives texts their codes. Both tables are bounded. When the key table is full, the decoder
reads the events with further keys. When the string table is full, the rows so far become columns and the table is
emptied.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from stream_monitor.describe.decode.columns import Coded, Columns, Reading, Spec, segment_part
from stream_monitor.describe.decode.embeddings import Embeddings
from stream_monitor.describe.decode.symbol_tables import MAX_KEYS, KeyTable, StringTable
from stream_monitor.events.contracts import Prediction
from stream_monitor.events.decode import MAX_FEATURES
from stream_monitor.events.privacy import Privacy
from stream_monitor.kernels import json_scanner as scan
from stream_monitor.kernels.json_scanner import ARRAY, FEATURE, TAG, TOP
from stream_monitor.profiles import measures
from stream_monitor.profiles.names import OTHER
from stream_monitor.types import F64, I64, Bool

MODELS = 4_000
"""Models that get columns at once, the busiest first. Events of further models are only counted, as `__other__`."""
FAMILY_BYTES = 1 << 24
"""Bytes of the table that finds the models with the same measures."""
LEAST_TOKEN = 4
"""The fewest bytes of JSON that a token takes: `"":1`."""

Span = tuple[str, I64]
"""A model and its rows."""

_NUMBERS, _TEXTS, _FLAGS, _ARRAYS = range(4)
_FLAG_NAMES = ["false", "true"]


class ScannedRows:
    """The rows of one call of `PredictionScanner.scan`."""

    def __init__(self, tape: scan.Tape, first: int, last: int) -> None:
        self.first, self.last = first, last
        self.fast: Bool = tape.fast[first:last].astype(np.bool_)
        self.ts: I64 = np.where(self.fast, tape.ts[first:last], 0)
        self.id_start, self.id_length = tape.id_start[first:last], tape.id_length[first:last]


class PredictionScanner:
    """The scanner's tape of predictions with its key and string tables; it builds columns by model."""

    def __init__(
        self,
        specs: Sequence[Spec],
        privacy: Privacy,
        embeddings: Mapping[str, int] | None = None,
        sampled: bool = False,
    ) -> None:
        self.specs, self.privacy = specs, privacy
        self.reading = Reading(specs, privacy, Embeddings(embeddings or {}, sampled))
        self.keys = KeyTable(privacy)
        self.strings = StringTable(self.keys, privacy)
        self.tape = _tape(1024, 1024)
        self.rows = 0
        self.number = np.full(len(self.tape.first), -1, np.int64)
        """The number of each row in the commit, -1 for a row that was not scanned."""
        self._slots = np.full(4 * MAX_KEYS, -1, np.int32)
        self._places = np.zeros(4 * MAX_KEYS, np.int32)
        self._found = np.empty(4 * MAX_KEYS, np.int32)

    def learn(self, events: Sequence[Prediction]) -> None:
        """Learn the keys of decoded events. It skips embeddings: the decoder always reads events that have one."""
        for event in events:
            for name in event.features:
                if name not in self.reading.embeddings:
                    self.keys.add(FEATURE, name)
            for name in event.tags:
                self.keys.add(TAG, name)

    def scan(self, buffer: np.ndarray, ends: I64, done: int) -> tuple[int, ScannedRows]:
        """Scan events from index `done` on.

        Returns:
            The index of the first event that was not scanned, and the rows. The scan ends early when the string table
            is full.
        """
        events = len(ends) - 1 - done
        self._room(events, int(ends[-1] - ends[done]) // LEAST_TOKEN + MAX_FEATURES)
        first = self.rows
        upto = int(scan.scan(self.keys.arrays, self.strings.arrays, self.tape, buffer, ends, done, first))
        self.rows += upto - done
        return upto, ScannedRows(self.tape, first, self.rows)

    def _room(self, rows: int, tokens: int) -> None:
        needed = self.rows + rows + 1, int(self.tape.first[self.rows]) + tokens
        size = len(self.tape.first), len(self.tape.key)
        if needed[0] > size[0] or needed[1] > size[1]:
            grown = _tape(*(max(n, s if n <= s else 2 * s) for n, s in zip(needed, size, strict=True)))
            for old, new in zip(self.tape, grown, strict=True):
                new[: len(old)] = old
            self.tape = grown
            self.number = np.concatenate([self.number, np.full(len(grown.first) - len(self.number), -1, np.int64)])

    def place(self, rows: ScannedRows, numbers: I64) -> None:
        """Set the numbers of rows in the commit; -1 for a row that is not in it."""
        self.number[rows.first : rows.last] = numbers

    def columns(self) -> Iterator[Columns]:
        """Yield the columns of the rows so far, then forget the rows; models with the same measures share columns."""
        self.strings.learn()
        rows = np.flatnonzero(self.number[: self.rows] >= 0)
        codes = self.tape.model[rows]
        order = np.argsort(codes, kind="stable")
        rows, codes = rows[order], codes[order]
        names = [*self.strings.names(scan.MODEL), "default"]  # no model has the code -1
        starts = np.flatnonzero(np.diff(codes, prepend=-2))
        spans = [(names[codes[start]], rows[start:end]) for start, end in itertools.pairwise([*starts, len(rows)])]
        if len(spans) > MODELS:
            spans.sort(key=lambda span: (-len(span[1]), xxhash.xxh3_64_intdigest(span[0].encode())))
            rest = np.sort(np.concatenate([chosen for _, chosen in spans[MODELS:]]))
            yield Columns(Coded.one(OTHER, len(rest)), self.number[rest], Coded.one(OTHER, len(rest)))
            spans = spans[:MODELS]
        for pairs, family in self._families(spans):
            yield self._columns(pairs, family)
        self.rows = 0

    def _families(self, spans: Sequence[Span]) -> Iterator[tuple[npt.NDArray[np.int32], list[Span]]]:
        """Yield (key, group) pairs and the models that have exactly these pairs; for `group` see `scan.groups_of`."""
        if not spans:
            return
        rows = np.concatenate([chosen for _, chosen in spans])
        rows = rows[self._order(rows)]
        every = self._found[: int(scan.groups_of(self.tape, rows, self._slots, self._found))].copy()
        step = max(1, FAMILY_BYTES // max(len(every), 1))
        for first in range(0, len(spans), step):
            some = spans[first : first + step]
            families: dict[bytes, list[int]] = defaultdict(list)
            has = self._pairs(some, len(every))
            for model, pairs in enumerate(has):
                families[pairs.tobytes()].append(model)
            for members in families.values():
                yield every[has[members[0]]], [some[member] for member in members]
        self._slots[every] = -1

    def _pairs(self, spans: Sequence[Span], pairs: int) -> Bool:
        """(models, pairs): whether the model has the pair."""
        has = np.ones((len(spans), pairs), np.bool_)
        if len(spans) > 1:
            has[:] = False
            rows = np.concatenate([chosen for _, chosen in spans])
            model = np.repeat(np.arange(len(spans)), [len(chosen) for _, chosen in spans])
            order = self._order(rows)
            scan.mark(self.tape, rows[order], model[order], self._slots, has)
        return has

    def _order(self, rows: I64) -> I64:
        """The order of rows on the tape; in any other order each read would miss the cache."""
        if len(rows) * 16 < self.rows:
            return np.argsort(rows)
        place = np.full(self.rows, -1)
        place[rows] = np.arange(len(rows))
        return place[place >= 0]

    def _columns(self, found: npt.NDArray[np.int32], family: Sequence[Span]) -> Columns:
        rows = np.concatenate([chosen for _, chosen in family])
        models = Coded(np.repeat(np.arange(len(family)), [len(chosen) for _, chosen in family]), [m for m, _ in family])
        dense = np.isin(found & 3, (_NUMBERS, _ARRAYS))
        place = np.where(dense, np.cumsum(dense), np.cumsum(~dense)) - 1
        slots = self._places
        slots[found] = place
        numbers = np.full((int(dense.sum()), len(rows)), np.nan)
        codes = np.full((int((~dense).sum()), len(rows)), -1, np.int64)
        scan.spread(self.tape, rows, self._order(rows), slots, numbers, codes)
        columns = Columns(models, self.number[rows], self._versions(rows))
        writer = _ColumnWriter(columns, self.strings, self.privacy)
        for pair, row in zip(found.tolist(), place.tolist(), strict=True):
            key, group = pair >> 2, pair & 3
            writer.put(self.keys.names[key], key, group, codes[row] if group in (_TEXTS, _FLAGS) else numbers[row])
        columns.numeric[measures.NULL_ANSWER] = writer.null_answers()
        for spec in self.specs:
            columns.segments[spec] = self._segments(spec, rows)
        return columns

    def _versions(self, rows: I64) -> Coded:
        codes, names = self.tape.version[rows].astype(np.int64), self.strings.names(scan.VERSION)
        if (codes >= 0).all():
            return Coded(codes, names)
        names = names if "0" in names else [*names, "0"]
        return Coded(np.where(codes < 0, names.index("0"), codes), names)

    # --- segments ---

    def _segments(self, spec: Spec, rows: I64) -> Coded:
        parts = [self._field(name, rows) for name in spec]
        combined = np.zeros(len(rows), np.int64)
        absent = np.zeros(len(rows), np.bool_)
        for part in parts:
            combined = combined * (len(part.names) + 1) + part.codes + 1
            absent |= part.codes < 0
        _, first, inverse = np.unique(combined, return_index=True, return_inverse=True)
        texts = [
            None if absent[row] else measures.bounded(",".join(part.names[part.codes[row]] for part in parts))
            for row in first.tolist()
        ]
        coded = Coded.of(texts)
        return Coded(coded.codes[inverse], coded.names)

    def _field(self, name: str, rows: I64) -> Coded:
        """The part of each row's segment that a field gives, such as "country=DE": from the tags, or else features."""
        kinds, values = np.zeros(len(rows), np.int64), np.zeros(len(rows))
        texts: dict[int, list[str]] = {}
        for place in (FEATURE, TAG):  # the tag overwrites the feature
            key = self.keys.numbers.get((place, name))
            if key is not None:
                scan.pick(self.tape, rows, key, place, kinds, values)
                texts[place] = self.strings.names(key)
        kinds[kinds & 7 == ARRAY] = 0
        pairs, inverse = np.unique(np.stack([kinds, values]), axis=1, return_inverse=True)
        names = [self._segment(name, _value(int(kind), value, texts)) for kind, value in pairs.T.tolist()]
        coded = Coded.of(names)
        return Coded(coded.codes[inverse.ravel()], coded.names)

    def _segment(self, name: str, value: str | bool | float | None) -> str | None:
        """A value as a part of a segment's name; texts of hashed fields are tokens already."""
        if value is None:
            return None
        if not isinstance(value, str):
            value = self.privacy.hide(name, value)
        return segment_part(name, value)


def _value(kind: int, value: float, texts: Mapping[int, Sequence[str]]) -> str | bool | float | None:
    """The scanned value, or the token of a text; the place is stored above the three bits of `kind`."""
    match kind & 7:
        case 0:
            return None
        case scan.TEXT:
            return texts[kind >> 3][int(value)]
        case scan.TRUE | scan.FALSE:
            return bool(value)
        case scan.INTEGER if kind >> 3 == FEATURE:
            return int(value)
        case _:  # a tag's number is a float in the contract
            return value


class _ColumnWriter:
    """Stores dense columns under the measures that `Builder` would give their values."""

    def __init__(self, columns: Columns, strings: StringTable, privacy: Privacy) -> None:
        self.columns, self.strings, self.privacy = columns, strings, privacy
        self.null: Bool = np.ones(len(columns.rows), np.bool_)

    def null_answers(self) -> F64:
        """1 where the prediction is null, empty or absent."""
        return self.null.astype(np.float64)

    def put(self, name: tuple[int, str], key: int, group: int, column: Any) -> None:
        """Store a column of one key and one group of kinds."""
        place, text = name
        if place == TAG or (place == FEATURE and text in self.privacy.dropped):
            return
        if place == TOP and key != scan.PREDICTION:
            self.columns.numeric[measures.SCORE if key == scan.PROBABILITIES else measures.LATENCY] = column
            return
        measure = measures.feature_measure(text) if place == FEATURE else measures.PREDICTION
        if place == FEATURE and text in self.privacy.hashed:
            self._hidden(measure, text, group, column, self.strings.names(key))
            return
        _PUT[group](self, measure, key, column)
        if place == TOP:
            self.null &= column < 0 if group in (_TEXTS, _FLAGS) else np.isnan(column)
            if group == _TEXTS and "" in self.strings.names(key):
                self.null |= column == self.strings.names(key).index("")
            elif group == _ARRAYS:
                self.null |= column == 0

    def _hidden(self, measure: str, name: str, group: int, column: Any, texts: Sequence[str]) -> None:
        """Store a column of a hashed feature: categories without lengths, as in `Builder.hidden`."""
        if group == _TEXTS:
            self._category(measure, Coded(column, list(texts)))
        elif group == _FLAGS:
            self._category(measure, Coded(column, [self.privacy.hide(name, flag) for flag in (False, True)]))
        elif group == _ARRAYS:
            self._kind(measure, column)
        else:
            numbers, place = np.unique(column[~np.isnan(column)], return_inverse=True)
            codes = np.full(len(column), -1, np.int64)
            codes[~np.isnan(column)] = place
            self._category(measure, Coded(codes, [self.privacy.hide(name, number) for number in numbers.tolist()]))

    def _numbers(self, measure: str, key: int, column: F64) -> None:
        self.columns.numeric[measure] = column

    def _texts(self, measure: str, key: int, column: I64) -> None:
        lengths, longest = self.strings.lengths(key)
        self._length(measure, lengths[column])
        names = self.strings.names(key)
        coded = Coded(column, names)
        if longest > measures.MAX_TEXT:
            coded = Coded.chain([Coded(column, [measures.bounded(name) for name in names])])
        self._category(measure, coded)

    def _flags(self, measure: str, key: int, column: I64) -> None:
        self._category(measure, Coded(column, _FLAG_NAMES))

    def _arrays(self, measure: str, key: int, column: F64) -> None:
        self._length(measure, column)
        self._kind(measure, column)
        if measure == measures.PREDICTION and not np.isnan(column).all():
            measures.tell_unmeasured("array")

    def _kind(self, measure: str, column: F64) -> None:
        self._category(measures.kind_of(measure), Coded(np.where(np.isnan(column), -1, 0), ["array"]))

    def _length(self, measure: str, column: F64) -> None:
        name = measures.length_of(measure)
        known = self.columns.numeric.get(name)
        self.columns.numeric[name] = column if known is None else np.where(np.isnan(known), column, known)

    def _category(self, measure: str, coded: Coded) -> None:
        """Store a categorical column; texts and flags of one key share a column."""
        known = self.columns.categorical.get(measure)
        if known is not None:
            size = len(known.codes)
            both = Coded.chain([known, coded])
            coded = Coded(np.maximum(both.codes[:size], both.codes[size:]), both.names)
        self.columns.categorical[measure] = coded


_PUT: dict[int, Callable[[_ColumnWriter, str, int, Any], None]] = {
    _NUMBERS: _ColumnWriter._numbers,
    _TEXTS: _ColumnWriter._texts,
    _FLAGS: _ColumnWriter._flags,
    _ARRAYS: _ColumnWriter._arrays,
}


def _tape(rows: int, tokens: int) -> scan.Tape:
    return scan.Tape(
        fast=np.zeros(rows, np.uint8),
        ts=np.zeros(rows, np.int64),
        model=np.zeros(rows, np.int32),
        version=np.zeros(rows, np.int32),
        id_start=np.zeros(rows, np.int64),
        id_length=np.zeros(rows, np.int32),
        first=np.zeros(rows, np.int64),
        key=np.zeros(tokens, np.int16),
        kind=np.zeros(tokens, np.uint8),
        value=np.zeros(tokens, np.float64),
    )
