"""From joined labels and signals to outcome measures, which describe publishes in two forms.

Batches have the event time of the label or signal; they feed sequential detectors. Performance deltas are signed sums
by the prediction's time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stream_monitor.describe.aggregate.delta_writer import Batch
from stream_monitor.describe.aggregate.grouping import ACCEPTED
from stream_monitor.describe.decode.columns import Coded, Columns, Spec, distinct
from stream_monitor.describe.join.code_book import CodeBook
from stream_monitor.describe.join.pending import rows as pending
from stream_monitor.describe.join.pending.rows import Joined
from stream_monitor.profiles import classes
from stream_monitor.profiles.measures import INCOMPARABLE, LABEL, TimelineName
from stream_monitor.profiles.names import ALL_SEGMENTS
from stream_monitor.profiles.records import MAX_RECORD_BYTES, PerformanceDelta
from stream_monitor.types import F64, I64, Bool
from stream_monitor.wire.msgpack_arrays import pack

ERROR, ABSOLUTE_ERROR, SQUARED_ERROR = "error", "absolute_error", "squared_error"
BIAS, RELATIVE_ERROR = "bias", "relative_error"
DISAGREEMENT = "label_disagreement"


@dataclass(slots=True)
class LabelComparison:
    """The comparison of labels with answers, (n,) each: NaN where the measure does not apply."""

    error: F64
    absolute: F64
    squared: F64
    bias: F64
    """The answer less the label."""
    relative: F64
    """The distance as a part of the label's size; NaN where the label is 0."""
    label: F64
    """The label as a number; true is 1, false is 0, other categories are NaN."""
    incomparable: F64
    """1 where neither an error nor a distance can be said."""

    def by_name(self) -> dict[str, F64]:
        """The measures of the comparison."""
        return {
            ERROR: self.error,
            ABSOLUTE_ERROR: self.absolute,
            SQUARED_ERROR: self.squared,
            BIAS: self.bias,
            RELATIVE_ERROR: self.relative,
            LABEL: self.label,
            INCOMPARABLE: self.incomparable,
        }


class Answers(NamedTuple):
    """Answers of predictions, (n,) each."""

    answer: npt.NDArray[np.uint32]
    """Codes of (segments, class)."""
    value: F64
    """The number, NaN for a class."""


def compare_with_labels(joined: Joined | Answers, label: F64, categorical: Bool, book: CodeBook) -> LabelComparison:
    """Compare answers with labels: classes with classes, numbers with numbers, whole numbers with both.

    Two numbers that may be numbers of classes have an error, too.
    """
    codes = np.where(categorical, label, -1).astype(np.int64)
    table = ClassTable(book)
    predicted = table.categories_of(joined.answer)
    both = categorical & (predicted >= 0)
    answer = np.where(predicted >= 0, table.whole[predicted], joined.value)
    truth = np.where(categorical, table.whole[codes], label)
    mixed = (categorical != (predicted >= 0)) & classes.are_whole(answer) & classes.are_whole(truth)
    numbers = ~categorical & (predicted < 0)
    counted = numbers & classes.are_class_numbers(answer) & classes.are_class_numbers(truth)
    error = np.where(both, (table.name[predicted] != table.name[codes]).astype(float), np.nan)
    error = np.where(mixed | counted, (answer != truth).astype(float), error)
    gap = _finite(np.where(numbers, joined.value, np.nan), -label)
    number = np.where(categorical, table.truth[codes], label)
    incomparable = np.where(np.isnan(error) & np.isnan(gap), 1.0, np.nan)
    return LabelComparison(error, np.abs(gap), _squares(gap), gap, _relative(gap, label), number, incomparable)


def _finite(a: F64, b: F64) -> F64:
    """Sums; missing where no double holds them."""
    with np.errstate(invalid="ignore", over="ignore"):
        total = a + b
    return np.where(np.isfinite(total), total, np.nan)


def _squares(values: F64) -> F64:
    """Squares; missing where no double holds them."""
    with np.errstate(over="ignore"):
        squares = values * values
    return np.where(np.isfinite(squares), squares, np.nan)


def _relative(gap: F64, label: F64) -> F64:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        part = np.abs(gap) / np.abs(label)
    return np.where(np.isfinite(part), part, np.nan)


class ClassTable:
    """What the categories of a code book mean, by code; the last entry is that of code -1, no category."""

    def __init__(self, book: CodeBook) -> None:
        codes = [-1 if a.category is None else book.categories.of(a.category) for a in book.answers.values]
        self._predicted = np.array(codes or [-1], np.int64)
        names = book.categories.values
        spellings = {name: code for code, name in enumerate(dict.fromkeys(map(classes.class_of, names)))}
        self.name = np.array([*(spellings[classes.class_of(name)] for name in names), -1], np.int64)
        self.whole = np.array([*map(classes.whole_of, names), np.nan])
        self.truth = np.array([*map(classes.truth_of, names), np.nan])

    def categories_of(self, answers: npt.NDArray[np.uint32]) -> I64:
        """The codes of the predicted categories, -1 where an answer is no class."""
        return np.asarray(self._predicted[answers])

    def names_of(self, answers: npt.NDArray[np.uint32]) -> I64:
        """Numbers of classes, equal for two spellings of one class; -1 where an answer is no class."""
        return np.asarray(self.name[self.categories_of(answers)])

    def numbers_of(self, answers: Answers) -> F64:
        """Answers as numbers, of classes that are written as whole numbers, too; NaN for others."""
        predicted = self.categories_of(answers.answer)
        return np.where(predicted >= 0, self.whole[predicted], answers.value)


class Outcomes:
    """Turns the joined events of a commit into batches and performance deltas."""

    def __init__(self, book: CodeBook, pane_ms: int, grain_ms: int, specs: Sequence[Spec]) -> None:
        self.book, self.pane, self.grain, self.specs = book, pane_ms, grain_ms, specs

    def batches(self, joined: Joined) -> Iterator[Batch]:
        """Yield measures of first labels, disagreements and signals, at the later time of prediction and item."""
        if not len(joined.event):
            return
        judged = compare_with_labels(joined, joined.new, joined.new_categorical, self.book)
        first = joined.event == pending.FIRST
        second = (joined.event == pending.AGREEMENT) | (joined.event == pending.DISAGREEMENT)
        numeric = {
            **{name: np.where(first, values, np.nan) for name, values in judged.by_name().items()},
            DISAGREEMENT: np.where(second, (joined.event == pending.DISAGREEMENT).astype(float), np.nan),
        }
        labels = self._label_categories(joined, first)
        yield from self._batch("label", joined, first | second, numeric, {LABEL: labels})
        signals = joined.event == pending.SIGNALLED
        columns = {
            f"signal.{name}": np.where(signals & (joined.signal == code), joined.new, np.nan)
            for code, name in enumerate(self.book.signals.values)
            if (signals & (joined.signal == code)).any()
        }
        yield from self._batch("feedback", joined, signals, columns, {})

    def _label_categories(self, joined: Joined, first: Bool) -> Coded:
        categorical = first & joined.new_categorical
        return Coded(np.where(categorical, joined.new, -1).astype(np.int64), self.book.categories.values)

    def _batch(
        self,
        timeline: TimelineName,
        joined: Joined,
        chosen: Bool,
        numeric: dict[str, F64],
        categorical: dict[str, Coded],
    ) -> Iterator[Batch]:
        rows = np.flatnonzero(chosen)
        if not len(rows):
            return
        model = self.book.model_of_key(joined.key)
        rows = rows[np.argsort(model[rows], kind="stable")]
        models, of_model = distinct(model[rows].astype(np.int64))
        keys, of_key = distinct(joined.key[rows].astype(np.int64))
        answers, of_answer = distinct(joined.answer[rows].astype(np.int64))
        each = [self.book.answers.values[answer].segments for answer in answers.tolist()]
        columns = Columns(
            Coded(of_model, [self.book.models.values[code] for code in models.tolist()]),
            rows,
            Coded.of([self.book.keys.values[key].version for key in keys.tolist()])[of_key],
            {name: column[rows] for name, column in numeric.items() if not np.isnan(column[rows]).all()},
            {name: column[rows].dense() for name, column in categorical.items()},
            {spec: Coded.of([segments[i] for segments in each])[of_answer] for i, spec in enumerate(self.specs)},
        )
        later = np.maximum(joined.ts[rows], joined.item_ts[rows])
        yield Batch(timeline, columns, later - later % self.pane, np.full(len(rows), ACCEPTED))

    # --- by the prediction's time ---

    def performance(self, joined: Joined) -> Iterator[tuple[str, bytes]]:
        """Yield (model, packed PerformanceDelta); a corrected label subtracts the old one and adds the new one."""
        if not len(joined.event):
            return
        sheet = _SignedSums(self, joined)
        first = joined.event == pending.FIRST
        corrected = joined.event == pending.CORRECTION
        sheet.add_labels(first | corrected, joined.new, joined.new_categorical, 1)
        sheet.add_labels(corrected, joined.old, joined.old_categorical, -1)
        for event, value in ((pending.AGREEMENT, 0.0), (pending.DISAGREEMENT, 1.0)):
            sheet.add(DISAGREEMENT, np.where(joined.event == event, value, np.nan), 1)
        signals = joined.event == pending.SIGNALLED
        for code, name in enumerate(self.book.signals.values):
            sheet.add(f"signal.{name}", np.where(signals & (joined.signal == code), joined.new, np.nan), 1)
        yield from sheet.deltas(np.bincount(sheet.cell[first], minlength=sheet.size))


class _SignedSums:
    """Signed sums of a commit by (key, answer, grain, known grain, corrected), which `deltas` spreads over segments.

    The known grain is that of the later time of prediction and item. Corrections of labels have cells of their own.
    """

    def __init__(self, outcomes: Outcomes, joined: Joined) -> None:
        self.book, self.joined = outcomes.book, joined
        window = joined.ts - joined.ts % outcomes.grain
        known = np.maximum(joined.ts, joined.item_ts)
        corrected = (joined.event == pending.CORRECTION).astype(np.int64)
        keys = np.stack([joined.key, joined.answer, window, known - known % outcomes.grain, corrected])
        self.cells, self.cell = np.unique(keys, axis=1, return_inverse=True)
        self.cell = self.cell.ravel()
        self.size = self.cells.shape[1]
        self.sums: dict[str, tuple[I64, F64]] = {}
        self.pairs: dict[tuple[int, str, str], int] = defaultdict(int)

    def add(self, name: str, values: F64, sign: int) -> None:
        present = ~np.isnan(values)
        if not present.any():
            return
        n, total = self.sums.get(name) or (np.zeros(self.size, np.int64), np.zeros(self.size))
        n = n + sign * np.bincount(self.cell[present], minlength=self.size)
        total = total + sign * np.bincount(self.cell[present], values[present], self.size)
        self.sums[name] = n, total

    def add_labels(self, chosen: Bool, label: F64, categorical: Bool, sign: int) -> None:
        if not chosen.any():
            return
        judged = compare_with_labels(self.joined, label, categorical, self.book)
        for name, values in judged.by_name().items():
            self.add(name, np.where(chosen, values, np.nan), sign)
        rows = np.flatnonzero(chosen & ~np.isnan(judged.error))
        compared = np.stack([self.cell[rows], categorical[rows], label[rows], np.nan_to_num(self.joined.value[rows])])
        kinds, counts = np.unique(compared, axis=1, return_counts=True)
        names = self.book.categories.values
        for cell, is_category, truth, value, count in zip(*kinds.tolist(), counts.tolist(), strict=True):
            category = self.book.answers.values[int(self.cells[1, int(cell)])].category
            answer = classes.written(value) if category is None else category
            self.pairs[int(cell), answer, names[int(truth)] if is_category else classes.written(truth)] += sign * count

    def deltas(self, labelled: I64) -> Iterator[tuple[str, bytes]]:
        models = self.book.model_of_key(self.cells[0])
        for model in np.unique(models).tolist():
            for packed in self._packed(np.flatnonzero(models == model), labelled):
                yield self.book.models.values[model], packed

    def _packed(self, cells: I64, labelled: I64) -> Iterator[bytes]:
        """Deltas of cells of a model that fit `MAX_RECORD_BYTES`, but for one of a single cell."""
        packed, half = pack(self._delta(cells, labelled)), len(cells) // 2
        if len(packed) <= MAX_RECORD_BYTES or not half:
            yield packed
            return
        yield from self._packed(cells[:half], labelled)
        yield from self._packed(cells[half:], labelled)

    def _delta(self, cells: I64, labelled: I64) -> PerformanceDelta:
        targets: dict[tuple[str, str, int, int, int], int] = {}
        spread: list[tuple[int, int]] = []  # (cell, target)
        for cell in cells.tolist():
            key = self.book.keys.values[int(self.cells[0, cell])]
            answer = self.book.answers.values[int(self.cells[1, cell])]
            window, known, corrected = self.cells[2:, cell].tolist()
            for segment in (ALL_SEGMENTS, *(s for s in answer.segments if s is not None)):
                target = targets.setdefault((key.version, segment, window, known, corrected), len(targets))
                spread.append((cell, target))
        source, target_of = np.array(spread, np.int64).T
        names = list(self.sums)
        rows = [
            (np.bincount(target_of, n[source], len(targets)), np.bincount(target_of, total[source], len(targets)))
            for n, total in self.sums.values()
        ]
        used = [
            np.flatnonzero(np.bincount(target_of, (n != 0)[source] | (t != 0)[source], len(targets)))
            for n, t in self.sums.values()
        ]
        empty_i, empty_f = np.empty(0, np.int64), np.empty(0)
        pairs, pair_rows = self._pairs(spread)
        corrections = [corrected for *_, corrected in targets]
        return PerformanceDelta(
            model=self.book.keys.values[int(self.cells[0, cells[0]])].model,
            version=[version for version, *_ in targets],
            segment=[segment for _, segment, *_ in targets],
            window=np.array([window for *_, window, _, _ in targets], np.int64),
            labelled=np.bincount(target_of, labelled[source], len(targets)).astype(np.int64),
            names=names,
            cell=np.concatenate([*used, empty_i]),
            name=np.concatenate([*(np.full(len(u), i) for i, u in enumerate(used)), empty_i]),
            n=np.concatenate([*(n[u].astype(np.int64) for (n, _), u in zip(rows, used, strict=True)), empty_i]),
            total=np.concatenate([*(t[u] for (_, t), u in zip(rows, used, strict=True)), empty_f]),
            pairs=pairs,
            pair_cell=pair_rows[0],
            pair=pair_rows[1],
            pair_n=pair_rows[2],
            known=np.array([known for *_, known, _ in targets], np.int64),
            corrected=np.array(corrections, np.uint8) if any(corrections) else None,
        )

    def _pairs(self, spread: list[tuple[int, int]]) -> tuple[list[tuple[str, str]], I64]:
        by_cell: dict[int, list[tuple[tuple[str, str], int]]] = defaultdict(list)
        for (cell, answer, label), n in self.pairs.items():
            by_cell[cell].append(((answer, label), n))
        index: dict[tuple[str, str], int] = {}
        rows = [
            (target, index.setdefault(pair, len(index)), n)
            for cell, target in spread
            for pair, n in by_cell.get(cell, ())
        ]
        return list(index), np.array(rows, np.int64).reshape(-1, 3).T
