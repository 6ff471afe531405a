"""From joined labels and signals to outcome measures, which describe publishes in two forms.

Batches have the event time of the label or signal; they feed sequential detectors. Performance deltas are signed sums
by the prediction's time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stream_monitor.describe.aggregate.delta_writer import Batch
from stream_monitor.describe.aggregate.grouping import ACCEPTED
from stream_monitor.describe.decode.columns import Coded, Columns, Spec, distinct
from stream_monitor.describe.join.code_book import CodeBook
from stream_monitor.describe.join.pending import rows as pending
from stream_monitor.describe.join.pending.rows import Joined
from stream_monitor.profiles.measures import LABEL, TimelineName
from stream_monitor.profiles.names import ALL_SEGMENTS
from stream_monitor.profiles.records import PerformanceDelta
from stream_monitor.types import F64, I64, Bool
from stream_monitor.wire.msgpack_arrays import pack

ERROR, ABSOLUTE_ERROR, SQUARED_ERROR = "error", "absolute_error", "squared_error"
DISAGREEMENT = "label_disagreement"


@dataclass(slots=True)
class LabelComparison:
    """The comparison of labels with answers, (n,) each: NaN where the measure does not apply."""

    error: F64
    absolute: F64
    squared: F64
    label: F64
    """The label as a number; true is 1, false is 0, other categories are NaN."""


def compare_with_labels(joined: Joined, label: F64, categorical: Bool, book: CodeBook) -> LabelComparison:
    """Compare answers with labels: classes with classes and numbers with numbers; other pairs are not compared."""
    codes = np.where(categorical, label, -1).astype(np.int64)
    predicted = _predicted(joined.answer, book)
    classified = categorical & (predicted >= 0)
    error = np.where(classified, (predicted != codes).astype(float), np.nan)
    gap = np.where(categorical, np.nan, joined.value - label)
    truth = np.array([_as_number(value) for value in book.categories.values] or [np.nan])
    number = np.where(categorical, truth[np.maximum(codes, 0)], label)
    return LabelComparison(error, np.abs(gap), gap * gap, number)


def _as_number(category: str) -> float:
    return {"true": 1.0, "false": 0.0}.get(category, np.nan)


def _predicted(answers: npt.NDArray[np.uint32], book: CodeBook) -> I64:
    codes = [-1 if a.category is None else book.categories.of(a.category) for a in book.answers.values]
    return np.array(codes or [-1], np.int64)[answers]


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
            ERROR: np.where(first, judged.error, np.nan),
            ABSOLUTE_ERROR: np.where(first, judged.absolute, np.nan),
            SQUARED_ERROR: np.where(first, judged.squared, np.nan),
            LABEL: np.where(first, judged.label, np.nan),
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
    """Signed sums of a commit by (key, answer, grain); at the end they are spread over segments."""

    def __init__(self, outcomes: Outcomes, joined: Joined) -> None:
        self.book, self.joined = outcomes.book, joined
        window = joined.ts - joined.ts % outcomes.grain
        keys = np.stack([joined.key, joined.answer, window])
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
        for name, values in (
            (ERROR, judged.error),
            (ABSOLUTE_ERROR, judged.absolute),
            (SQUARED_ERROR, judged.squared),
            (LABEL, judged.label),
        ):
            self.add(name, np.where(chosen, values, np.nan), sign)
        names = self.book.categories.values
        classified = np.flatnonzero(chosen & ~np.isnan(judged.error))
        codes, counts = np.unique(
            np.stack([self.cell[classified], label[classified].astype(np.int64)]), axis=1, return_counts=True
        )
        for cell, code, count in zip(*codes.tolist(), counts.tolist(), strict=True):
            answer = self.book.answers.values[int(self.cells[1, cell])].category
            self.pairs[cell, answer, names[code]] += sign * count

    def deltas(self, labelled: I64) -> Iterator[tuple[str, bytes]]:
        models = self.book.model_of_key(self.cells[0])
        for model in np.unique(models).tolist():
            yield self.book.models.values[model], pack(self._delta(np.flatnonzero(models == model), labelled))

    def _delta(self, cells: I64, labelled: I64) -> PerformanceDelta:
        targets: dict[tuple[str, str, int], int] = {}
        spread: list[tuple[int, int]] = []  # (cell, target)
        for cell in cells.tolist():
            key = self.book.keys.values[int(self.cells[0, cell])]
            answer = self.book.answers.values[int(self.cells[1, cell])]
            for segment in (ALL_SEGMENTS, *(s for s in answer.segments if s is not None)):
                target = targets.setdefault((key.version, segment, int(self.cells[2, cell])), len(targets))
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
        return PerformanceDelta(
            model=self.book.keys.values[int(self.cells[0, cells[0]])].model,
            version=[version for version, _, _ in targets],
            segment=[segment for _, segment, _ in targets],
            window=np.array([window for _, _, window in targets], np.int64),
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
